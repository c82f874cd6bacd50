//! Public keys that we certify, as their SubjectPublicKeyInfo.

use std::fmt;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use der::{Decode, Encode, Sequence};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::{Fingerprint, roca};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// Sizes of RSA keys that we accept, in bits. Smaller ones are broken; bigger ones cost the verifier too much.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;

/// A public key of a kind we accept: RSA from 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SubjectPublicKey {
    spki: Vec<u8>,
    /// Content of the BIT STRING.
    bits: Vec<u8>,
    algorithm: PublicKeyAlgorithm,
}

/// Kind and size of a public key. Written as in [`KeyAlgorithm`](super::KeyAlgorithm): `RSA-2048`, `ECDSA-P256`, `Ed25519`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum PublicKeyAlgorithm {
    Rsa {
        /// Size of the modulus.
        bits: u16,
    },
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
    Ed25519,
}

/// Why a public key is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Not a SubjectPublicKeyInfo in DER.
    #[error(
        "the public key is not valid DER (RFC 5280 §4.1.2.7): create the request again with another tool"
    )]
    Malformed,
    /// A kind of key we do not know.
    #[error(
        "the public key has the algorithm {oid}: use RSA, ECDSA on P-256, P-384 or P-521, or Ed25519"
    )]
    Algorithm {
        /// Its OID.
        oid: String,
    },
    /// A curve we do not know.
    #[error("the ECDSA key is not on P-256, P-384 or P-521: create a key on one of these")]
    Curve,
    /// The point is not on the curve, or compressed.
    #[error(
        "the {algorithm} public key is no uncompressed point of its curve (RFC 5480 §2.2): create a new key"
    )]
    Point {
        /// What it claims to be.
        algorithm: PublicKeyAlgorithm,
    },
    /// An RSA key that is too small.
    #[error("RSA key has {bits} bits: use at least 2048")]
    RsaTooSmall {
        /// Its size.
        bits: u32,
    },
    /// An RSA key that is too big.
    #[error("RSA key has {bits} bits: use at most 8192")]
    RsaTooBig {
        /// Its size.
        bits: u32,
    },
    /// An RSA exponent that is even, small or huge.
    #[error(
        "RSA key has an unsafe public exponent or modulus: create a key with the exponent 65537"
    )]
    RsaNumbers,
    /// An RSA key that a faulty chip made.
    #[error(
        "the RSA key can be factored: it was made by a chip with the flaw ROCA (CVE-2017-15361). Update the chip's firmware and make a new key, or make it outside of the chip"
    )]
    Roca,
}

/// RFC 8017 §A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

impl SubjectPublicKey {
    /// Reads a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) and checks the key.
    ///
    /// # Errors
    /// If it is not canonical DER, or the key is weak or of an unknown kind.
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, PublicKeyError> {
        let info =
            SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| PublicKeyError::Malformed)?;
        let bits = info
            .subject_public_key
            .as_bytes()
            .ok_or(PublicKeyError::Malformed)?;
        let parameters = info.algorithm.parameters;
        let algorithm = match info.algorithm.oid {
            RSA if parameters == Some(AnyRef::NULL) => rsa(bits)?,
            EC => ec(parameters, bits)?,
            ED25519 if parameters.is_none() && bits.len() == 32 => PublicKeyAlgorithm::Ed25519,
            RSA | ED25519 => return Err(PublicKeyError::Malformed),
            other => {
                return Err(PublicKeyError::Algorithm {
                    oid: other.to_string(),
                });
            }
        };
        ParsedPublicKey::new(algorithm.any_verifier(), bits).map_err(|_| match algorithm {
            PublicKeyAlgorithm::Rsa { .. } => PublicKeyError::RsaNumbers,
            _ => PublicKeyError::Point { algorithm },
        })?;
        // What we fingerprint and certify has exactly one encoding.
        if info.to_der().ok().as_deref() != Some(spki) {
            return Err(PublicKeyError::Malformed);
        }
        Ok(Self {
            spki: spki.to_vec(),
            bits: bits.to_vec(),
            algorithm,
        })
    }

    /// The DER of the SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Kind and size.
    pub fn algorithm(&self) -> PublicKeyAlgorithm {
        self.algorithm
    }

    /// The content of the BIT STRING; for ECDSA the uncompressed point.
    pub(super) fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.spki)
    }

    /// The key identifier for SKI and AKI: the leftmost 160 bits of SHA-256 of the BIT STRING (RFC 7093 §2, method 1).
    pub fn key_id(&self) -> [u8; 20] {
        let Fingerprint(digest) = Fingerprint::of(&self.bits);
        std::array::from_fn(|position| digest[position])
    }
}

