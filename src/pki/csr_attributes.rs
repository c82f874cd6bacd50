//! What a server tells a client to put into its request: `CsrAttrs` (RFC 7030 §4.5.2, with the ASN.1 of RFC 8951 §3.3).

use der::asn1::{Any, BitString, ObjectIdentifier, OctetString, SetOfVec};
use der::oid::AssociatedOid;
use der::{Decode, Encode, Sequence, Tag};
use x509_cert::attr::Attribute;
use x509_cert::ext::pkix;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::assemble::extensions::{extended_key_usage, flag};
use super::{ExtendedKeyUsage, KeyUsage, PublicKeyAlgorithm};

const CHALLENGE_PASSWORD: ObjectIdentifier = oid("1.2.840.113549.1.9.7");
const EXTENSION_REQUEST: ObjectIdentifier = oid("1.2.840.113549.1.9.14");
const RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = oid("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = oid("1.3.101.112");
/// id-aa-certificationRequestInfoTemplate, RFC 9908 §3.4.
const TEMPLATE: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.61");
/// id-aa-extensionReqTemplate, RFC 9908 §3.4.
const EXTENSION_TEMPLATE: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.62");

const fn oid(dotted: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(dotted)
}

/// One thing that a request should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The proof that it was made for its TLS connection, in the challenge password (RFC 7030 §3.5).
    ChallengePassword,
    /// A key of this kind. There can be only one: where several are allowed, give the best or none.
    Key(PublicKeyAlgorithm),
    /// A signature with the algorithm that goes with such a key: SHA-256 for RSA and P-256, SHA-384 for P-384, SHA-512 for P-521.
    SignatureBy(PublicKeyAlgorithm),
    /// These key usages; an empty list is ignored.
    KeyUsages(Vec<KeyUsage>),
    /// These purposes; an empty list is ignored.
    ExtendedKeyUsages(Vec<ExtendedKeyUsage>),
    /// Subject alternative names. Which, the client must know: there is no way to ask for kinds of names.
    SubjectAltNames,
}

/// Why the wishes cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrAttributesError {
    /// Two kinds of keys.
    #[error("a request has one key: ask for one kind of key, or for none")]
    TwoKeys,
    /// A dotted OID that is none.
    #[error("an extended key usage is no OID: write it in dotted form")]
    ExtendedKeyUsage,
    /// Some part cannot be written as DER.
    #[error("the wishes cannot be encoded: ask for less")]
    Encode,
}

impl From<der::Error> for CsrAttributesError {
    fn from(_: der::Error) -> Self {
        Self::Encode
    }
}

/// RFC 9908 §3.4.
#[derive(Sequence)]
struct InfoTemplate {
    version: u8,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    key: Option<KeyTemplate>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT")]
    attributes: SetOfVec<Attribute>,
}

#[derive(Sequence)]
struct KeyTemplate {
    algorithm: AlgorithmIdentifierOwned,
    #[asn1(optional = "true")]
    bits: Option<BitString>,
}

/// Like an extension, with or without a value.
#[derive(Clone, Sequence)]
struct ExtensionTemplate {
    id: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    critical: bool,
    #[asn1(optional = "true")]
    value: Option<OctetString>,
}

/// The DER of `CsrAttrs`; no bytes at all if nothing is wanted, for which EST answers 204.
///
/// All wishes are in the form of RFC 7030, in the given order, then the extensions with known values as one extension request.
/// Where subject alternative names are wanted the template of RFC 9908 follows, which can ask for them without naming them:
/// clients that know it use it alone, the others ignore it (§3.4). It is left out where it would say less: it cannot ask
/// for the size of an RSA key without a made-up key, nor for a challenge password whose value only the client knows.
///
/// # Errors
/// [`CsrAttributesError`] for wishes that contradict each other or cannot be encoded.
pub fn encode(wanted: &[Wanted]) -> Result<Vec<u8>, CsrAttributesError> {
    let mut keys = wanted.iter().filter(|wish| matches!(wish, Wanted::Key(_)));
    if keys
        .next()
        .is_some_and(|first| keys.any(|other| other != first))
    {
        return Err(CsrAttributesError::TwoKeys);
    }
    let mut items: Vec<Vec<u8>> = Vec::new();
    for wish in wanted {
        if let Some(item) = item(wish)?.filter(|item| !items.contains(item)) {
            items.push(item);
        }
    }
    let extensions = extensions(wanted)?;
    let with_values: Vec<ExtensionTemplate> = extensions
        .iter()
        .filter(|extension| extension.value.is_some())
        .cloned()
        .collect();
    if !with_values.is_empty() {
        items.push(attribute(EXTENSION_REQUEST, &with_values)?.to_der()?);
    }
    if let Some(template) = template(wanted, &extensions)? {
        items.push(template.to_der()?);
    }
    if items.is_empty() {
        return Ok(Vec::new());
    }
    Ok(Any::new(Tag::Sequence, items.concat())?.to_der()?)
}

/// An `AttrOrOID`, unless it is an extension with a value.
fn item(wish: &Wanted) -> Result<Option<Vec<u8>>, CsrAttributesError> {
    let der = match wish {
        Wanted::ChallengePassword => CHALLENGE_PASSWORD.to_der(),
        Wanted::Key(algorithm) => return key(*algorithm).map(Some),
        Wanted::SignatureBy(algorithm) => signature(*algorithm).to_der(),
        Wanted::SubjectAltNames => pkix::SubjectAltName::OID.to_der(),
        Wanted::KeyUsages(_) | Wanted::ExtendedKeyUsages(_) => return Ok(None),
    };
    Ok(Some(der?))
}

