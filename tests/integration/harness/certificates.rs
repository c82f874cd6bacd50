//! Certificates as others read them: facts from x509-parser, verdicts from openssl.

use std::fs;

use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{extensions::GeneralName, prelude::*};

use super::run_in;

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The certificate itself.
    pub der: Vec<u8>,
    /// The serial number in lower-case hexadecimal, as openssl writes it but for the case.
    pub serial: String,
    /// The subject, DER.
    pub subject_der: Vec<u8>,
    /// The issuer, DER.
    pub issuer_der: Vec<u8>,
    /// The subject as text.
    pub subject: String,
    /// From when, in seconds since 1970.
    pub not_before: i64,
    /// Until when, in seconds since 1970.
    pub not_after: i64,
    /// The public key, DER.
    pub key: Vec<u8>,
    /// basicConstraints: whether it is a CA, and its pathLenConstraint.
    pub ca: Option<(bool, Option<u32>)>,
    /// DNS:…, IP:… and URI:…, sorted.
    pub names: Vec<String>,
}

impl Facts {
    /// Reads DER.
    pub fn of(der: &[u8]) -> Self {
        let (rest, parsed) = X509Certificate::from_der(der).unwrap();
        assert!(rest.is_empty(), "bytes after the certificate");
        let constraints = parsed.basic_constraints().unwrap();
        let mut names: Vec<String> = parsed
            .subject_alternative_name()
            .unwrap()
            .map(|extension| extension.value.general_names.iter().map(in_words).collect())
            .unwrap_or_default();
        names.sort();
        Self {
            der: der.to_vec(),
            serial: hex(parsed.raw_serial()).trim_start_matches('0').into(),
            subject_der: parsed.subject().as_raw().to_vec(),
            issuer_der: parsed.issuer().as_raw().to_vec(),
            subject: parsed.subject().to_string(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            key: parsed.public_key().raw.to_vec(),
            ca: constraints.map(|found| (found.value.ca, found.value.path_len_constraint)),
            names,
        }
    }

    /// Reads the first certificate of a PEM text.
    pub fn of_pem(text: &str) -> Self {
        Self::of(&split_pem(text)[0])
    }

    /// SHA-256 of the DER in lower-case hexadecimal.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.der)
    }

    /// How openssl judges it, strictly, under these trust anchors and with these certificates in between (PEM).
    pub fn verify(&self, roots: &str, between: &str) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("leaf.der"), &self.der).unwrap();
        fs::write(dir.path().join("roots.pem"), roots).unwrap();
        fs::write(dir.path().join("between.pem"), between).unwrap();
        let untrusted = if between.is_empty() {
            ""
        } else {
            "-untrusted between.pem"
        };
        let script = format!(
            "openssl x509 -inform DER -in leaf.der -out leaf.pem
             openssl verify -x509_strict -no-CApath -no-CAstore -CAfile roots.pem {untrusted} leaf.pem"
        );
        run_in(dir.path(), &script).map(|_| ())
    }
}

/// The certificates of a PEM text, DER.
pub fn split_pem(text: &str) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(text.as_bytes())
        .map(|der| der.unwrap().to_vec())
        .collect()
}

/// SHA-256 in lower-case hexadecimal.
pub fn fingerprint(der: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref())
}

/// The name that the claim of a bootstrap certificate (DER) has.
pub fn claim_name(certificate: &[u8]) -> String {
    let certificate = devicecert::pki::Certificate::from_der(certificate).unwrap();
    certificate.content_digest().to_string()
}

/// The same certificate (DER, signed with ECDSA) with another fingerprint.
pub fn twin(certificate: &[u8]) -> Vec<u8> {
    let certificate = devicecert::pki::Certificate::from_der(certificate).unwrap();
    certificate.twin().unwrap().der().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn in_words(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::URI(uri) => format!("URI:{uri}"),
        GeneralName::IPAddress([a, b, c, d]) => format!("IP:{a}.{b}.{c}.{d}"),
        other => format!("{other:?}"),
    }
}