impl PublicKeyAlgorithm {
    /// Any algorithm that takes such a key: enough to parse it.
    fn any_verifier(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Rsa { .. } => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::EcdsaP256 => &signature::ECDSA_P256_SHA256_ASN1,
            Self::EcdsaP384 => &signature::ECDSA_P384_SHA384_ASN1,
            Self::EcdsaP521 => &signature::ECDSA_P521_SHA512_ASN1,
            Self::Ed25519 => &signature::ED25519,
        }
    }
}

impl fmt::Display for PublicKeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA-{bits}"),
            Self::EcdsaP256 => f.write_str("ECDSA-P256"),
            Self::EcdsaP384 => f.write_str("ECDSA-P384"),
            Self::EcdsaP521 => f.write_str("ECDSA-P521"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

impl fmt::Debug for SubjectPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SubjectPublicKey({}, {})",
            self.algorithm,
            self.fingerprint()
        )
    }
}

fn rsa(bits: &[u8]) -> Result<PublicKeyAlgorithm, PublicKeyError> {
    let key = RsaPublicKey::from_der(bits).map_err(|_| PublicKeyError::Malformed)?;
    let modulus = key.modulus.as_bytes();
    // UintRef has no leading zeros, and at most 2²⁸ bytes.
    let size = modulus.len() as u32 * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros());
    if size < *RSA_BITS.start() {
        return Err(PublicKeyError::RsaTooSmall { bits: size });
    }
    if size > *RSA_BITS.end() {
        return Err(PublicKeyError::RsaTooBig { bits: size });
    }
    let exponent = key
        .exponent
        .as_bytes()
        .iter()
        .try_fold(0_u64, |sum, &byte| {
            // NIST SP 800-56B allows up to 256 bits; nobody uses more than 32.
            sum.checked_mul(256).map(|sum| sum | u64::from(byte))
        });
    let is_odd = |bytes: &[u8]| bytes.last().is_some_and(|byte| byte & 1 == 1);
    match exponent {
        Some(65_537..) if roca::is_vulnerable(modulus) => Err(PublicKeyError::Roca),
        Some(65_537..) if is_odd(key.exponent.as_bytes()) && is_odd(modulus) => {
            // At most 8192.
            Ok(PublicKeyAlgorithm::Rsa { bits: size as u16 })
        }
        _ => Err(PublicKeyError::RsaNumbers),
    }
}

