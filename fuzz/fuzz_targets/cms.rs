//! Certs-only messages: must not panic, and what was read survives being written and read again.
#![no_main]

use devicecert::pki::{certs_only, parse_certs_only};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(certificates) = parse_certs_only(bytes) else {
        return;
    };
    let again = certs_only(&certificates).and_then(|der| parse_certs_only(&der));
    assert!(again.is_ok_and(|again| certificates.iter().all(|one| again.contains(one))));
});
