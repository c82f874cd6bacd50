//! Certificates as read: any X.509 version, ours and foreign ones.

mod extensions;

use std::fmt;

use der::asn1::AnyRef;
use der::{Decode, Encode, Reader, SliceReader, Tag};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::signature::SignatureError;
use super::signed::{self, Signed, Unsigned};
use super::{
    ExtendedKeyUsage, Fingerprint, KeyUsage, Name, NameError, PublicKeyError, SanError, Serial,
    SerialError, SubjectAltNames, SubjectPublicKey, Validity, pem, twin,
};
use extensions::{Constraints, Extensions};

/// Biggest certificate that we read, in bytes of DER.
pub const MAX_DER: usize = 64 * 1024;

/// Most certificates that we read from one PEM text.
pub const MAX_CHAIN: usize = 16;

/// A parsed certificate that keeps its DER. Equality is that of the DER.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    version: u8,
    serial: Serial,
    subject: Name,
    issuer: Name,
    validity: Validity,
    spki: Vec<u8>,
    extensions: Extensions,
}

/// Why bytes or text are no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Too big.
    #[error("the certificate has {length} bytes: at most {MAX_DER} are read")]
    TooBig {
        /// Its size.
        length: usize,
    },
    /// Not an X.509 certificate in DER.
    #[error(
        "the certificate is not X.509 in DER (RFC 5280 §4.1): give the certificate as its issuer made it"
    )]
    Malformed,
    /// Something after the certificate.
    #[error("{length} bytes follow the certificate: give the certificate alone")]
    TrailingData {
        /// How many.
        length: usize,
    },
    /// Subject or issuer is no name.
    #[error("the certificate has an unusable subject or issuer: {0}")]
    Name(#[from] NameError),
    /// The serial number is too long.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// An extension is malformed.
    #[error("the certificate's extension {oid} is malformed: have it issued again")]
    Extension {
        /// Its OID.
        oid: String,
    },
    /// An extension stands twice.
    #[error("the certificate has the extension {oid} twice: have it issued again")]
    RepeatedExtension {
        /// Its OID.
        oid: String,
    },
    /// The subject alternative names are not DER.
    #[error(transparent)]
    SubjectAltNames(#[from] SanError),
    /// The PEM text is broken.
    #[error(
        "the PEM text is damaged: give whole sections from `-----BEGIN CERTIFICATE-----` to `-----END CERTIFICATE-----`"
    )]
    Pem,
    /// No certificate in the PEM text.
    #[error(
        "the PEM text has no certificate: give one that begins with `-----BEGIN CERTIFICATE-----`"
    )]
    NoCertificate,
    /// More certificates than wanted.
    #[error("the PEM text has more than {limit} certificates: give fewer")]
    TooMany {
        /// How many are read.
        limit: usize,
    },
}

