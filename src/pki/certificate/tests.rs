//! Behaviour of reading certificates.

use proptest::prelude::*;

use super::*;
use crate::pki::fixtures::{Ca, now, openssl};
use crate::pki::validity::LATEST;

/// A self-signed certificate that `openssl req -x509` makes.
fn openssl_certificate(arguments: &[&str]) -> String {
    let basics = [
        "req",
        "-x509",
        "-nodes",
        "-keyout",
        "/dev/null",
        "-newkey",
        "ec",
        "-pkeyopt",
    ];
    let more = ["ec_paramgen_curve:P-256", "-subj", "/O=Example/CN=Foreign"];
    String::from_utf8(openssl(&[&basics[..], &more, arguments].concat(), b"")).unwrap()
}

#[test]
fn a_certificate_of_openssl_says_what_it_says() {
    let pem = openssl_certificate(&[
        "-set_serial",
        "0xff01",
        "-addext",
        "subjectAltName=DNS:a.example.com,IP:::1,email:a@b",
        "-addext",
        "basicConstraints=critical,CA:TRUE,pathlen:3",
        "-addext",
        "keyUsage=keyCertSign,cRLSign,nonRepudiation",
        "-addext",
        "extendedKeyUsage=clientAuth,1.2.3.4",
    ]);
    let certificate = Certificate::from_pem(&pem).unwrap();
    assert_eq!(certificate.to_pem(), pem);
    assert_eq!(certificate.serial().to_string(), "ff01");
    assert_eq!(certificate.subject().to_string(), "CN=Foreign,O=Example");
    assert!(certificate.is_self_issued() && certificate.is_signed_by(&certificate));
    assert_eq!(certificate.sans().dns, ["a.example.com"]);
    assert_eq!(certificate.sans().other, ["rfc822Name"]);
    assert_eq!(
        (certificate.is_ca(), certificate.path_length()),
        (true, Some(3))
    );
    let usages = [
        KeyUsage::ContentCommitment,
        KeyUsage::KeyCertSign,
        KeyUsage::CrlSign,
    ];
    assert_eq!(certificate.key_usages(), Some(&usages[..]));
    let purposes = [
        ExtendedKeyUsage::ClientAuth,
        ExtendedKeyUsage::Oid("1.2.3.4".to_owned()),
    ];
    assert_eq!(certificate.extended_key_usages(), purposes);
    assert_eq!(certificate.subject_key_id().map(<[u8]>::len), Some(20));
    assert_eq!(
        certificate.key_fingerprint(),
        certificate.public_key().unwrap().fingerprint()
    );
    let printed = openssl(
        &["x509", "-noout", "-fingerprint", "-sha256"],
        pem.as_bytes(),
    );
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(
        printed.trim_end().split_once('=').unwrap().1.parse(),
        Ok(certificate.fingerprint())
    );
}

#[test]
fn a_version_1_certificate_is_read_and_is_no_authority() {
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), "[req]\ndistinguished_name=dn\n[dn]\n").unwrap();
    // `req -x509` writes version 1 as long as there are no extensions.
    let pem = openssl_certificate(&["-config", config.path().to_str().unwrap()]);
    let certificate = Certificate::from_pem(&pem).unwrap();
    let printed = openssl(&["x509", "-noout", "-text"], pem.as_bytes());
    assert!(String::from_utf8(printed).unwrap().contains("Version: 1"));
    assert!(!certificate.is_ca() && certificate.is_signed_by(&certificate));
    assert_eq!(
        (certificate.key_usages(), certificate.subject_key_id()),
        (None, None)
    );
}

#[test]
fn an_idevid_that_never_expires_ends_with_the_year_9999() {
    // IEEE 802.1AR §8.7.
    let forever = crate::pki::Validity::starting(now(), "9999y".parse().unwrap(), None)
        .unwrap()
        .0;
    let key = crate::pki::PrivateKey::generate(crate::pki::KeyAlgorithm::Ed25519).unwrap();
    let template = crate::pki::fixtures::authority("CN=IDevID", key.public(), forever);
    let certificate =
        crate::pki::assemble(&template, crate::pki::Issuer::SelfSigned(key.signer())).unwrap();
    assert!(
        certificate
            .der()
            .windows(15)
            .any(|window| window == b"99991231235959Z")
    );
    assert_eq!(certificate.validity().not_after, LATEST);
}

