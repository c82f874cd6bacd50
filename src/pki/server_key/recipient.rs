//! The content key, encrypted for whoever may open the message.

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, UnparsedPublicKey};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap as _};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use cms::content_info::CmsVersion;
use cms::enveloped_data::{
    KeyTransRecipientInfo, OriginatorIdentifierOrKey, OriginatorPublicKey, RecipientIdentifier,
    RecipientKeyIdentifier,
};
use der::asn1::{Any, BitString, ContextSpecific, ObjectIdentifier, OctetString};
use der::{Decode, Encode, Sequence, TagMode, TagNumber};
use x509_cert::ext::pkix::SubjectKeyIdentifier;
use x509_cert::spki::AlgorithmIdentifierOwned;
use zeroize::Zeroizing;

use super::{Fill, Recipient, ServerKeyError, oid};
use crate::pki::PublicKeyAlgorithm;

const RSAES_OAEP: ObjectIdentifier = oid("1.2.840.113549.1.1.7");
const MGF1: ObjectIdentifier = oid("1.2.840.113549.1.1.8");
const SHA_256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
const EC: ObjectIdentifier = oid("1.2.840.10045.2.1");
/// dhSinglePass-stdDH-sha256kdf-scheme, RFC 5753 §7.1.4.
const ECDH_SHA256_KDF: ObjectIdentifier = oid("1.3.132.1.11.1");
const AES256_WRAP: ObjectIdentifier = oid("2.16.840.1.101.3.4.1.45");

/// How often an ephemeral key is drawn; a draw beyond the order of the curve is a matter of one in billions.
const DRAWS: usize = 8;

/// A curve, as three libraries call it.
struct Curve {
    agreement: &'static agreement::Algorithm,
    oid: ObjectIdentifier,
    /// Bytes of a private key, and the bits of its first byte.
    scalar: (usize, u8),
}

enum Method {
    Transport,
    Agreement(Curve),
}

/// RFC 4055 §4.1. The label is the default, empty one.
#[derive(Sequence)]
struct OaepParameters {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    hash: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT")]
    mask: AlgorithmIdentifierOwned,
}

/// KeyAgreeRecipientInfo, RFC 5652 §6.2.2. (That of the crate `cms` writes a primitive `[0]` for the recipient.)
#[derive(Sequence)]
struct KeyAgreement {
    version: u8,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    originator: OriginatorIdentifierOrKey,
    algorithm: AlgorithmIdentifierOwned,
    keys: Vec<EncryptedKey>,
}

#[derive(Sequence)]
struct EncryptedKey {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    recipient: RecipientKeyIdentifier,
    key: OctetString,
}

/// ECC-CMS-SharedInfo, RFC 5753 §7.2.
#[derive(Sequence)]
struct SharedInfo {
    key_info: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    bits: OctetString,
}

/// # Errors
/// [`ServerKeyError::Recipient`] if nothing can be encrypted for such a key.
pub(super) fn check(recipient: Recipient<'_>) -> Result<(), ServerKeyError> {
    method(recipient).map(|_| ())
}

/// The DER of a RecipientInfo.
pub(super) fn wrap(
    content_key: &[u8; 32],
    recipient: Recipient<'_>,
    fill: Fill<'_>,
) -> Result<Any, ServerKeyError> {
    match method(recipient)? {
        Method::Transport => transport(content_key, recipient),
        Method::Agreement(curve) => agree(content_key, recipient, &curve, fill),
    }
}

fn method(recipient: Recipient<'_>) -> Result<Method, ServerKeyError> {
    let curve = |agreement, dotted, scalar| {
        Ok(Method::Agreement(Curve {
            agreement,
            oid: oid(dotted),
            scalar,
        }))
    };
    match recipient.key.algorithm() {
        PublicKeyAlgorithm::Rsa { .. } => Ok(Method::Transport),
        PublicKeyAlgorithm::EcdsaP256 => curve(&ECDH_P256, "1.2.840.10045.3.1.7", (32, 0xff)),
        PublicKeyAlgorithm::EcdsaP384 => curve(&ECDH_P384, "1.3.132.0.34", (48, 0xff)),
        PublicKeyAlgorithm::EcdsaP521 => curve(&ECDH_P521, "1.3.132.0.35", (66, 0x01)),
        algorithm @ PublicKeyAlgorithm::Ed25519 => Err(ServerKeyError::Recipient { algorithm }),
    }
}

