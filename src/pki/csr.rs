//! Certification requests (PKCS#10, RFC 2986) that proved possession of their key.

use der::Decode;
use der::asn1::AnyRef;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::{ParsedCriAttribute, X509CriAttribute};
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;

use super::signature::{self, SignatureError};
use super::signed;
use super::{
    Fingerprint, Name, NameError, PublicKeyError, SanError, SubjectAltNames, SubjectPublicKey,
};

/// Biggest request that we read, in bytes of DER.
pub const MAX_DER: usize = 16 * 1024;

const SUBJECT_ALT_NAME: &str = "2.5.29.17";

/// A request whose signature verified with a key that is acceptable. No other value of this type exists.
///
/// What it asks for are wishes; policy decides what is granted. Its subject may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csr {
    der: Vec<u8>,
    subject: Name,
    key: SubjectPublicKey,
    sans: SubjectAltNames,
    challenge_password: Option<String>,
    wants: Wants,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Leaf,
    Authority,
}

/// Why a request is refused, and what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Too big.
    #[error("the request has {length} bytes: send at most {MAX_DER}")]
    TooBig {
        /// Its size.
        length: usize,
    },
    /// No PEM section, or several.
    #[error(
        "the PEM text has {count} certificate requests: send exactly one, which begins with `-----BEGIN CERTIFICATE REQUEST-----`"
    )]
    Pem {
        /// How many there are.
        count: usize,
    },
    /// Not PKCS#10.
    #[error(
        "the request is not PKCS#10 in DER (RFC 2986): create it again, for example with `openssl req -new`"
    )]
    Malformed,
    /// Something after the request.
    #[error("{length} bytes follow the request: send the request alone")]
    TrailingData {
        /// How many.
        length: usize,
    },
    /// The subject is no name.
    #[error("the subject of the request is wrong: {0}")]
    Subject(#[source] NameError),
    /// The key is not acceptable.
    #[error(transparent)]
    Key(#[from] PublicKeyError),
    /// The signature is not acceptable.
    #[error("the request does not prove possession of its key: {0}")]
    Signature(#[from] SignatureError),
    /// An attribute stands twice, or has not exactly one value.
    #[error(
        "the request attribute {oid} must stand once with one value: put all extensions into one extension request"
    )]
    RepeatedAttribute {
        /// Its OID.
        oid: String,
    },
    /// An extension is asked for twice.
    #[error("the extension {oid} is requested twice: request it once")]
    RepeatedExtension {
        /// Its OID.
        oid: String,
    },
    /// An extension is malformed.
    #[error(
        "the requested extension {oid} is not valid DER: leave it out or create it with another tool"
    )]
    Extension {
        /// Its OID.
        oid: String,
    },
    /// The subject alternative names are wrong.
    #[error(transparent)]
    SubjectAltNames(#[from] SanError),
}

impl Csr {
    /// Reads a request in DER.
    ///
    /// # Errors
    /// Every [`CsrError`] but [`CsrError::Pem`].
    pub fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_DER {
            return Err(CsrError::TooBig { length: der.len() });
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        if !rest.is_empty() {
            return Err(CsrError::TrailingData { length: rest.len() });
        }
        if !signed::is_canonical(der) {
            return Err(CsrError::Malformed);
        }
        let info = &request.certification_request_info;
        let key = SubjectPublicKey::from_spki_der(info.subject_pki.raw)?;
        signature::verify(
            &info.subject_pki,
            &request.signature_algorithm,
            info.raw,
            &request.signature_value,
        )?;

        let mut csr = Self {
            der: der.to_vec(),
            subject: Name::from_der(info.subject.as_raw()).map_err(CsrError::Subject)?,
            key,
            sans: SubjectAltNames::default(),
            challenge_password: None,
            wants: Wants::Leaf,
        };
        refuse_repetition(
            info.iter_attributes()
                .map(|attribute| attribute.oid.to_id_string()),
        )
        .map_err(|oid| CsrError::RepeatedAttribute { oid })?;
        for attribute in info.iter_attributes() {
            csr.read_attribute(attribute)?;
        }
        Ok(csr)
    }

