//! The burstlet command.

fn main() {}
