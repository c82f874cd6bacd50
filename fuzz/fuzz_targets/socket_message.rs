//! Messages between the EST front end and the registrar, from either end: must not panic, and must survive a round trip.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| devicecert::registrar::socket::fuzz_message(bytes));
