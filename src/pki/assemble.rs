//! Making certificates: a template, an issuer, and the checks between them.

pub(super) mod extensions;

use der::asn1::{Any, AnyRef, BitStringRef, ObjectIdentifier};
use der::referenced::OwnedToRef as _;
use der::{Decode, Encode, Sequence};
use rcgen::SigningKey;
use x509_cert::certificate::Version;
use x509_cert::ext::Extension;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::signed::Signed;
use super::{
    Certificate, CertificateError, ExtendedKeyUsage, KeyUsage, Name, SanError, Serial,
    SubjectAltNames, SubjectPublicKey, Validity, ValidityError,
};

/// Something that signs: a key in memory ([`PrivateKey::signer`](super::PrivateKey::signer)) or one in an HSM.
pub type Signer = dyn SigningKey + Send + Sync;

/// Everything that a certificate is to say, but for who signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateTemplate {
    /// Positive; see [`Serial::from_random`].
    pub serial: Serial,
    /// May be empty for a leaf that has alternative names.
    pub subject: Name,
    /// The key to certify.
    pub key: SubjectPublicKey,
    /// Within the issuer's; see [`Validity::starting`].
    pub validity: Validity,
    /// What to put into the subject alternative name extension; left out if empty.
    pub sans: SubjectAltNames,
    /// Usages; those that a key of this kind cannot have (RFC 5480 §3, RFC 8410 §5) are left out.
    pub key_usages: Vec<KeyUsage>,
    /// Purposes, in this order; the extension is left out if there are none.
    pub extended_key_usages: Vec<ExtendedKeyUsage>,
    /// Leaf or authority.
    pub role: Role,
}

/// What the subject of a certificate may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Not sign certificates. It gets no basic constraints at all.
    Leaf,
    /// Sign certificates (`CA:TRUE`).
    Authority {
        /// How many authorities may stand between this one and a leaf; `None` for no limit.
        path_length: Option<u8>,
    },
}

/// Who signs.
#[derive(Clone, Copy)]
pub enum Issuer<'a> {
    /// The key that is certified: the certificate becomes a root.
    SelfSigned(&'a Signer),
    /// An authority.
    Authority {
        /// Its certificate.
        certificate: &'a Certificate,
        /// The key that belongs to it.
        key: &'a Signer,
    },
}

