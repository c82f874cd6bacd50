//! Attributes as clients write them, and as they should not.

use der::asn1::ObjectIdentifier;

use super::super::Csr;
use super::*;
use crate::pki::SanError;

/// Tag, length and content in DER; contents below 64 KiB.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        ..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, content.to_vec()].concat()
}

fn oid(dotted: &str) -> Vec<u8> {
    ObjectIdentifier::new(dotted).unwrap().to_der().unwrap()
}

/// A request by rcgen with these attributes, each with the content of its SET.
fn request(attributes: &[(&str, Vec<u8>)]) -> Result<Csr, CsrError> {
    let key = rcgen::KeyPair::generate().unwrap();
    let attributes = attributes
        .iter()
        .map(|(oid, content)| rcgen::Attribute {
            oid: oid
                .split('.')
                .map(|arc| arc.parse::<u64>().unwrap())
                .collect::<Vec<_>>()
                .leak(),
            values: tlv(0x31, content),
        })
        .collect();
    let mut parameters = rcgen::CertificateParams::default();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, "a");
    let request = parameters
        .serialize_request_with_attributes(&key, attributes)
        .unwrap();
    Csr::from_der(request.der())
}

fn extension(id: &str, value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[oid(id), tlv(4, value)].concat())
}

fn malformed(oid: &str) -> CsrError {
    CsrError::Attribute {
        oid: oid.to_owned(),
    }
}

#[test]
fn the_challenge_password_is_read_from_every_string_type() {
    let bmp: Vec<u8> = "dGxz".bytes().flat_map(|byte| [0, byte]).collect();
    for (tag, content) in [
        (0x0c, b"dGxz".as_slice()),
        (0x13, b"dGxz"),
        (0x14, b"dGxz"),
        (0x16, b"dGxz"),
        (0x1a, b"dGxz"),
        (0x1e, &bmp),
    ] {
        let csr = request(&[(CHALLENGE_PASSWORD, tlv(tag, content))]).unwrap();
        assert_eq!(csr.challenge_password(), Some("dGxz"), "tag {tag:#x}");
    }
    let empty = request(&[(CHALLENGE_PASSWORD, tlv(0x0c, b""))]).unwrap();
    assert_eq!(empty.challenge_password(), None);
    for value in [tlv(4, b"dGxz"), tlv(0x0c, b"a\0b"), tlv(0x0c, &[0xff])] {
        assert_eq!(
            request(&[(CHALLENGE_PASSWORD, value)]),
            Err(malformed(CHALLENGE_PASSWORD))
        );
    }
}

#[test]
fn the_key_for_decryption_is_of_one_kind() {
    let symmetric = (DECRYPT_KEY_ID, tlv(4, b"psk-1"));
    let asymmetric = (ASYMMETRIC_DECRYPT_KEY_ID, tlv(4, &[1; 20]));
    assert_eq!(
        request(std::slice::from_ref(&symmetric))
            .unwrap()
            .decrypt_key(),
        Some(&DecryptKey::Symmetric(b"psk-1".to_vec()))
    );
    assert_eq!(
        request(std::slice::from_ref(&asymmetric))
            .unwrap()
            .decrypt_key(),
        Some(&DecryptKey::Asymmetric(vec![1; 20]))
    );
    assert_eq!(
        request(&[symmetric, asymmetric]),
        Err(CsrError::TwoDecryptKeys)
    );
    assert_eq!(
        request(&[(DECRYPT_KEY_ID, tlv(0x0c, b"x"))]),
        Err(malformed(DECRYPT_KEY_ID))
    );
    assert_eq!(request(&[]).unwrap().decrypt_key(), None);
}

#[test]
fn capabilities_are_listed_by_oid() {
    let (cbc, gcm) = ("2.16.840.1.101.3.4.1.42", "2.16.840.1.101.3.4.1.46");
    let parameters = [oid(gcm), tlv(2, &[1])].concat();
    let list = [tlv(0x30, &oid(cbc)), tlv(0x30, &parameters)].concat();
    let csr = request(&[(SMIME_CAPABILITIES, tlv(0x30, &list))]).unwrap();
    assert_eq!(csr.smime_capabilities(), [cbc, gcm]);
    assert_eq!(
        request(&[(SMIME_CAPABILITIES, tlv(0x30, &tlv(0x30, b"")))]),
        Err(malformed(SMIME_CAPABILITIES))
    );
}

