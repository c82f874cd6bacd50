//! Test builders: small authorities and devices, and the `openssl` command.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use der::{Encode as _, Sequence};
use jiff::Timestamp;
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::*;

/// A fixed moment: 2026-01-01T00:00:00Z.
pub(crate) fn now() -> Timestamp {
    Timestamp::constant(1_767_225_600, 0)
}

/// A serial that no other certificate of this test run has.
pub(crate) fn serial() -> Serial {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let mut random = [0x5a; 16];
    random[15] = NEXT.fetch_add(1, Ordering::Relaxed);
    Serial::from_random(random)
}

/// An authority with its key.
pub(crate) struct Ca {
    pub key: PrivateKey,
    pub certificate: Certificate,
}

impl Ca {
    /// A self-signed ECDSA-P256 authority for 20 years.
    pub fn root(name: &str) -> Self {
        Self::root_with(name, KeyAlgorithm::EcdsaP256)
    }

    pub fn root_with(name: &str, algorithm: KeyAlgorithm) -> Self {
        let key = PrivateKey::generate(algorithm).unwrap();
        let template = authority(name, key.public(), lasting("20y", None));
        let certificate = assemble(&template, Issuer::SelfSigned(key.signer())).unwrap();
        Self { key, certificate }
    }

    /// An authority below this one, with a key of the same kind.
    pub fn sub(&self, name: &str) -> Self {
        let key = PrivateKey::generate(self.key.algorithm()).unwrap();
        let template = authority(name, key.public(), lasting("10y", Some(&self.certificate)));
        let certificate = assemble(&template, self.issuer()).unwrap();
        Self { key, certificate }
    }

    /// A certificate of this authority about another one's key and name.
    pub fn certify(&self, other: &Self) -> Certificate {
        let name = other.certificate.subject().to_string();
        let template = authority(
            &name,
            other.key.public(),
            lasting("10y", Some(&self.certificate)),
        );
        assemble(&template, self.issuer()).unwrap()
    }

    /// A device certificate with a fresh key.
    pub fn leaf(&self, name: &str) -> Certificate {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        assemble(&self.leaf_template(name, key.public()), self.issuer()).unwrap()
    }

    pub fn leaf_template(&self, name: &str, key: &SubjectPublicKey) -> CertificateTemplate {
        leaf(name, key, lasting("90d", Some(&self.certificate)))
    }

    pub fn issuer(&self) -> Issuer<'_> {
        Issuer::Authority {
            certificate: &self.certificate,
            key: self.key.signer(),
        }
    }
}

fn lasting(lifespan: &str, issuer: Option<&Certificate>) -> Validity {
    Validity::starting(
        now(),
        lifespan.parse().unwrap(),
        issuer.map(Certificate::validity),
    )
    .unwrap()
    .0
}

pub(crate) fn authority(
    name: &str,
    key: &SubjectPublicKey,
    validity: Validity,
) -> CertificateTemplate {
    CertificateTemplate {
        key_usages: vec![KeyUsage::KeyCertSign, KeyUsage::CrlSign],
        extended_key_usages: vec![],
        role: Role::Authority { path_length: None },
        ..leaf(name, key, validity)
    }
}

fn leaf(name: &str, key: &SubjectPublicKey, validity: Validity) -> CertificateTemplate {
    CertificateTemplate {
        serial: serial(),
        subject: Name::parse(name).unwrap(),
        key: key.clone(),
        validity,
        sans: SubjectAltNames::default(),
        key_usages: vec![KeyUsage::DigitalSignature],
        extended_key_usages: vec![ExtendedKeyUsage::ClientAuth],
        role: Role::Leaf,
    }
}

/// The SubjectPublicKeyInfo of an RSA key with this modulus and the exponent 65537.
pub(crate) fn rsa_spki(modulus: &[u8]) -> Vec<u8> {
    #[derive(Sequence)]
    struct RsaPublicKey<'a> {
        modulus: UintRef<'a>,
        exponent: UintRef<'a>,
    }
    let key = RsaPublicKey {
        modulus: UintRef::new(modulus).unwrap(),
        exponent: UintRef::new(&[1, 0, 1]).unwrap(),
    };
    let key = key.to_der().unwrap();
    let info = SubjectPublicKeyInfoRef {
        algorithm: AlgorithmIdentifierRef {
            oid: ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"),
            parameters: Some(AnyRef::NULL),
        },
        subject_public_key: BitStringRef::from_bytes(&key).unwrap(),
    };
    info.to_der().unwrap()
}

/// Runs `openssl` with this input and returns its output; panics with its complaints if it fails.
pub(crate) fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    try_openssl(arguments, input)
        .unwrap_or_else(|complaints| panic!("openssl {arguments:?}: {complaints}"))
}

/// The same, with the complaints as the error.
pub(crate) fn try_openssl(arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("these tests need the openssl command");
    // It may end without reading; then its status tells.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The public key of a fresh key that `openssl genpkey` makes with these arguments.
pub(crate) fn openssl_spki(arguments: &[&str]) -> Vec<u8> {
    let key = openssl(&[&["genpkey"], arguments].concat(), b"");
    openssl(&["pkey", "-pubout", "-outform", "DER"], &key)
}

/// A request in DER that `openssl req -new` makes with a fresh P-256 key, this subject and further arguments.
pub(crate) fn openssl_csr(subject: &str, arguments: &[&str]) -> Vec<u8> {
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
    let curve = ["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", subject];
    openssl(&[&key[..], &curve, arguments].concat(), b"")
}
