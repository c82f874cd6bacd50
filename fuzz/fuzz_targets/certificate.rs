//! Certificates as clients present them: must not panic, and an accepted one keeps its bytes.
#![no_main]

use devicecert::pki::Certificate;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = devicecert::pki::parse_pem_chain(text);
    }
    let Ok(certificate) = Certificate::from_der(bytes) else {
        return;
    };
    assert_eq!(certificate.der(), bytes);
    assert_eq!(
        Certificate::from_pem(&certificate.to_pem()).as_ref(),
        Ok(&certificate)
    );
    let anchors = std::slice::from_ref(&certificate);
    let now = certificate.validity().not_before;
    assert!(devicecert::pki::chain::verify(&certificate, anchors, anchors, now).is_err());
    let _ = (certificate.public_key(), format!("{certificate:?}"));
});
