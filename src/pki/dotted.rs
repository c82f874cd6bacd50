//! Object identifiers as text.

use der::asn1::ObjectIdentifier;

/// Reads a dotted OID; `None` if it is none, or has an arc beyond 32 bits: the crate `const-oid` would overflow on that, thus panic or
/// take it for another OID.
pub(super) fn parse(text: &str) -> Option<ObjectIdentifier> {
    let fits = |arc: &str| arc.parse::<u32>().is_ok();
    text.split('.')
        .all(fits)
        .then(|| ObjectIdentifier::new(text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arc_beyond_32_bits_is_no_other_oid() {
        assert!(parse("1.2.840.113549.1.9.7").is_some());
        assert!(parse("1.2.4294967295").is_some());
        for text in [
            "1.2.4294967296",
            "1.2.99999999999999999999",
            "1.2.",
            "",
            "1..2",
            "CN",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
        let purpose: Result<crate::pki::ExtendedKeyUsage, _> = "1.2.4294967297".parse();
        assert!(purpose.is_err());
        assert!(crate::pki::Name::parse("1.2.4294967297=a").is_err());
    }
}
