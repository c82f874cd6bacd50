//! A private key that the server made for a device, in the CMS message that only the device can open (RFC 7030 §4.4.2).
//!
//! Three layers: the key as an AsymmetricKeyPackage (RFC 5958), signed by whoever made it (SignedData, RFC 5652 §5), and
//! encrypted for one recipient (EnvelopedData, RFC 5652 §6). What holds the key in the clear is wiped from memory.

mod recipient;
mod signed;

use aws_lc_rs::cipher::{AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::iv::FixedLength;
use cms::content_info::ContentInfo;
use cms::enveloped_data::EncryptedContentInfo;
use der::asn1::{Any, ObjectIdentifier, OctetString, OctetStringRef, SetOfVec};
use der::{Decode, Encode, Sequence};
use x509_cert::spki::AlgorithmIdentifierOwned;
use zeroize::Zeroizing;

use super::{Certificate, PrivateKey, PublicKeyAlgorithm, Signer, SubjectPublicKey};

const SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");
const ENVELOPED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.3");
const AES256_CBC: ObjectIdentifier = oid("2.16.840.1.101.3.4.1.42");

/// Bytes of an AES block.
const BLOCK: usize = 16;

const fn oid(dotted: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(dotted)
}

/// A source of random bytes, such as `&mut aws_lc_rs::rand::fill`.
pub type Fill<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<(), Unspecified>;

/// Who can open the message.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    /// RSA, or ECDSA, which then serves for ECDH.
    pub key: &'a SubjectPublicKey,
    /// How the recipient knows its key: the subject key identifier in its certificate.
    pub key_id: &'a [u8],
}

/// Who vouches for the key.
#[derive(Clone, Copy)]
pub struct Maker<'a> {
    /// The signing certificate first, then what leads to its root. All are put into the message.
    pub chain: &'a [Certificate],
    /// The key of the first.
    pub key: &'a Signer,
}

/// RFC 5652 §6.1.
#[derive(Sequence)]
struct EnvelopedData {
    version: u8,
    recipients: SetOfVec<Any>,
    content: EncryptedContentInfo,
}

/// Why there is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerKeyError {
    /// The recipient's key can only sign.
    #[error(
        "nothing can be encrypted for a key of the kind {algorithm}: enrol with an RSA or ECDSA key, or leave out the AsymmetricDecryptKeyIdentifier"
    )]
    Recipient {
        /// The kind of the recipient's key.
        algorithm: PublicKeyAlgorithm,
    },
    /// The signing key is not that of the first certificate.
    #[error(
        "the signing key does not belong to the signing certificate: give the pair that belongs together"
    )]
    Maker,
    /// No random numbers, or the cryptographic library failed.
    #[error(
        "encrypting the private key failed: try again, and look at the entropy of this machine if it stays so"
    )]
    Crypto,
    /// The key did not sign.
    #[error("signing the private key failed: check that the signing key can be reached")]
    Sign,
    /// Some part cannot be written as DER.
    #[error(
        "the message with the private key cannot be encoded: shorten the names in the signing certificate"
    )]
    Encode,
}

impl From<der::Error> for ServerKeyError {
    fn from(_: der::Error) -> Self {
        Self::Encode
    }
}

impl From<Unspecified> for ServerKeyError {
    fn from(_: Unspecified) -> Self {
        Self::Crypto
    }
}

/// The DER of a ContentInfo with EnvelopedData: `key`, signed by `maker`, encrypted for `recipient`.
///
/// RSA recipients get the content key by RSAES-OAEP with SHA-256 (RFC 3560), ECDSA ones by ephemeral-static ECDH with
/// dhSinglePass-stdDH-sha256kdf and the AES-256 key wrap (RFC 5753). The content is encrypted with AES-256-CBC, which every
/// CMS reader knows. Content key, IV and ephemeral key come from `fill`; RSA-OAEP draws its own seed.
///
/// # Errors
/// [`ServerKeyError::Recipient`] for Ed25519, which cannot decrypt; the others are faults on our side.
pub fn envelope(
    key: &PrivateKey,
    maker: Maker<'_>,
    recipient: Recipient<'_>,
    fill: Fill<'_>,
) -> Result<Vec<u8>, ServerKeyError> {
    recipient::check(recipient)?;
    let content = signed::signed_data(key, maker)?;
    let mut content_key = Zeroizing::new([0_u8; 32]);
    let mut iv = [0_u8; BLOCK];
    fill(&mut *content_key)?;
    fill(&mut iv)?;
    let encrypted = encrypt(&content, &content_key, iv)?;
    let recipient = recipient::wrap(&content_key, recipient, fill)?;
    let data = EnvelopedData {
        // RFC 5652 §6.1: 2, since the recipient is told by its key identifier.
        version: 2,
        recipients: SetOfVec::try_from(vec![recipient])?,
        content: EncryptedContentInfo {
            content_type: SIGNED_DATA,
            content_enc_alg: AlgorithmIdentifierOwned {
                oid: AES256_CBC,
                parameters: Some(Any::from_der(&OctetStringRef::new(&iv)?.to_der()?)?),
            },
            encrypted_content: Some(OctetString::new(encrypted)?),
        },
    };
    let info = ContentInfo {
        content_type: ENVELOPED_DATA,
        content: Any::encode_from(&data)?,
    };
    Ok(info.to_der()?)
}

fn encrypt(content: &[u8], key: &[u8; 32], iv: [u8; BLOCK]) -> Result<Vec<u8>, ServerKeyError> {
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, key)?)?;
    // With room for the padding: a buffer that grew would leave a copy of the private key behind.
    let mut text = Vec::with_capacity(content.len() + BLOCK);
    text.extend_from_slice(content);
    key.less_safe_encrypt(&mut text, EncryptionContext::Iv128(FixedLength::from(&iv)))?;
    Ok(text)
}

#[cfg(test)]
mod tests;
