//! Any query string: it is understood or refused.
#![no_main]

use burstlet::kubelet::server::query::{log_options, wishes};
use k8s_openapi::jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|query: &str| {
    let _ = log_options(query, Timestamp::UNIX_EPOCH);
    if let Ok(wishes) = wishes(query, true) {
        assert!(!wishes.command.is_empty() && !(wishes.tty && wishes.stderr));
    }
});