/// RFC 9908 §3.3: the kind of key with the curve or size, if that needs to be said.
fn key(algorithm: PublicKeyAlgorithm) -> Result<Vec<u8>, CsrAttributesError> {
    let der = match (algorithm, curve(algorithm)) {
        (PublicKeyAlgorithm::Rsa { bits }, _) => attribute(RSA, &bits)?.to_der(),
        (_, Some(curve)) => attribute(EC, &curve)?.to_der(),
        (_, None) => ED25519.to_der(),
    };
    Ok(der?)
}

fn curve(algorithm: PublicKeyAlgorithm) -> Option<ObjectIdentifier> {
    match algorithm {
        PublicKeyAlgorithm::EcdsaP256 => Some(oid("1.2.840.10045.3.1.7")),
        PublicKeyAlgorithm::EcdsaP384 => Some(oid("1.3.132.0.34")),
        PublicKeyAlgorithm::EcdsaP521 => Some(oid("1.3.132.0.35")),
        PublicKeyAlgorithm::Rsa { .. } | PublicKeyAlgorithm::Ed25519 => None,
    }
}

/// RFC 4055 §5, RFC 5758 §3.2, RFC 8410 §3.
fn signature(algorithm: PublicKeyAlgorithm) -> ObjectIdentifier {
    match algorithm {
        PublicKeyAlgorithm::Rsa { .. } => oid("1.2.840.113549.1.1.11"),
        PublicKeyAlgorithm::EcdsaP256 => oid("1.2.840.10045.4.3.2"),
        PublicKeyAlgorithm::EcdsaP384 => oid("1.2.840.10045.4.3.3"),
        PublicKeyAlgorithm::EcdsaP521 => oid("1.2.840.10045.4.3.4"),
        PublicKeyAlgorithm::Ed25519 => ED25519,
    }
}

/// All extensions that are wanted; those whose values only the client knows are without.
fn extensions(wanted: &[Wanted]) -> Result<Vec<ExtensionTemplate>, CsrAttributesError> {
    let usages = wanted.iter().filter_map(|wish| match wish {
        Wanted::KeyUsages(usages) => Some(usages),
        _ => None,
    });
    let usages: Vec<_> = usages.flatten().map(|usage| flag(*usage)).collect();
    let purposes = wanted.iter().filter_map(|wish| match wish {
        Wanted::ExtendedKeyUsages(purposes) => Some(purposes),
        _ => None,
    });
    let purposes: Vec<_> = purposes.flatten().cloned().collect();
    let mut extensions = Vec::new();
    if !usages.is_empty() {
        let usages = usages
            .into_iter()
            .fold(Default::default(), |all, flag| all | flag);
        extensions.push(ExtensionTemplate {
            id: pkix::KeyUsage::OID,
            critical: true,
            value: Some(OctetString::new(pkix::KeyUsage(usages).to_der()?)?),
        });
    }
    let purposes =
        extended_key_usage(&purposes).map_err(|_| CsrAttributesError::ExtendedKeyUsage)?;
    if let Some(purposes) = purposes {
        extensions.push(ExtensionTemplate {
            id: pkix::ExtendedKeyUsage::OID,
            critical: false,
            value: Some(OctetString::new(purposes.to_der()?)?),
        });
    }
    if wanted.contains(&Wanted::SubjectAltNames) {
        extensions.push(ExtensionTemplate {
            id: pkix::SubjectAltName::OID,
            critical: false,
            value: None,
        });
    }
    Ok(extensions)
}

fn template(
    wanted: &[Wanted],
    extensions: &Vec<ExtensionTemplate>,
) -> Result<Option<Attribute>, CsrAttributesError> {
    let says_less = |wish: &Wanted| {
        matches!(
            wish,
            Wanted::ChallengePassword | Wanted::Key(PublicKeyAlgorithm::Rsa { .. })
        )
    };
    if !wanted.contains(&Wanted::SubjectAltNames) || wanted.iter().any(says_less) {
        return Ok(None);
    }
    let algorithm = wanted.iter().find_map(|wish| match wish {
        Wanted::Key(algorithm) => Some(*algorithm),
        _ => None,
    });
    let key = match algorithm.map(curve) {
        None => None,
        Some(None) => Some((ED25519, None)),
        Some(Some(curve)) => Some((EC, Some(Any::encode_from(&curve)?))),
    };
    let template = InfoTemplate {
        version: 0,
        key: key.map(|(oid, parameters)| KeyTemplate {
            algorithm: AlgorithmIdentifierOwned { oid, parameters },
            bits: None,
        }),
        attributes: SetOfVec::try_from(vec![attribute(EXTENSION_TEMPLATE, extensions)?])?,
    };
    Ok(Some(attribute(TEMPLATE, &template)?))
}

fn attribute<T>(oid: ObjectIdentifier, value: &T) -> Result<Attribute, CsrAttributesError>
where
    T: Encode,
{
    Ok(Attribute {
        oid,
        values: SetOfVec::try_from(vec![Any::from_der(&value.to_der()?)?])?,
    })
}

#[cfg(test)]
mod tests;