#[test]
fn a_change_of_names_is_read() {
    let name = Name::parse("CN=new,O=Example").unwrap();
    let sans = SubjectAltNames::parse(&["new.example.com"], &[], &[]).unwrap();
    let none = SubjectAltNames::default();
    let san_der = sans.encode().unwrap();
    for (content, subject, sans) in [
        (name.as_der().to_vec(), Some(&name), &none),
        (san_der.clone(), None, &sans),
        ([name.as_der(), &san_der].concat(), Some(&name), &sans),
    ] {
        let csr = request(&[(CHANGE_SUBJECT_NAME, tlv(0x30, &content))]).unwrap();
        let change = csr.change_subject_name().unwrap();
        assert_eq!((change.subject.as_ref(), &change.sans), (subject, sans));
        assert_eq!(csr.subject(), &Name::parse("CN=a").unwrap());
    }
    for content in [vec![], [san_der.as_slice(), name.as_der()].concat()] {
        assert_eq!(
            request(&[(CHANGE_SUBJECT_NAME, tlv(0x30, &content))]),
            Err(malformed(CHANGE_SUBJECT_NAME))
        );
    }
    let bad = tlv(0x30, &tlv(0x87, &[1, 2, 3]));
    assert_eq!(
        request(&[(CHANGE_SUBJECT_NAME, tlv(0x30, &bad))]),
        Err(CsrError::SubjectAltNames(SanError::IpLength { length: 3 }))
    );
}

#[test]
fn the_path_length_is_read() {
    let constraints = |content: &[u8]| {
        let list = tlv(0x30, &extension(BASIC_CONSTRAINTS, &tlv(0x30, content)));
        request(&[(EXTENSION_REQUEST, list)]).unwrap()
    };
    let asked = |csr: Csr| (csr.asks_for_ca(), csr.asked_path_length());
    assert_eq!(asked(constraints(&[1, 1, 0xff, 2, 1, 0])), (true, Some(0)));
    assert_eq!(asked(constraints(&[1, 1, 0xff])), (true, None));
    assert_eq!(asked(constraints(&[])), (false, None));
}

#[test]
fn what_means_nothing_to_us_is_ignored_whatever_it_looks_like() {
    let vendor = "1.3.6.1.4.1.99999.1";
    // UniversalString and an unassigned tag, no value at all, and twice.
    for values in [tlv(0x1c, &[0, 0, 0, 65]), tlv(0x1f, &[1]), vec![]] {
        request(&[(vendor, values.clone()), (vendor, values)]).unwrap();
    }
    // As libest copies them: key usage, key identifiers, a malformed key usage, an unknown one twice.
    let list = [
        extension("2.5.29.15", &[3, 2, 7, 0x80]),
        extension("2.5.29.14", &tlv(4, &[1; 20])),
        extension("2.5.29.35", &tlv(0x30, &tlv(0x80, &[1; 20]))),
        extension("2.5.29.37", b"rubbish"),
        extension(vendor, b"rubbish"),
        extension(vendor, b"rubbish"),
        extension(SUBJECT_ALT_NAME, &tlv(0x30, &tlv(0x82, b"a"))),
    ]
    .concat();
    let csr = request(&[(EXTENSION_REQUEST, tlv(0x30, &list))]).unwrap();
    assert_eq!(csr.sans().dns, ["a"]);
    assert!(!csr.asks_for_ca());
}

#[test]
fn what_matters_must_be_well_formed() {
    for (id, value) in [
        (BASIC_CONSTRAINTS, tlv(4, b"")),
        (BASIC_CONSTRAINTS, b"rubbish".to_vec()),
    ] {
        let list = tlv(0x30, &extension(id, &value));
        assert_eq!(
            request(&[(EXTENSION_REQUEST, list)]),
            Err(CsrError::Extension { oid: id.to_owned() })
        );
    }
    for list in [tlv(4, b""), tlv(0x30, b"\x01"), tlv(0x30, &tlv(0x30, b""))] {
        assert_eq!(
            request(&[(EXTENSION_REQUEST, list)]),
            Err(malformed(EXTENSION_REQUEST))
        );
    }
}

#[test]
fn a_request_without_the_set_of_attributes_is_read() {
    use crate::pki::{KeyAlgorithm, PrivateKey, assemble};
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let info = |end: &[u8]| {
        let name = Name::parse("CN=a").unwrap();
        let info = [&[2, 1, 0], name.as_der(), &key.spki_der(), end].concat();
        Csr::from_der(&assemble::sign(&tlv(0x30, &info), key.signer()).unwrap())
    };
    assert_eq!(info(&[]).unwrap().key(), key.public());
    assert_eq!(info(&[0xa0, 0]).unwrap().key(), key.public());
    assert_eq!(info(&[0xa1, 0]), Err(CsrError::Malformed));
    assert_eq!(info(&[0xa0, 0, 5, 0]), Err(CsrError::Malformed));
}
