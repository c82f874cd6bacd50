//! Distinguished names, in DER and as text: must not panic, and what was accepted reads back.
#![no_main]

use devicecert::pki::Name;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(name) = Name::from_der(bytes) {
        assert_eq!(name.as_der(), bytes);
        assert!(name.same_text(&name));
        let _ = (name.to_string(), name.common_name(), name.attributes());
    }
    if let Ok(name) = std::str::from_utf8(bytes)
        .unwrap_or_default()
        .parse::<Name>()
    {
        assert_eq!(Name::from_der(name.as_der()).as_ref(), Ok(&name));
        let again = Name::parse(&name.to_string());
        assert!(again.is_ok_and(|again| again.same_text(&name)));
    }
});