#[test]
fn only_the_key_of_the_named_issuer_signs() {
    let (root, other) = (Ca::root("CN=Root"), Ca::root("CN=Root"));
    let leaf = root.leaf("CN=device");
    assert!(leaf.is_signed_by(&root.certificate));
    assert!(!leaf.is_signed_by(&other.certificate));
    assert!(!root.certificate.is_signed_by(&leaf));
    let renamed = Ca {
        certificate: other.certify(&Ca {
            key: root.key,
            certificate: Ca::root("CN=Other").certificate,
        }),
        ..other
    };
    assert!(!leaf.is_signed_by(&renamed.certificate));
}

#[test]
fn chains_survive_pem_whatever_stands_between() {
    let root = Ca::root("CN=Root");
    let chain = [root.leaf("CN=device"), root.certificate.clone()];
    let text = format!(
        "subject=CN = device\n{}\r\n# comment\n{}",
        chain[0].to_pem(),
        chain[1].to_pem()
    );
    assert_eq!(parse_pem_chain(&text).unwrap(), chain);
    assert_eq!(parse_pem_chain(&text.replace('\n', "\r\n")).unwrap(), chain);
    assert_eq!(parse_pem_chain(&pem_chain(&chain)).unwrap(), chain);
    assert_eq!(
        Certificate::from_pem(&text),
        Err(CertificateError::TooMany { limit: 1 })
    );
}

#[test]
fn texts_and_sizes_have_limits() {
    let pem = Ca::root("CN=Root").certificate.to_pem();
    assert_eq!(
        parse_pem_chain(&pem.repeat(MAX_CHAIN)).unwrap().len(),
        MAX_CHAIN
    );
    assert_eq!(
        parse_pem_chain(&pem.repeat(MAX_CHAIN + 1)),
        Err(CertificateError::TooMany { limit: MAX_CHAIN })
    );
    assert_eq!(parse_pem_chain(""), Err(CertificateError::NoCertificate));
    assert_eq!(parse_pem_chain(&pem[..200]), Err(CertificateError::Pem));
    let length = MAX_DER + 1;
    assert_eq!(
        Certificate::from_der(&vec![0; length]),
        Err(CertificateError::TooBig { length })
    );
    let trailing = [Ca::root("CN=Root").certificate.der(), &[0]].concat();
    assert_eq!(
        Certificate::from_der(&trailing),
        Err(CertificateError::TrailingData { length: 1 })
    );
}

#[test]
fn no_byte_outside_of_the_signed_part_can_change() {
    // Ed25519 signatures and keys have one encoding.
    let root = Ca::root_with("CN=Root,O=Example", crate::pki::KeyAlgorithm::Ed25519).certificate;
    let tail = root.der().len() - 80;
    for position in (0..4).chain(tail..root.der().len()) {
        for bit in 0..8 {
            let mut der = root.der().to_vec();
            der[position] ^= 1 << bit;
            let believed =
                Certificate::from_der(&der).is_ok_and(|damaged| damaged.is_signed_by(&root));
            assert!(!believed, "bit {bit} of byte {position}");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,100}") {
        let _ = Certificate::from_der(&bytes);
        let _ = parse_pem_chain(&text);
    }

    #[test]
    fn a_damaged_certificate_never_panics_and_is_never_believed(position: prop::sample::Index, change in 1..=255_u8) {
        static ROOT: std::sync::LazyLock<Ca> = std::sync::LazyLock::new(|| Ca::root("CN=Root,O=Example"));
        let mut der = ROOT.certificate.der().to_vec();
        let position = position.index(der.len());
        der[position] ^= change;
        if let Ok(damaged) = Certificate::from_der(&der) {
            prop_assert!(!damaged.is_signed_by(&ROOT.certificate));
            let _ = (damaged.to_pem(), damaged.validity(), damaged.public_key(), format!("{damaged:?}"));
        }
    }
}
