//! The front end's parser of `handshake`: must not panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| devicecert::est::fuzz::handshake(bytes));
