//! Object identifiers as text.

use der::asn1::ObjectIdentifier;

/// The first arc that `const-oid` cannot read again: it takes four bytes of seven bits.
const TOO_BIG: u32 = 1 << 28;

/// Reads a dotted OID; `None` if it is none, or has an arc beyond 28 bits: the crate `const-oid` would panic on that when it is
/// written as text again, or take it for another OID.
pub(super) fn parse(text: &str) -> Option<ObjectIdentifier> {
    let fits = |arc: &str| arc.parse::<u32>().is_ok_and(|arc| arc < TOO_BIG);
    text.split('.')
        .all(fits)
        .then(|| ObjectIdentifier::new(text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arc_that_is_too_big_is_no_other_oid() {
        assert!(parse("1.2.840.113549.1.9.7").is_some());
        assert_eq!(parse("1.2.268435455").unwrap().to_string(), "1.2.268435455");
        for text in [
            "1.2.268435456",
            "1.2.4294967295",
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