impl Certificate {
    /// Reads a certificate in DER. Signature, validity and trust are not checked.
    ///
    /// # Errors
    /// Every [`CertificateError`] but those about PEM.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_DER {
            return Err(CertificateError::TooBig { length: der.len() });
        }
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::TrailingData { length: rest.len() });
        }
        if !signed::is_canonical(der) {
            return Err(CertificateError::Malformed);
        }
        let validity = parsed.validity();
        Ok(Self {
            der: der.to_vec(),
            // The parser knows versions 1 to 3 only, which are 0 to 2 in DER.
            version: u8::try_from(parsed.version().0).map_or(u8::MAX, |v| v.saturating_add(1)),
            serial: Serial::from_integer(parsed.raw_serial())?,
            subject: Name::from_der(parsed.subject().as_raw())?,
            issuer: Name::from_der(parsed.issuer().as_raw())?,
            validity: Validity::from_seconds(
                validity.not_before.timestamp(),
                validity.not_after.timestamp(),
            ),
            spki: parsed.public_key().raw.to_vec(),
            extensions: Extensions::read(parsed.extensions())?,
        })
    }

    /// Reads the only certificate in a PEM text; other sections are ignored.
    ///
    /// # Errors
    /// Every [`CertificateError`].
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let mut certificates = read_pem(text, 1)?;
        certificates.pop().ok_or(CertificateError::NoCertificate)
    }

    /// The DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// One PEM section with a trailing newline.
    pub fn to_pem(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.der)
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// SHA-256 of what its issuer signed (TBSCertificate, RFC 5280 §4.1.1.1): the same in whichever way the signature is written,
    /// which others than the issuer can change (see [`Self::twin`]).
    pub fn content_digest(&self) -> Fingerprint {
        // It was read when it was made, so this only finds the part again.
        let content = Signed::from_der(&self.der).and_then(|signed| signed.to_be_signed.to_der());
        content.map_or_else(|_| self.fingerprint(), |content| Fingerprint::of(&content))
    }

    /// The same certificate with its ECDSA signature written in the other way, which anybody can do and which is as good; `None`
    /// for other signatures. Who is denied by one fingerprint is denied by both.
    pub fn twin(&self) -> Option<Self> {
        twin::of(&self.der).map(|der| Self {
            der,
            ..self.clone()
        })
    }

    /// The X.509 version: 1, 2 or 3. Versions 1 and 2 know no basic constraints.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The serial number.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// Whom it names.
    pub fn subject(&self) -> &Name {
        &self.subject
    }

    /// Who signed it, as it says.
    pub fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// When it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// DER of its key's SubjectPublicKeyInfo, of any kind.
    pub fn key(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of the SubjectPublicKeyInfo: what [`SubjectPublicKey::fingerprint`] says of the same key.
    pub fn key_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.spki)
    }

    /// Its key, if it is of a kind we accept.
    ///
    /// # Errors
    /// [`PublicKeyError`] says why it is not.
    pub fn public_key(&self) -> Result<SubjectPublicKey, PublicKeyError> {
        SubjectPublicKey::from_spki_der(&self.spki)
    }

    /// The subject alternative names; malformed ones are under `other`.
    pub fn sans(&self) -> &SubjectAltNames {
        &self.extensions.sans
    }

    /// The subject key identifier (RFC 5280 §4.2.1.2).
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.extensions.subject_key_id.as_deref()
    }

    /// The key identifier of the authority key identifier (RFC 5280 §4.2.1.1).
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.extensions.authority_key_id.as_deref()
    }

    /// The key usages we know, in the order of their bits; `None` without the extension, which allows all.
    pub fn key_usages(&self) -> Option<&[KeyUsage]> {
        self.extensions.key_usages.as_deref()
    }

    /// The extended key usages; empty without the extension.
    pub fn extended_key_usages(&self) -> &[ExtendedKeyUsage] {
        &self.extensions.extended_key_usages
    }

    /// True if the basic constraints say `CA:TRUE`; never for versions 1 and 2.
    pub fn is_ca(&self) -> bool {
        self.extensions.constraints != Constraints::Leaf
    }

    /// How many authorities may stand between this one and a leaf; `None` without limit, and for leaves.
    pub fn path_length(&self) -> Option<u8> {
        match self.extensions.constraints {
            Constraints::Authority { path_length } => path_length,
            Constraints::Leaf => None,
        }
    }

    /// True if it has name constraints (RFC 5280 §4.2.1.10), critical or not, whatever they say.
    pub fn has_name_constraints(&self) -> bool {
        self.extensions.has_name_constraints
    }

    /// The dotted OID of the first critical extension whose meaning we do not know. Whoever relies on the certificate must
    /// refuse it then (RFC 5280 §4.2). Name constraints are told apart by [`has_name_constraints`](Self::has_name_constraints).
    pub fn unknown_critical_extension(&self) -> Option<&str> {
        self.extensions.unknown_critical.as_deref()
    }

    /// True if it names itself as its issuer, byte for byte.
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// True if it names `issuer` as its issuer, byte for byte, and `issuer`'s key made its signature.
    ///
    /// Whether `issuer` was allowed to, and is valid, is another question.
    pub fn is_signed_by(&self, issuer: &Certificate) -> bool {
        self.issuer == issuer.subject && self.check_signature(issuer).is_ok()
    }

    /// Checks that `issuer`'s key made the signature; the names are not compared.
    ///
    /// # Errors
    /// [`SignatureError`]; a certificate whose two algorithm fields differ is [`SignatureError::Invalid`].
    pub fn check_signature(&self, issuer: &Certificate) -> Result<(), SignatureError> {
        // It was read when it was made, so this only finds the parts again.
        let signed = Signed::from_der(&self.der).map_err(|_| SignatureError::Invalid)?;
        // RFC 5280 §4.1.1.2: both algorithm fields are the same.
        match (
            signed.algorithm.to_der(),
            inner_algorithm(signed.to_be_signed),
        ) {
            (Ok(outer), Ok(inner)) if outer == inner => {}
            _ => return Err(SignatureError::Invalid),
        }
        signed.verify(&issuer.spki).map_err(|error| match error {
            Unsigned::Malformed => SignatureError::Invalid,
            Unsigned::Signature(error) => error,
        })
    }
}

/// The DER of the algorithm field inside of what is signed: after the version, where there is one, and the serial number.
fn inner_algorithm(to_be_signed: AnyRef<'_>) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(to_be_signed.value())?;
    if reader.peek_tag()? != Tag::Integer {
        reader.tlv_bytes()?;
    }
    reader.tlv_bytes()?;
    reader.tlv_bytes()
}

/// All certificates of a PEM text in their order; other sections are ignored.
///
/// # Errors
/// [`CertificateError::NoCertificate`] for none, [`CertificateError::TooMany`] beyond [`MAX_CHAIN`], and what
/// [`Certificate::from_der`] says of each.
pub fn parse_pem_chain(text: &str) -> Result<Vec<Certificate>, CertificateError> {
    read_pem(text, MAX_CHAIN)
}

/// The PEM sections of all, in the given order.
pub fn pem_chain(certificates: &[Certificate]) -> String {
    certificates.iter().map(Certificate::to_pem).collect()
}

fn read_pem(text: &str, limit: usize) -> Result<Vec<Certificate>, CertificateError> {
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(text.as_bytes()) {
        if certificates.len() == limit {
            return Err(CertificateError::TooMany { limit });
        }
        certificates.push(Certificate::from_der(
            &der.map_err(|_| CertificateError::Pem)?,
        )?);
    }
    if certificates.is_empty() {
        return Err(CertificateError::NoCertificate);
    }
    Ok(certificates)
}

impl AsRef<[u8]> for Certificate {
    /// The DER.
    fn as_ref(&self) -> &[u8] {
        &self.der
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Certificate({}, serial {}, issued by {})",
            self.subject, self.serial, self.issuer
        )
    }
}

#[cfg(test)]
mod tests;