/// RFC 5652 §6.2.1, RFC 3560.
fn transport(content_key: &[u8; 32], recipient: Recipient<'_>) -> Result<Any, ServerKeyError> {
    let key = PublicEncryptingKey::from_der(recipient.key.spki_der())
        .map_err(|_| ServerKeyError::Crypto)?;
    let key = OaepPublicEncryptingKey::new(key)?;
    let mut encrypted = vec![0; key.ciphertext_size()];
    key.encrypt(&OAEP_SHA256_MGF1SHA256, content_key, &mut encrypted, None)?;
    let hash = AlgorithmIdentifierOwned {
        oid: SHA_256,
        parameters: Some(Any::null()),
    };
    let parameters = OaepParameters {
        mask: AlgorithmIdentifierOwned {
            oid: MGF1,
            parameters: Some(Any::encode_from(&hash)?),
        },
        hash,
    };
    Ok(Any::encode_from(&KeyTransRecipientInfo {
        version: CmsVersion::V2,
        rid: RecipientIdentifier::SubjectKeyIdentifier(key_id(recipient)?),
        key_enc_alg: AlgorithmIdentifierOwned {
            oid: RSAES_OAEP,
            parameters: Some(Any::encode_from(&parameters)?),
        },
        enc_key: OctetString::new(encrypted)?,
    })?)
}

/// RFC 5652 §6.2.2, RFC 5753 §3.1.
fn agree(
    content_key: &[u8; 32],
    recipient: Recipient<'_>,
    curve: &Curve,
    fill: Fill<'_>,
) -> Result<Any, ServerKeyError> {
    let key_wrap = AlgorithmIdentifierOwned {
        oid: AES256_WRAP,
        parameters: None,
    };
    let shared_info = SharedInfo {
        key_info: key_wrap.clone(),
        bits: OctetString::new(256_u32.to_be_bytes())?,
    }
    .to_der()?;
    let ephemeral = ephemeral(curve, fill)?;
    let peer = UnparsedPublicKey::new(curve.agreement, recipient.key.bits());
    let encrypted = agreement::agree(&ephemeral, peer, ServerKeyError::Crypto, |secret| {
        let wrapping_key = derive(secret, &shared_info);
        let mut encrypted = [0; 40];
        AesKek::new(&AES_256, &*wrapping_key)?.wrap(content_key, &mut encrypted)?;
        Ok(encrypted)
    })?;
    let public = ephemeral.compute_public_key()?;
    let originator = OriginatorPublicKey {
        algorithm: AlgorithmIdentifierOwned {
            oid: EC,
            parameters: Some(Any::encode_from(&curve.oid)?),
        },
        public_key: BitString::from_bytes(public.as_ref())?,
    };
    let encrypted_key = EncryptedKey {
        recipient: RecipientKeyIdentifier {
            subject_key_identifier: key_id(recipient)?,
            date: None,
            other: None,
        },
        key: OctetString::new(encrypted)?,
    };
    let info = ContextSpecific {
        tag_number: TagNumber::N1,
        tag_mode: TagMode::Implicit,
        value: KeyAgreement {
            version: 3,
            originator: OriginatorIdentifierOrKey::OriginatorKey(originator),
            algorithm: AlgorithmIdentifierOwned {
                oid: ECDH_SHA256_KDF,
                parameters: Some(Any::encode_from(&key_wrap)?),
            },
            keys: vec![encrypted_key],
        },
    };
    Ok(Any::from_der(&info.to_der()?)?)
}

fn ephemeral(curve: &Curve, fill: Fill<'_>) -> Result<agreement::PrivateKey, ServerKeyError> {
    let (length, first) = curve.scalar;
    let mut scalar = Zeroizing::new(vec![0; length]);
    for _ in 0..DRAWS {
        fill(&mut scalar)?;
        scalar[0] &= first;
        if let Ok(key) = agreement::PrivateKey::from_private_key(curve.agreement, &scalar) {
            return Ok(key);
        }
    }
    Err(ServerKeyError::Crypto)
}

/// The key derivation of ANSI X9.63 (SEC 1 §3.6.1), of which 32 bytes are the first round.
fn derive(secret: &[u8], shared_info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut round = Context::new(&SHA256);
    for part in [secret, &1_u32.to_be_bytes(), shared_info] {
        round.update(part);
    }
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(round.finish().as_ref());
    key
}

fn key_id(recipient: Recipient<'_>) -> der::Result<SubjectKeyIdentifier> {
    Ok(SubjectKeyIdentifier(OctetString::new(recipient.key_id)?))
}
