//! Behaviour of requests, made by OpenSSL and by rcgen.

use proptest::prelude::*;

use super::*;
use crate::pki::fixtures::{openssl, openssl_csr};

/// A PKCS#10 over a fresh key, as rcgen makes it.
fn rcgen_csr(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["device.example.com".to_owned()]).unwrap();
    parameters.serialize_request(&key).unwrap().der().to_vec()
}

#[test]
fn a_request_of_openssl_says_what_it_wants() {
    let der = openssl_csr(
        "/O=Example/CN=device-1",
        &[
            "-addext",
            "subjectAltName=DNS:Device-1.example.com,IP:192.0.2.1,URI:urn:x:1,email:a@example.com",
        ],
    );
    let csr = Csr::from_der(&der).unwrap();
    assert_eq!(csr.der(), der);
    assert_eq!(
        csr.subject(),
        &Name::parse("CN=device-1,O=Example").unwrap()
    );
    let mut sans =
        SubjectAltNames::parse(&["device-1.example.com"], &["192.0.2.1"], &["urn:x:1"]).unwrap();
    sans.other.push("rfc822Name".to_owned());
    assert_eq!(csr.sans(), &sans);
    assert_eq!(csr.key().algorithm().to_string(), "ECDSA-P256");
    assert_eq!((csr.asks_for_ca(), csr.challenge_password()), (false, None));
    assert_eq!(csr.digest(), Fingerprint::of(&der));
}

#[test]
fn pem_and_der_give_the_same_request() {
    let der = openssl_csr("/CN=a", &[]);
    let expected = Csr::from_der(&der).unwrap();
    assert_eq!(Csr::from_pem_or_der(&der), Ok(expected.clone()));
    let pem = openssl(&["req", "-inform", "DER"], &der);
    assert_eq!(Csr::from_pem_or_der(&pem), Ok(expected.clone()));
    let windows = String::from_utf8(pem.clone())
        .unwrap()
        .replace('\n', "\r\n");
    assert_eq!(
        Csr::from_pem_or_der(windows.as_bytes()),
        Ok(expected.clone())
    );
    let old = openssl(&["req", "-inform", "DER", "-newhdr", "-text"], &der);
    assert_eq!(Csr::from_pem_or_der(&old), Ok(expected));
    assert_eq!(
        Csr::from_pem_or_der(&[pem.as_slice(), &pem].concat()),
        Err(CsrError::Pem { count: 2 })
    );
    let key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(Csr::from_pem_or_der(key), Err(CsrError::Pem { count: 0 }));
}

#[test]
fn every_good_algorithm_is_accepted() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA256,
        &rcgen::PKCS_ECDSA_P521_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_RSA_SHA384,
        &rcgen::PKCS_RSA_SHA512,
        &rcgen::PKCS_ED25519,
    ] {
        let csr = Csr::from_der(&rcgen_csr(algorithm))
            .unwrap_or_else(|error| panic!("{algorithm:?}: {error}"));
        assert_eq!(csr.sans().dns, ["device.example.com"]);
    }
    for hash in ["-sha384", "-sha512"] {
        Csr::from_der(&openssl_csr("/CN=a", &[hash])).unwrap();
    }
    for hash in ["-sha256", "-sha384", "-sha512"] {
        Csr::from_der(&rsa_csr(
            2048,
            &[
                hash,
                "-sigopt",
                "rsa_padding_mode:pss",
                "-sigopt",
                "rsa_pss_saltlen:-1",
            ],
        ))
        .unwrap();
    }
}

fn rsa_csr(bits: u16, arguments: &[&str]) -> Vec<u8> {
    let size = format!("rsa:{bits}");
    let basics = [
        "req",
        "-new",
        "-outform",
        "DER",
        "-nodes",
        "-keyout",
        "/dev/null",
        "-subj",
        "/CN=a",
        "-newkey",
        &size,
    ];
    openssl(&[&basics[..], arguments].concat(), b"")
}

#[test]
fn weak_keys_and_signatures_are_refused_in_words() {
    let refused = |der: &[u8]| Csr::from_der(der).unwrap_err().to_string();
    assert_eq!(
        refused(&rsa_csr(1024, &[])),
        "RSA key has 1024 bits: use at least 2048"
    );
    for (arguments, algorithm) in [
        (&["-sha1"][..], "SHA-1 with RSA"),
        (&["-md5"], "MD5 with RSA"),
        (
            &["-sha1", "-sigopt", "rsa_padding_mode:pss"],
            "SHA-1 with RSA-PSS",
        ),
    ] {
        let expected = format!(
            "the request does not prove possession of its key: the signature uses {algorithm}, which can be forged: \
             sign with SHA-256 or better"
        );
        assert_eq!(refused(&rsa_csr(2048, arguments)), expected);
    }
    assert_eq!(
        Csr::from_der(&openssl_csr("/CN=a", &["-sha1"])),
        Err(CsrError::Signature(SignatureError::Weak {
            algorithm: "SHA-1 with ECDSA"
        }))
    );
}

