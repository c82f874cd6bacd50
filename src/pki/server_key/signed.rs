//! The inner layers: AsymmetricKeyPackage in SignedData.

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use der::asn1::{Any, AnyRef, ObjectIdentifier, OctetString, OctetStringRef, SetOfVec};
use der::{Decode, Encode, Sequence, Tag};
use x509_cert::attr::Attribute;
use x509_cert::spki::AlgorithmIdentifierOwned;
use zeroize::Zeroizing;

use super::{Maker, ServerKeyError, oid};
use crate::pki::assemble::signature_algorithm;
use crate::pki::{Certificate, PrivateKey, PublicKeyAlgorithm};

/// id-ct-KP-aKeyPackage, RFC 5958 §2.
const KEY_PACKAGE: ObjectIdentifier = oid("2.16.840.1.101.2.1.2.78.5");
/// RFC 5652 §11.1 and §11.2.
const CONTENT_TYPE: ObjectIdentifier = oid("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = oid("1.2.840.113549.1.9.4");

/// RFC 5652 §5.1, around a content that is only borrowed: nothing here makes a copy of the key.
#[derive(Sequence)]
struct SignedData<'a> {
    version: u8,
    digests: SetOfVec<AlgorithmIdentifierOwned>,
    content: Content<'a>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    certificates: SetOfVec<Any>,
    signers: SetOfVec<Any>,
}

#[derive(Sequence)]
struct Content<'a> {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: OctetStringRef<'a>,
}

/// RFC 5652 §5.3.
#[derive(Sequence)]
struct SignerInfo<'a> {
    version: u8,
    signer: IssuerAndSerialNumber<'a>,
    digest: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    attributes: SetOfVec<Attribute>,
    algorithm: AlgorithmIdentifierOwned,
    signature: OctetString,
}

#[derive(Sequence)]
struct IssuerAndSerialNumber<'a> {
    issuer: AnyRef<'a>,
    serial: AnyRef<'a>,
}

/// The DER of SignedData, without a ContentInfo around it.
pub(super) fn signed_data(
    key: &PrivateKey,
    maker: Maker<'_>,
) -> Result<Zeroizing<Vec<u8>>, ServerKeyError> {
    let certificate = maker.chain.first().ok_or(ServerKeyError::Maker)?;
    if maker.key.subject_public_key_info() != certificate.key() {
        return Err(ServerKeyError::Maker);
    }
    // RFC 5958 §2: SEQUENCE OF OneAsymmetricKey, whose version 1 is PKCS#8.
    let pkcs8 = key.to_pkcs8_der();
    let package = Zeroizing::new(AnyRef::new(Tag::Sequence, &pkcs8)?.to_der()?);
    let digest = digest_algorithm(certificate)?;
    let signer = signer_info(&package, digest, certificate, maker)?;
    let data = SignedData {
        // RFC 5652 §5.1: 3, since the content is not id-data.
        version: 3,
        digests: SetOfVec::try_from(vec![identifier(digest)])?,
        content: Content {
            content_type: KEY_PACKAGE,
            content: OctetStringRef::new(&package)?,
        },
        certificates: certificates(maker.chain)?,
        signers: SetOfVec::try_from(vec![signer])?,
    };
    Ok(Zeroizing::new(data.to_der()?))
}

fn signer_info(
    package: &[u8],
    digest: &'static digest::Algorithm,
    certificate: &Certificate,
    maker: Maker<'_>,
) -> Result<Any, ServerKeyError> {
    let sum = digest::digest(digest, package);
    let attributes = SetOfVec::try_from(vec![
        attribute(CONTENT_TYPE, &KEY_PACKAGE)?,
        attribute(MESSAGE_DIGEST, &OctetStringRef::new(sum.as_ref())?)?,
    ])?;
    // RFC 5652 §5.4: the signature is over the attributes as a SET OF, not as the [0] that carries them.
    let signature = maker.key.sign(&attributes.to_der()?);
    let info = SignerInfo {
        version: 1,
        signer: IssuerAndSerialNumber {
            issuer: AnyRef::from_der(certificate.issuer().as_der())?,
            serial: certificate.serial().to_asn1()?,
        },
        digest: identifier(digest),
        attributes,
        algorithm: signature_algorithm(maker.key).map_err(|_| ServerKeyError::Sign)?,
        signature: OctetString::new(signature.map_err(|_| ServerKeyError::Sign)?)?,
    };
    Ok(Any::encode_from(&info)?)
}

/// The hash inside the signature algorithm; for Ed25519 SHA-512 (RFC 8419 §3.1).
fn digest_algorithm(
    certificate: &Certificate,
) -> Result<&'static digest::Algorithm, ServerKeyError> {
    let key = certificate
        .public_key()
        .map_err(|_| ServerKeyError::Maker)?;
    Ok(match key.algorithm() {
        PublicKeyAlgorithm::EcdsaP256 | PublicKeyAlgorithm::Rsa { .. } => &SHA256,
        PublicKeyAlgorithm::EcdsaP384 => &SHA384,
        PublicKeyAlgorithm::EcdsaP521 | PublicKeyAlgorithm::Ed25519 => &SHA512,
    })
}

/// RFC 5754 §2: without parameters.
fn identifier(digest: &'static digest::Algorithm) -> AlgorithmIdentifierOwned {
    let dotted = match digest.output_len() {
        32 => "2.16.840.1.101.3.4.2.1",
        48 => "2.16.840.1.101.3.4.2.2",
        _ => "2.16.840.1.101.3.4.2.3",
    };
    AlgorithmIdentifierOwned {
        oid: oid(dotted),
        parameters: None,
    }
}

fn attribute<T: Encode>(oid: ObjectIdentifier, value: &T) -> der::Result<Attribute> {
    Ok(Attribute {
        oid,
        values: SetOfVec::try_from(vec![Any::from_der(&value.to_der()?)?])?,
    })
}

fn certificates(chain: &[Certificate]) -> der::Result<SetOfVec<Any>> {
    let mut unique: Vec<&[u8]> = chain.iter().map(Certificate::der).collect();
    unique.sort();
    unique.dedup();
    let all = unique.into_iter().map(Any::from_der);
    SetOfVec::try_from(all.collect::<der::Result<Vec<_>>>()?)
}