fn ec(parameters: Option<AnyRef<'_>>, point: &[u8]) -> Result<PublicKeyAlgorithm, PublicKeyError> {
    let curve = parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    let (algorithm, length) = match curve {
        Some(P256) => (PublicKeyAlgorithm::EcdsaP256, 65),
        Some(P384) => (PublicKeyAlgorithm::EcdsaP384, 97),
        Some(P521) => (PublicKeyAlgorithm::EcdsaP521, 133),
        _ => return Err(PublicKeyError::Curve),
    };
    // RFC 5480 §2.2: 04 says uncompressed.
    if point.len() != length || point.first() != Some(&4) {
        return Err(PublicKeyError::Point { algorithm });
    }
    Ok(algorithm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::fixtures;
    use crate::pki::{KeyAlgorithm, PrivateKey};
    use proptest::prelude::*;

    #[test]
    fn every_algorithm_we_generate_is_accepted_and_named_alike() {
        for algorithm in KeyAlgorithm::ALL {
            let key = PrivateKey::generate(algorithm).unwrap();
            let public = SubjectPublicKey::from_spki_der(&key.spki_der()).unwrap();
            assert_eq!(public.algorithm().to_string(), algorithm.to_string());
            assert_eq!(public.fingerprint(), Fingerprint::of(&key.spki_der()));
        }
    }

    #[test]
    fn keys_made_by_openssl_are_accepted() {
        for (arguments, expected) in [
            (
                &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"][..],
                "ECDSA-P521",
            ),
            (
                &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2056"],
                "RSA-2056",
            ),
            (&["-algorithm", "ED25519"], "Ed25519"),
        ] {
            let spki = fixtures::openssl_spki(arguments);
            assert_eq!(
                SubjectPublicKey::from_spki_der(&spki)
                    .unwrap()
                    .algorithm()
                    .to_string(),
                expected
            );
        }
    }

    #[test]
    fn weak_and_unknown_keys_are_refused_in_words() {
        for (arguments, expected) in [
            (
                &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"][..],
                "RSA key has 1024 bits: use at least 2048",
            ),
            (
                &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_pubexp:3"],
                "RSA key has an unsafe public exponent or modulus: create a key with the exponent 65537",
            ),
            (
                &[
                    "-algorithm",
                    "EC",
                    "-pkeyopt",
                    "ec_paramgen_curve:secp256k1",
                ],
                "the ECDSA key is not on P-256, P-384 or P-521: create a key on one of these",
            ),
            (
                &["-algorithm", "X25519"],
                "the public key has the algorithm 1.3.101.110: use RSA, ECDSA on P-256, P-384 or P-521, or Ed25519",
            ),
        ] {
            let spki = fixtures::openssl_spki(arguments);
            assert_eq!(
                SubjectPublicKey::from_spki_der(&spki)
                    .unwrap_err()
                    .to_string(),
                expected
            );
        }
    }

    #[test]
    fn rsa_keys_have_a_smallest_and_a_biggest_size() {
        let modulus = |bits: usize| {
            let mut bytes = vec![0xff; bits.div_ceil(8)];
            bytes[0] >>= (8 - bits % 8) % 8;
            SubjectPublicKey::from_spki_der(&fixtures::rsa_spki(&bytes))
        };
        assert_eq!(
            modulus(2047),
            Err(PublicKeyError::RsaTooSmall { bits: 2047 })
        );
        assert!(modulus(2048).is_ok() && modulus(8192).is_ok());
        assert_eq!(modulus(8193), Err(PublicKeyError::RsaTooBig { bits: 8193 }));
        assert_eq!(
            modulus(65_536),
            Err(PublicKeyError::RsaTooBig { bits: 65_536 })
        );
    }

    #[test]
    fn curves_without_a_good_name_are_refused() {
        for curve in ["P-224", "brainpoolP256r1", "secp256k1", "P-192"] {
            let curve = format!("ec_paramgen_curve:{curve}");
            let spki = fixtures::openssl_spki(&["-algorithm", "EC", "-pkeyopt", &curve]);
            assert_eq!(
                SubjectPublicKey::from_spki_der(&spki),
                Err(PublicKeyError::Curve)
            );
        }
        let explicit = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let spelled_out = [&explicit[..], &["-pkeyopt", "ec_param_enc:explicit"]].concat();
        let spki = fixtures::openssl_spki(&spelled_out);
        assert_eq!(
            SubjectPublicKey::from_spki_der(&spki),
            Err(PublicKeyError::Curve)
        );
    }

    #[test]
    fn a_point_off_the_curve_is_refused() {
        let mut spki = PrivateKey::generate(KeyAlgorithm::EcdsaP256)
            .unwrap()
            .spki_der();
        *spki.last_mut().unwrap() ^= 1;
        let algorithm = PublicKeyAlgorithm::EcdsaP256;
        assert_eq!(
            SubjectPublicKey::from_spki_der(&spki),
            Err(PublicKeyError::Point { algorithm })
        );
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut spki = PrivateKey::generate(KeyAlgorithm::EcdsaP256)
            .unwrap()
            .spki_der();
        spki.push(0);
        assert_eq!(
            SubjectPublicKey::from_spki_der(&spki),
            Err(PublicKeyError::Malformed)
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = SubjectPublicKey::from_spki_der(&bytes);
        }
    }
}
