//! What the wishes say, as others read them.

use der::asn1::AnyRef;
use der::{Tag, Tagged};

use super::*;
use crate::pki::fixtures::openssl;

fn device() -> Vec<Wanted> {
    vec![
        Wanted::Key(PublicKeyAlgorithm::EcdsaP384),
        Wanted::SignatureBy(PublicKeyAlgorithm::EcdsaP384),
        Wanted::KeyUsages(vec![KeyUsage::DigitalSignature]),
        Wanted::ExtendedKeyUsages(vec![ExtendedKeyUsage::ClientAuth]),
        Wanted::SubjectAltNames,
    ]
}

fn parsed(wanted: &[Wanted]) -> String {
    let der = encode(wanted).unwrap();
    let printed = openssl(&["asn1parse", "-inform", "DER", "-i"], &der);
    String::from_utf8(printed).unwrap()
}

/// Dotted OIDs of the items, as a client of RFC 7030 sees them: an OID, or a SEQUENCE that begins with one.
fn items(der: &[u8]) -> Vec<(String, Vec<u8>)> {
    let all = AnyRef::from_der(der).unwrap();
    let members: Vec<AnyRef<'_>> = all.decode_as().unwrap();
    let read = |member: AnyRef<'_>| match member.tag() {
        Tag::ObjectIdentifier => (
            member.decode_as::<ObjectIdentifier>().unwrap().to_string(),
            vec![],
        ),
        _ => {
            let attribute: Attribute = member.decode_as().unwrap();
            assert_eq!(attribute.values.len(), 1);
            let value = attribute.values.get(0).unwrap().to_der().unwrap();
            (attribute.oid.to_string(), value)
        }
    };
    members.into_iter().map(read).collect()
}

#[test]
fn nothing_wanted_is_nothing() {
    assert_eq!(encode(&[]), Ok(vec![]));
    assert_eq!(
        encode(&[Wanted::KeyUsages(vec![]), Wanted::ExtendedKeyUsages(vec![])]),
        Ok(vec![])
    );
}

#[test]
fn every_wish_is_an_oid_or_an_attribute_with_one_value() {
    let der = encode(&device()).unwrap();
    let items = items(&der);
    let oids: Vec<_> = items.iter().map(|(oid, _)| oid.as_str()).collect();
    assert_eq!(
        oids,
        [
            "1.2.840.10045.2.1",
            "1.2.840.10045.4.3.3",
            "2.5.29.17",
            "1.2.840.113549.1.9.14",
            "1.2.840.113549.1.9.16.2.61",
        ]
    );
    assert_eq!(items[0].1, oid("1.3.132.0.34").to_der().unwrap());
    let extensions = x509_cert::ext::Extensions::from_der(&items[3].1).unwrap();
    let shown: Vec<_> = extensions
        .iter()
        .map(|e| {
            (
                e.extn_id.to_string(),
                e.critical,
                e.extn_value.as_bytes().to_vec(),
            )
        })
        .collect();
    let client = oid("1.3.6.1.5.5.7.3.2").to_der().unwrap();
    assert_eq!(
        shown,
        [
            ("2.5.29.15".to_owned(), true, vec![3, 2, 7, 0x80]),
            (
                "2.5.29.37".to_owned(),
                false,
                [&[0x30, 10][..], &client].concat()
            ),
        ]
    );
}

#[test]
fn openssl_reads_the_template_that_follows() {
    let text = parsed(&device());
    let template = text.split("1.2.840.113549.1.9.16.2.61").nth(1).unwrap();
    let mut rest = template;
    for expected in [
        "INTEGER           :00",
        "cont [ 0 ]",
        ":id-ecPublicKey",
        ":secp384r1",
        "cont [ 1 ]",
        ":1.2.840.113549.1.9.16.2.62",
        ":X509v3 Key Usage",
        ":X509v3 Extended Key Usage",
        ":X509v3 Subject Alternative Name",
    ] {
        let (_, after) = rest
            .split_once(expected)
            .unwrap_or_else(|| panic!("no {expected} in {text}"));
        rest = after;
    }
    assert_eq!(rest.trim(), "", "the name is asked for without a value");
}

#[test]
fn the_template_is_left_out_where_it_says_less() {
    for wish in [
        Wanted::ChallengePassword,
        Wanted::Key(PublicKeyAlgorithm::Rsa { bits: 3072 }),
    ] {
        let der = encode(&[wish, Wanted::SubjectAltNames]).unwrap();
        let oids: Vec<_> = items(&der).into_iter().map(|(oid, _)| oid).collect();
        assert_eq!(oids.len(), 2, "{oids:?}");
        assert!(!oids.contains(&TEMPLATE.to_string()));
    }
    let der = encode(&device()[..4]).unwrap();
    assert_eq!(items(&der).len(), 3);
}

#[test]
fn every_kind_of_key_is_asked_for() {
    for (algorithm, expected) in [
        (
            PublicKeyAlgorithm::Rsa { bits: 3072 },
            &[
                "OBJECT            :rsaEncryption",
                "INTEGER           :0C00",
            ][..],
        ),
        (
            PublicKeyAlgorithm::EcdsaP256,
            &[
                "OBJECT            :id-ecPublicKey",
                "OBJECT            :prime256v1",
            ],
        ),
        (
            PublicKeyAlgorithm::EcdsaP521,
            &[
                "OBJECT            :id-ecPublicKey",
                "OBJECT            :secp521r1",
            ],
        ),
        (PublicKeyAlgorithm::Ed25519, &["OBJECT            :ED25519"]),
    ] {
        let text = parsed(&[Wanted::Key(algorithm)]);
        for line in expected {
            assert!(text.contains(line), "{algorithm}: {text}");
        }
    }
    let ed25519 = PublicKeyAlgorithm::Ed25519;
    let der = encode(&[Wanted::Key(ed25519), Wanted::SignatureBy(ed25519)]).unwrap();
    assert_eq!(items(&der).len(), 1, "the same OID says both");
    for (algorithm, name) in [
        (
            PublicKeyAlgorithm::Rsa { bits: 2048 },
            "sha256WithRSAEncryption",
        ),
        (PublicKeyAlgorithm::EcdsaP256, "ecdsa-with-SHA256"),
        (PublicKeyAlgorithm::EcdsaP384, "ecdsa-with-SHA384"),
        (PublicKeyAlgorithm::EcdsaP521, "ecdsa-with-SHA512"),
    ] {
        assert!(parsed(&[Wanted::SignatureBy(algorithm)]).contains(name));
    }
    assert!(parsed(&[Wanted::ChallengePassword]).contains(":challengePassword"));
}

#[test]
fn contradictions_and_bad_oids_are_refused() {
    let two = [
        Wanted::Key(PublicKeyAlgorithm::EcdsaP256),
        Wanted::Key(PublicKeyAlgorithm::EcdsaP384),
    ];
    assert_eq!(encode(&two), Err(CsrAttributesError::TwoKeys));
    let bad = Wanted::ExtendedKeyUsages(vec![ExtendedKeyUsage::Oid("x".to_owned())]);
    assert_eq!(encode(&[bad]), Err(CsrAttributesError::ExtendedKeyUsage));
}
