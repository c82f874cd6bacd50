//! Signatures in certificates and requests: which algorithms we believe, and the check itself.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::asn1_rs::{BitString, Tag};
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// Why a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// MD5 or SHA-1.
    #[error("the signature uses {algorithm}, which can be forged: sign with SHA-256 or better")]
    Weak {
        /// Its usual name.
        algorithm: &'static str,
    },
    /// An algorithm we do not know, or one that does not go with the key.
    #[error(
        "the signature algorithm {oid} is unknown or does not fit the key: sign with RSA or ECDSA and SHA-256, SHA-384 or SHA-512, or with Ed25519"
    )]
    Unsupported {
        /// Its OID.
        oid: String,
    },
    /// The signature is not by this key over this message.
    #[error(
        "the signature does not match: sign with the private key that belongs to the public key"
    )]
    Invalid,
}

/// Checks that the holder of `key` signed `message`.
pub(super) fn verify(
    key: &SubjectPublicKeyInfo<'_>,
    algorithm: &AlgorithmIdentifier<'_>,
    message: &[u8],
    signature: &BitString<'_>,
) -> Result<(), SignatureError> {
    let verifier = verifier(key, algorithm)?;
    if signature.unused_bits != 0 {
        return Err(SignatureError::Invalid);
    }
    UnparsedPublicKey::new(verifier, key.subject_public_key.data.as_ref())
        .verify(message, signature.data.as_ref())
        .map_err(|_| SignatureError::Invalid)
}

fn verifier(
    key: &SubjectPublicKeyInfo<'_>,
    algorithm: &AlgorithmIdentifier<'_>,
) -> Result<&'static dyn VerificationAlgorithm, SignatureError> {
    let oid = algorithm.algorithm.to_id_string();
    let weak = |algorithm| Err(SignatureError::Weak { algorithm });
    let verifier: &'static dyn VerificationAlgorithm = match (oid.as_str(), key_kind(key).as_str())
    {
        ("1.2.840.113549.1.1.4", _) => return weak("MD5 with RSA"),
        ("1.2.840.113549.1.1.5" | "1.3.14.3.2.29", _) => return weak("SHA-1 with RSA"),
        ("1.2.840.10045.4.1", _) => return weak("SHA-1 with ECDSA"),
        ("1.2.840.113549.1.1.11", RSA) => &signature::RSA_PKCS1_2048_8192_SHA256,
        ("1.2.840.113549.1.1.12", RSA) => &signature::RSA_PKCS1_2048_8192_SHA384,
        ("1.2.840.113549.1.1.13", RSA) => &signature::RSA_PKCS1_2048_8192_SHA512,
        ("1.2.840.113549.1.1.10", RSA) => match pss_hash(algorithm).as_deref() {
            Some("2.16.840.1.101.3.4.2.1") => &signature::RSA_PSS_2048_8192_SHA256,
            Some("2.16.840.1.101.3.4.2.2") => &signature::RSA_PSS_2048_8192_SHA384,
            Some("2.16.840.1.101.3.4.2.3") => &signature::RSA_PSS_2048_8192_SHA512,
            // RFC 4055 §3.1: without parameters it is SHA-1.
            Some("1.3.14.3.2.26") | None => return weak("SHA-1 with RSA-PSS"),
            Some(_) => return Err(SignatureError::Unsupported { oid }),
        },
        ("1.2.840.10045.4.3.2", P256) => &signature::ECDSA_P256_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", P256) => &signature::ECDSA_P256_SHA384_ASN1,
        ("1.2.840.10045.4.3.4", P256) => &signature::ECDSA_P256_SHA512_ASN1,
        ("1.2.840.10045.4.3.2", P384) => &signature::ECDSA_P384_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", P384) => &signature::ECDSA_P384_SHA384_ASN1,
        ("1.2.840.10045.4.3.4", P384) => &signature::ECDSA_P384_SHA512_ASN1,
        ("1.2.840.10045.4.3.2", P521) => &signature::ECDSA_P521_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", P521) => &signature::ECDSA_P521_SHA384_ASN1,
        ("1.2.840.10045.4.3.4", P521) => &signature::ECDSA_P521_SHA512_ASN1,
        (ED25519, ED25519) => &signature::ED25519,
        _ => return Err(SignatureError::Unsupported { oid }),
    };
    Ok(verifier)
}

const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const P521: &str = "1.3.132.0.35";

/// The OID of the curve for EC keys, else that of the algorithm.
fn key_kind(key: &SubjectPublicKeyInfo<'_>) -> String {
    let algorithm = key.algorithm.algorithm.to_id_string();
    if algorithm != EC {
        return algorithm;
    }
    let curve = key
        .algorithm
        .parameters
        .as_ref()
        .filter(|any| any.tag() == Tag::Oid);
    // No curve fits no signature.
    curve
        .and_then(|any| any.as_oid().ok())
        .map(|oid| oid.to_id_string())
        .unwrap_or_default()
}

fn pss_hash(algorithm: &AlgorithmIdentifier<'_>) -> Option<String> {
    let parameters = RsaSsaPssParams::try_from(algorithm.parameters.as_ref()?).ok()?;
    Some(parameters.hash_algorithm_oid().to_id_string())
}
