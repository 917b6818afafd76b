//! What a run has delivered, for people: the table.

mod paint;
mod table;

pub use paint::Paint;
pub use table::{LiveTable, summary_table};
