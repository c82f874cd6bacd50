//! Outputs checked by other implementations: openssl and webpki.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use tempfile::TempDir;

use super::fixtures::{Ca, now, openssl, try_openssl};
use super::*;

const NAME: &str = "/DC=com/DC=example/O=Example \\/ Söhne/OU=a/OU=b";

/// Root, issuing authority and leaf, all with keys of one kind.
fn chain(algorithm: KeyAlgorithm) -> [Certificate; 3] {
    let root = Ca::root_with(&format!("{NAME}/CN=Root"), algorithm);
    let issuing = root.sub(&format!("{NAME}/CN=Issuing+UID=1"));
    let key = PrivateKey::generate(algorithm).unwrap();
    let mut template = issuing.leaf_template(&format!("{NAME}/CN=device-1"), key.public());
    template.sans = SubjectAltNames::parse(
        &["device-1.example.com"],
        &["192.0.2.1", "2001:db8::1"],
        &["https://example.com/device-1"],
    )
    .unwrap();
    template.extended_key_usages = vec![ExtendedKeyUsage::ServerAuth, ExtendedKeyUsage::ClientAuth];
    let leaf = assemble(&template, issuing.issuer()).unwrap();
    [root.certificate, issuing.certificate, leaf]
}

fn openssl_verify(
    [root, issuing, leaf]: &[Certificate; 3],
    purpose: &str,
) -> Result<Vec<u8>, String> {
    let directory = TempDir::new().unwrap();
    let write = |name: &str, certificate: &Certificate| {
        let path = directory.path().join(name);
        std::fs::write(&path, certificate.to_pem()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (root, issuing, leaf) = (
        write("root", root),
        write("issuing", issuing),
        write("leaf", leaf),
    );
    let time = now().as_second().to_string();
    let options = [
        "verify",
        "-x509_strict",
        "-check_ss_sig",
        "-attime",
        &time,
        "-purpose",
        purpose,
    ];
    try_openssl(
        &[
            &options[..],
            &["-CAfile", &root, "-untrusted", &issuing, &leaf],
        ]
        .concat(),
        b"",
    )
}

fn webpki_verify(
    [root, issuing, leaf]: &[Certificate; 3],
    usage: webpki::KeyUsage,
) -> Result<(), webpki::Error> {
    let (root, issuing, leaf) = (
        CertificateDer::from(root.der()),
        CertificateDer::from(issuing.der()),
        CertificateDer::from(leaf.der()),
    );
    let anchor = webpki::anchor_from_trusted_cert(&root)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now().as_second().unsigned_abs()));
    let leaf = webpki::EndEntityCert::try_from(&leaf)?;
    let intermediates = [issuing];
    leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &[anchor],
        &intermediates,
        time,
        usage,
        None,
        None,
    )
    .map(|_| ())
}

#[test]
fn openssl_and_webpki_verify_chains_of_every_algorithm() {
    for algorithm in KeyAlgorithm::ALL {
        let chain = chain(algorithm);
        for purpose in ["sslclient", "sslserver"] {
            openssl_verify(&chain, purpose)
                .unwrap_or_else(|complaints| panic!("{algorithm}: {complaints}"));
        }
        for usage in [
            webpki::KeyUsage::client_auth(),
            webpki::KeyUsage::server_auth(),
        ] {
            webpki_verify(&chain, usage).unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        }
    }
}

#[test]
fn the_verifiers_would_complain_about_a_wrong_chain() {
    let (mut wrong, other) = (
        chain(KeyAlgorithm::EcdsaP256),
        chain(KeyAlgorithm::EcdsaP256),
    );
    wrong[1] = other[1].clone();
    assert!(openssl_verify(&wrong, "sslclient").is_err());
    assert!(webpki_verify(&wrong, webpki::KeyUsage::client_auth()).is_err());
}

#[test]
fn openssl_prints_the_leaf_as_meant() {
    let [_, _, leaf] = chain(KeyAlgorithm::EcdsaP256);
    let text = openssl(
        &[
            "x509",
            "-noout",
            "-text",
            "-nameopt",
            "RFC2253,utf8,-esc_msb",
        ],
        leaf.to_pem().as_bytes(),
    );
    let text = String::from_utf8(text).unwrap();
    for expected in [
        "Version: 3 (0x2)",
        "Signature Algorithm: ecdsa-with-SHA256",
        "Issuer: UID=1+CN=Issuing,OU=b,OU=a,O=Example / Söhne,DC=example,DC=com",
        "Not Before: Dec 31 23:59:00 2025 GMT",
        "Not After : Apr  1 00:00:00 2026 GMT",
        "Subject: CN=device-1,OU=b,OU=a,O=Example / Söhne,DC=example,DC=com",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Extended Key Usage: \n                TLS Web Server Authentication, TLS Web Client Authentication\n",
        "DNS:device-1.example.com, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1, URI:https://example.com/device-1",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    assert!(!text.contains("Basic Constraints"), "{text}");
}

#[test]
fn openssl_accepts_the_keys() {
    for algorithm in KeyAlgorithm::ALL {
        let key = PrivateKey::generate(algorithm).unwrap();
        openssl(&["pkey", "-check", "-noout"], key.to_pkcs8_pem().as_bytes());
    }
}

/// Writes root.pem, issuing.pem and leaf.pem of every algorithm to `$PKI_LINT_DIR`, for pkilint and zlint.
#[test]
#[ignore = "writes files for linters; run with PKI_LINT_DIR set"]
fn certificates_for_linters_are_written() {
    let directory =
        std::path::PathBuf::from(std::env::var_os("PKI_LINT_DIR").expect("PKI_LINT_DIR"));
    for algorithm in KeyAlgorithm::ALL {
        for (name, certificate) in ["root", "issuing", "leaf"]
            .into_iter()
            .zip(chain(algorithm))
        {
            std::fs::write(
                directory.join(format!("{algorithm}-{name}.pem")),
                certificate.to_pem(),
            )
            .unwrap();
        }
    }
}
