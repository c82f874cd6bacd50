//! Certificates and CSRs that the tests need, also odd ones.

use std::{path::Path, process::Command, sync::Arc};

use base64::prelude::{BASE64_STANDARD, Engine};
use devicecert::registrar::ServerIdentity;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use zeroize::Zeroizing;

use super::registrar::FakeRegistrar;

/// A server identity for localhost, from the registrar's CA.
pub fn server_identity(registrar: &FakeRegistrar) -> Arc<ServerIdentity> {
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let params = CertificateParams::new(names).unwrap();
    let leaf = params.signed_by(&key, registrar.issuer()).unwrap();
    Arc::new(ServerIdentity {
        chain: vec![leaf.der().to_vec(), registrar.root.clone()],
        key: Zeroizing::new(key.serialize_der()),
    })
}

/// A PKCS#10 request for `name`, DER.
pub fn csr(name: &str) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap()
        .der()
        .to_vec()
}

/// The same, as base64 in one line.
pub fn csr_base64(name: &str) -> String {
    BASE64_STANDARD.encode(csr(name))
}

/// A certificate that expired long ago, from an issuer that nobody knows.
pub fn expired_stranger() -> CertifiedKey {
    let mut params = CertificateParams::new(["stranger".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    certified(certificate.der().clone(), key.serialize_der())
}

/// The certificate of one key with another key: its handshakes cannot be signed.
pub fn stolen() -> CertifiedKey {
    let (mut mine, other) = (expired_stranger(), expired_stranger());
    mine.key = other.key;
    mine
}

/// An X.509 v1 certificate, made by openssl, with a key of the given kind (arguments of `openssl genpkey`).
pub fn version_1(genpkey: &[&str]) -> CertifiedKey {
    let dir = tempfile::tempdir().unwrap();
    openssl(
        dir.path(),
        &[&["genpkey", "-out", "key.pem"], genpkey].concat(),
    );
    openssl(
        dir.path(),
        &[
            "req", "-new", "-key", "key.pem", "-subj", "/CN=old", "-out", "csr.pem",
        ],
    );
    openssl(
        dir.path(),
        &[
            "x509", "-req", "-in", "csr.pem", "-key", "key.pem", "-out", "crt.pem",
        ],
    );
    let text = openssl(dir.path(), &["x509", "-in", "crt.pem", "-noout", "-text"]);
    assert!(text.contains("Version: 1 (0x0)"), "{text}");
    let key = PrivatePkcs8KeyDer::from_pem_file(dir.path().join("key.pem")).unwrap();
    let certificate = CertificateDer::from_pem_file(dir.path().join("crt.pem")).unwrap();
    certified(certificate, key.secret_pkcs8_der().to_vec())
}

/// Runs openssl in a directory and returns what it printed.
pub fn openssl(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn certified(certificate: CertificateDer<'static>, key: Vec<u8>) -> CertifiedKey {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    CertifiedKey::new(
        vec![certificate],
        aws_lc_rs::sign::any_supported_type(&key).unwrap(),
    )
}