/// Why a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// Zero or negative serial number.
    #[error("the serial number {serial} is not positive: draw another one")]
    Serial {
        /// The serial number.
        serial: Serial,
    },
    /// The issuer's key is not that of its certificate.
    #[error(
        "the key of the authority does not belong to its certificate {subject}: give the pair that belongs together"
    )]
    KeyMismatch {
        /// The issuer's subject.
        subject: Name,
    },
    /// A self-signed certificate is to be signed with another key.
    #[error(
        "a self-signed certificate must certify the key that signs it: give the same key twice"
    )]
    NotItsOwnKey,
    /// The issuer is a leaf.
    #[error(
        "{subject} is no certificate authority: use an issuer with CA:TRUE and the key usage keyCertSign"
    )]
    NotAnAuthority {
        /// The issuer's subject.
        subject: Name,
    },
    /// The issuer's path length is used up.
    #[error(
        "{subject} allows {allowed} further authorities below it: issue from an authority with a longer path length, or give the new one a shorter path length"
    )]
    PathLength {
        /// The issuer's subject.
        subject: Name,
        /// Its path length.
        allowed: u8,
    },
    /// The validity sticks out of the issuer's.
    #[error(
        "the certificate would not lie within the validity of its issuer {subject}: shorten it or renew the issuer"
    )]
    OutsideIssuer {
        /// The issuer's subject.
        subject: Name,
    },
    /// The validity ends before it begins.
    #[error("the certificate would end before it begins: choose a later end")]
    EmptyValidity,
    /// Neither subject nor alternative names.
    #[error("the certificate would name nobody: give a subject, or a DNS name, IP address or URI")]
    Nameless,
    /// An authority without subject.
    #[error(
        "an authority must have a subject (RFC 5280 §4.1.2.6): give it one, such as CN=Example Root"
    )]
    AuthorityWithoutSubject,
    /// The wrong key usages for the role.
    #[error(
        "an authority must have the key usage keyCertSign, and a leaf must not (RFC 5280 §4.2.1.3): correct the key usages"
    )]
    KeyCertSign,
    /// No key usage is left for this kind of key.
    #[error(
        "none of the key usages is possible with a key of the kind {algorithm}: add digitalSignature"
    )]
    NoKeyUsage {
        /// The kind of the key.
        algorithm: super::PublicKeyAlgorithm,
    },
    /// A dotted OID that is none.
    #[error("`{oid}` is no OID for an extended key usage: write it in dotted form")]
    ExtendedKeyUsage {
        /// What was given.
        oid: String,
    },
    /// The signing key has an algorithm that we do not write.
    #[error(
        "the signing key has an unknown signature algorithm: use ECDSA-P256, ECDSA-P384, RSA or Ed25519"
    )]
    Signer,
    /// The alternative names cannot be issued.
    #[error(transparent)]
    SubjectAltNames(#[from] SanError),
    /// The times cannot be written.
    #[error(transparent)]
    Validity(#[from] ValidityError),
    /// Some part cannot be written as DER.
    #[error("the certificate cannot be encoded: shorten its names")]
    Encode(#[from] der::Error),
    /// The key did not sign.
    #[error("signing failed: check that the key of the authority can be reached")]
    Sign(#[source] rcgen::Error),
    /// What was made cannot be read.
    #[error("the new certificate cannot be read back: {0}")]
    ReadBack(#[from] CertificateError),
}

/// Makes and signs the certificate that the template describes.
///
/// The output depends on the arguments alone, but for the nonce in an ECDSA signature.
///
/// # Errors
/// [`AssembleError`] if the template breaks RFC 5280, or does not fit its issuer.
pub fn assemble(
    template: &CertificateTemplate,
    issuer: Issuer<'_>,
) -> Result<Certificate, AssembleError> {
    check_template(template)?;
    check_issuer(template, issuer)?;
    let (signer, issuer_name) = match issuer {
        Issuer::SelfSigned(key) => (key, &template.subject),
        Issuer::Authority { certificate, key } => (key, certificate.subject()),
    };
    let tbs = TbsCertificate {
        version: Version::V3,
        serial: template.serial.to_asn1()?,
        signature: signature_algorithm(signer)?,
        issuer: AnyRef::from_der(issuer_name.as_der())?,
        validity: template.validity.to_asn1()?,
        subject: AnyRef::from_der(template.subject.as_der())?,
        key: AnyRef::from_der(template.key.spki_der())?,
        extensions: extensions::all(template, issuer)?,
    };
    Ok(Certificate::from_der(&sign(&tbs.to_der()?, signer)?)?)
}

/// RFC 5280 §4.1, with the names and the key as the DER they are.
#[derive(Sequence)]
struct TbsCertificate<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: Version,
    serial: AnyRef<'a>,
    signature: AlgorithmIdentifierOwned,
    issuer: AnyRef<'a>,
    validity: x509_cert::time::Validity,
    subject: AnyRef<'a>,
    key: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// Signs the DER of a `TBSCertificate` or `TBSCertList` and wraps both up.
pub(super) fn sign(to_be_signed: &[u8], signer: &Signer) -> Result<Vec<u8>, AssembleError> {
    let signature = signer.sign(to_be_signed).map_err(AssembleError::Sign)?;
    let algorithm = signature_algorithm(signer)?;
    let signed = Signed {
        to_be_signed: AnyRef::from_der(to_be_signed)?,
        algorithm: algorithm.owned_to_ref(),
        signature: BitStringRef::from_bytes(&signature)?,
    };
    Ok(signed.to_der()?)
}

/// RFC 4055 §5 (parameters NULL), RFC 5758 §3.2 and RFC 8410 §3 (no parameters).
pub(super) fn signature_algorithm(
    signer: &Signer,
) -> Result<AlgorithmIdentifierOwned, AssembleError> {
    let algorithm = signer.algorithm();
    let known = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, "1.2.840.10045.4.3.2", None),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "1.2.840.10045.4.3.3", None),
        (
            &rcgen::PKCS_RSA_SHA256,
            "1.2.840.113549.1.1.11",
            Some(Any::null()),
        ),
        (&rcgen::PKCS_ED25519, "1.3.101.112", None),
    ];
    let found = known
        .into_iter()
        .find(|(candidate, ..)| *candidate == algorithm);
    let (_, oid, parameters) = found.ok_or(AssembleError::Signer)?;
    Ok(AlgorithmIdentifierOwned {
        oid: ObjectIdentifier::new(oid).map_err(der::Error::from)?,
        parameters,
    })
}

fn check_template(template: &CertificateTemplate) -> Result<(), AssembleError> {
    if !template.serial.is_positive() {
        return Err(AssembleError::Serial {
            serial: template.serial.clone(),
        });
    }
    if template.validity.not_after < template.validity.not_before {
        return Err(AssembleError::EmptyValidity);
    }
    let signs_certificates = template.key_usages.contains(&KeyUsage::KeyCertSign);
    match template.role {
        Role::Authority { .. } if template.subject.is_empty() => {
            Err(AssembleError::AuthorityWithoutSubject)
        }
        Role::Authority { .. } if !signs_certificates => Err(AssembleError::KeyCertSign),
        Role::Leaf if signs_certificates => Err(AssembleError::KeyCertSign),
        Role::Leaf if template.subject.is_empty() && template.sans.is_empty() => {
            Err(AssembleError::Nameless)
        }
        Role::Leaf | Role::Authority { .. } => Ok(()),
    }
}

fn check_issuer(template: &CertificateTemplate, issuer: Issuer<'_>) -> Result<(), AssembleError> {
    let (certificate, key) = match issuer {
        Issuer::SelfSigned(key) if key.subject_public_key_info() == template.key.spki_der() => {
            return Ok(());
        }
        Issuer::SelfSigned(_) => return Err(AssembleError::NotItsOwnKey),
        Issuer::Authority { certificate, key } => (certificate, key),
    };
    let subject = || certificate.subject().clone();
    if key.subject_public_key_info() != certificate.key() {
        return Err(AssembleError::KeyMismatch { subject: subject() });
    }
    let may_sign = certificate
        .key_usages()
        .is_none_or(|usages| usages.contains(&KeyUsage::KeyCertSign));
    if !certificate.is_ca() || !may_sign {
        return Err(AssembleError::NotAnAuthority { subject: subject() });
    }
    if !template.validity.is_within(&certificate.validity()) {
        return Err(AssembleError::OutsideIssuer { subject: subject() });
    }
    match (certificate.path_length(), template.role) {
        // An authority below uses up one, and may itself allow what remains; RFC 5280 §6.1.4 takes the minimum.
        (Some(allowed), Role::Authority { path_length })
            if allowed == 0 || path_length.is_some_and(|n| n >= allowed) =>
        {
            Err(AssembleError::PathLength {
                subject: subject(),
                allowed,
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
