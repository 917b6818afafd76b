//! Any message: it is understood or it is nothing, and standard input loses no byte.
#![no_main]

use burstlet::kubelet::server::channels::{Input, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    for is_v5 in [false, true] {
        match read(message, is_v5) {
            Input::Stdin(data) => assert_eq!(data, &message[1..]),
            Input::StdinEnds => assert!(is_v5),
            Input::Resize(_) | Input::Nothing => {}
        }
    }
});
