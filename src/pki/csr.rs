//! Certification requests (PKCS#10, RFC 2986) that proved possession of their key.

mod frame;
mod wishes;

use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;

use super::signature::SignatureError;
use super::{
    Fingerprint, Name, NameError, PublicKeyError, SanError, SubjectAltNames, SubjectPublicKey,
};
use wishes::{Wanted, Wishes};

/// Biggest request that we read, in bytes of DER.
pub const MAX_DER: usize = 16 * 1024;

/// A request whose signature verified with a key that is acceptable. No other value of this type exists.
///
/// What it asks for are wishes; policy decides what is granted. Its subject may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csr {
    der: Vec<u8>,
    subject: Name,
    key: SubjectPublicKey,
    wishes: Wishes,
}

/// With which key of the client's a private key that the server makes should be encrypted (RFC 7030 §4.4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecryptKey {
    /// DecryptKeyIdentifier: names a secret that client and server share.
    Symmetric(Vec<u8>),
    /// AsymmetricDecryptKeyIdentifier: names a public key of the client's; which, is for the server to know.
    Asymmetric(Vec<u8>),
}

/// The names that the new certificate should have instead of the old one's (RFC 6402 §2.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSubjectName {
    /// The new subject; `None` to keep the old one.
    pub subject: Option<Name>,
    /// The new alternative names; empty if none are given.
    pub sans: SubjectAltNames,
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
    /// An attribute has a value that it cannot have.
    #[error(
        "the request attribute {oid} has a malformed value: leave it out or create the request with another tool"
    )]
    Attribute {
        /// Its OID.
        oid: String,
    },
    /// Both kinds of keys for the encryption of the new private key.
    #[error(
        "the request has both a DecryptKeyIdentifier and an AsymmetricDecryptKeyIdentifier (RFC 7030 §4.4.1): send only the one whose key shall protect the new private key"
    )]
    TwoDecryptKeys,
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
        let frame = frame::read(der)?;
        Ok(Self {
            der: der.to_vec(),
            wishes: Wishes::read(&frame.attributes)?,
            subject: frame.subject,
            key: frame.key,
        })
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
        &self.wishes.sans
    }

    /// True if it asks for basic constraints with `CA:TRUE`.
    pub fn asks_for_ca(&self) -> bool {
        self.wishes.role != Wanted::Leaf
    }

    /// The path length that it asks for; `None` without limit, and if it does not ask for `CA:TRUE`.
    pub fn asked_path_length(&self) -> Option<u8> {
        match self.wishes.role {
            Wanted::Authority { path_length } => path_length,
            Wanted::Leaf => None,
        }
    }

    /// The challenge password (RFC 2985 §5.4.1), which EST uses to bind the request to its TLS session (RFC 7030 §3.5). An
    /// empty one is none.
    pub fn challenge_password(&self) -> Option<&str> {
        self.wishes.challenge_password.as_deref()
    }

    /// With which key a private key that the server makes should be encrypted (RFC 7030 §4.4.1).
    pub fn decrypt_key(&self) -> Option<&DecryptKey> {
        self.wishes.decrypt_key.as_ref()
    }

    /// The dotted OIDs of the algorithms that the client can decrypt, best first (RFC 8551 §2.5.2, RFC 7030 §4.4.1); empty if
    /// it does not say.
    pub fn smime_capabilities(&self) -> &[String] {
        &self.wishes.smime_capabilities
    }

    /// The names that the new certificate should have instead of the old one's (RFC 6402 §2.8).
    pub fn change_subject_name(&self) -> Option<&ChangeSubjectName> {
        self.wishes.change_subject_name.as_ref()
    }

    /// SHA-256 of the DER: two requests are the same if this is.
    pub fn digest(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }
}

#[cfg(test)]
mod tests;