    /// Reads a request in PEM (RFC 7468 §7, or the older `NEW CERTIFICATE REQUEST`) or DER.
    ///
    /// # Errors
    /// Every [`CsrError`].
    pub fn from_pem_or_der(bytes: &[u8]) -> Result<Self, CsrError> {
        // Base64 is longer by a third, and lines have ends.
        if bytes.len() > 2 * MAX_DER {
            return Err(CsrError::TooBig {
                length: bytes.len(),
            });
        }
        let Some(text) = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| text.contains("-----BEGIN "))
        else {
            return Self::from_der(bytes);
        };
        let text = text.replace(" NEW CERTIFICATE REQUEST-----", " CERTIFICATE REQUEST-----");
        let sections: Vec<_> = CertificateSigningRequestDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| CsrError::Malformed)?;
        match sections.as_slice() {
            [only] => Self::from_der(only),
            other => Err(CsrError::Pem { count: other.len() }),
        }
    }

    /// The DER as received.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The subject it asks for; perhaps empty.
    pub fn subject(&self) -> &Name {
        &self.subject
    }

    /// The key whose possession it proves.
    pub fn key(&self) -> &SubjectPublicKey {
        &self.key
    }

    /// The subject alternative names it asks for.
    pub fn sans(&self) -> &SubjectAltNames {
        &self.sans
    }

    /// True if it asks for basic constraints with `CA:TRUE`.
    pub fn asks_for_ca(&self) -> bool {
        self.wants == Wants::Authority
    }

    /// The challenge password (RFC 2985 §5.4.1), which EST uses to bind the request to its TLS session (RFC 7030 §3.5).
    pub fn challenge_password(&self) -> Option<&str> {
        self.challenge_password.as_deref()
    }

    /// SHA-256 of the DER: two requests are the same if this is.
    pub fn digest(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    fn read_attribute(&mut self, attribute: &X509CriAttribute<'_>) -> Result<(), CsrError> {
        if let ParsedCriAttribute::UnsupportedAttribute = attribute.parsed_attribute() {
            return Ok(());
        }
        // The parser reads the first value of the SET and cuts off the others, which leaves a SET that is too short.
        AnyRef::from_der(attribute.value).map_err(|_| CsrError::RepeatedAttribute {
            oid: attribute.oid.to_id_string(),
        })?;
        match attribute.parsed_attribute() {
            ParsedCriAttribute::ChallengePassword(password) => {
                self.challenge_password = Some(password.0.clone())
            }
            ParsedCriAttribute::ExtensionRequest(request) => {
                refuse_repetition(
                    request
                        .extensions
                        .iter()
                        .map(|extension| extension.oid.to_id_string()),
                )
                .map_err(|oid| CsrError::RepeatedExtension { oid })?;
                for extension in &request.extensions {
                    self.read_extension(extension)?;
                }
            }
            ParsedCriAttribute::UnsupportedAttribute => {}
        }
        Ok(())
    }

    fn read_extension(&mut self, extension: &X509Extension<'_>) -> Result<(), CsrError> {
        let oid = extension.oid.to_id_string();
        if oid == SUBJECT_ALT_NAME {
            self.sans = SubjectAltNames::decode(extension.value)?;
            return Ok(());
        }
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                self.wants = Wants::Authority
            }
            ParsedExtension::ParseError { .. } => return Err(CsrError::Extension { oid }),
            _ => {}
        }
        Ok(())
    }
}

/// The first item that comes twice.
fn refuse_repetition(items: impl Iterator<Item = String>) -> Result<(), String> {
    let mut seen = std::collections::BTreeSet::new();
    for item in items {
        if !seen.insert(item.clone()) {
            return Err(item);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