#[test]
fn a_signature_by_another_key_proves_nothing() {
    let mut der = openssl_csr("/CN=device-1", &[]);
    let position = der
        .windows(8)
        .position(|window| window == b"device-1")
        .unwrap();
    der[position + 7] = b'2';
    assert_eq!(
        Csr::from_der(&der),
        Err(CsrError::Signature(SignatureError::Invalid))
    );
}

#[test]
fn an_empty_subject_and_a_wish_to_be_an_authority_are_for_policy_to_judge() {
    let csr = Csr::from_der(&openssl_csr(
        "/",
        &["-addext", "basicConstraints=critical,CA:TRUE"],
    ))
    .unwrap();
    assert!(csr.subject().is_empty() && csr.asks_for_ca());
    assert!(
        !Csr::from_der(&openssl_csr(
            "/CN=a",
            &["-addext", "basicConstraints=CA:FALSE"]
        ))
        .unwrap()
        .asks_for_ca()
    );
}

#[test]
fn the_challenge_password_is_read() {
    let config = tempfile::NamedTempFile::new().unwrap();
    let text = "[req]\ndistinguished_name=dn\nattributes=at\nprompt=no\n[dn]\nCN=a\n[at]\nchallengePassword=dGxzLXVuaXF1ZQ==\n";
    std::fs::write(config.path(), text).unwrap();
    let key = [
        "req",
        "-new",
        "-outform",
        "DER",
        "-nodes",
        "-keyout",
        "/dev/null",
        "-newkey",
        "ec",
    ];
    let more = [
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-config",
        config.path().to_str().unwrap(),
    ];
    let csr = Csr::from_der(&openssl(&[&key[..], &more].concat(), b"")).unwrap();
    assert_eq!(csr.challenge_password(), Some("dGxzLXVuaXF1ZQ=="));
}

#[test]
fn repetitions_are_refused() {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = |attributes: Vec<(u64, Vec<u8>)>| {
        let attributes = attributes
            .into_iter()
            .map(|(arc, values)| rcgen::Attribute {
                oid: [&[1_u64, 2, 840, 113_549, 1, 9][..], &[arc]]
                    .concat()
                    .leak(),
                values,
            })
            .collect();
        let mut parameters = rcgen::CertificateParams::default();
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, "a");
        parameters
            .serialize_request_with_attributes(&key, attributes)
            .unwrap()
            .der()
            .to_vec()
    };
    // SET { SEQUENCE of extensions { SEQUENCE { OID subjectAltName, OCTET STRING { SEQUENCE { dNSName "a" } } } } }
    let san: &[u8] = &[
        0x30, 0x0c, 0x06, 3, 0x55, 0x1d, 0x11, 0x04, 5, 0x30, 3, 0x82, 1, b'a',
    ];
    let once = [&[0x31, 16, 0x30, 14], san].concat();
    let twice = [&[0x31, 30, 0x30, 28], san, san].concat();
    let two_values = [
        &[0x31, 0x1c, 0x0c, 1, b'x', 0x0c, 23],
        [b'y'; 23].as_slice(),
    ]
    .concat();
    assert_eq!(
        Csr::from_der(&request(vec![(14, once.clone())]))
            .unwrap()
            .sans()
            .dns,
        ["a"]
    );
    let oid = "2.5.29.17".to_owned();
    assert_eq!(
        Csr::from_der(&request(vec![(14, twice)])),
        Err(CsrError::RepeatedExtension { oid })
    );
    let oid = "1.2.840.113549.1.9.14".to_owned();
    assert_eq!(
        Csr::from_der(&request(vec![(14, once.clone()), (14, once)])),
        Err(CsrError::RepeatedAttribute { oid })
    );
    let oid = "1.2.840.113549.1.9.7".to_owned();
    assert_eq!(
        Csr::from_der(&request(vec![(7, two_values)])),
        Err(CsrError::RepeatedAttribute { oid })
    );
}

#[test]
fn sizes_and_leftovers_have_limits() {
    let mut der = openssl_csr("/CN=a", &[]);
    der.push(0);
    assert_eq!(
        Csr::from_der(&der),
        Err(CsrError::TrailingData { length: 1 })
    );
    let length = MAX_DER + 1;
    assert_eq!(
        Csr::from_der(&vec![0; length]),
        Err(CsrError::TooBig { length })
    );
    assert_eq!(Csr::from_der(&vec![0; MAX_DER]), Err(CsrError::Malformed));
    let length = 2 * MAX_DER + 1;
    assert_eq!(
        Csr::from_pem_or_der(&vec![b' '; length]),
        Err(CsrError::TooBig { length })
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Csr::from_pem_or_der(&bytes);
    }

    #[test]
    fn a_damaged_request_never_panics_and_is_never_accepted(position: prop::sample::Index, change in 1..=255_u8) {
        static DER: std::sync::LazyLock<Vec<u8>> =
            std::sync::LazyLock::new(|| openssl_csr("/CN=device", &["-addext", "subjectAltName=DNS:a,IP:::1"]));
        let mut der = DER.clone();
        let position = position.index(der.len());
        der[position] ^= change;
        prop_assert!(Csr::from_der(&der).is_err());
    }
}
