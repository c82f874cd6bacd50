//! Private keys: generated here, read from PEM, written as PKCS#8, and never printed.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RsaKeyPair,
};
use rcgen::{KeyPair, PublicKeyData as _, RsaKeySize};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize as _, Zeroizing};

use super::public_key::{PublicKeyAlgorithm, PublicKeyError, SubjectPublicKey};
use super::{Signer, pem};

/// Longest PEM text of a key that we read, in bytes; RSA-8192 needs less than 7 KiB.
const MAX_PEM: usize = 32 * 1024;

/// The kinds of private keys we generate and sign with.
///
/// Written `ECDSA-P256`, `ECDSA-P384`, `RSA-2048`, `RSA-3072`, `RSA-4096` and `Ed25519`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum KeyAlgorithm {
    EcdsaP256,
    EcdsaP384,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    Ed25519,
}

/// A private key in memory. It is zeroized when dropped and has no way to be printed or serialized by accident.
pub struct PrivateKey {
    pair: KeyPair,
    public: SubjectPublicKey,
    algorithm: KeyAlgorithm,
}

/// Why there is no private key to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// Text that names no algorithm.
    #[error(
        "`{text}` is no key algorithm: use ECDSA-P256, ECDSA-P384, RSA-2048, RSA-3072, RSA-4096 or Ed25519"
    )]
    UnknownAlgorithm {
        /// What was written.
        text: String,
    },
    /// The cryptographic library could not make a key.
    #[error(
        "generating a {algorithm} key failed: try again, and look at the entropy of this machine if it stays so"
    )]
    Generate {
        /// The kind of key.
        algorithm: KeyAlgorithm,
    },
    /// No PEM private key.
    #[error("there is no PEM private key: give one that begins with `-----BEGIN PRIVATE KEY-----`")]
    NoPem,
    /// A key under a passphrase.
    #[error(
        "the private key is encrypted: decrypt it first with `openssl pkey -in KEY -out PLAIN`"
    )]
    Encrypted,
    /// A label other than PKCS#8.
    #[error("the private key is not PKCS#8: convert it with `openssl pkcs8 -topk8 -nocrypt`")]
    NotPkcs8,
    /// The bytes are no key, or one of an unknown kind.
    #[error(
        "the private key is damaged or of an unknown kind: use ECDSA-P256, ECDSA-P384, RSA-2048, RSA-3072, RSA-4096 or Ed25519"
    )]
    Unusable,
    /// The key is of a kind we do not sign with.
    #[error(
        "the private key is {algorithm}: use ECDSA-P256, ECDSA-P384, RSA-2048, RSA-3072, RSA-4096 or Ed25519"
    )]
    Unsupported {
        /// What it is.
        algorithm: PublicKeyAlgorithm,
    },
    /// Its public half is not acceptable.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
}

impl PrivateKey {
    /// Generates a key from the system's random numbers.
    ///
    /// This is the one place in `pki` that draws randomness. Only the shell calls it; pure code gets keys as arguments.
    ///
    /// # Errors
    /// [`PrivateKeyError::Generate`] if the cryptographic library fails.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, PrivateKeyError> {
        let failed = || PrivateKeyError::Generate { algorithm };
        let pair = match algorithm {
            KeyAlgorithm::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyAlgorithm::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyAlgorithm::Rsa2048 => {
                KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048)
            }
            KeyAlgorithm::Rsa3072 => {
                KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072)
            }
            KeyAlgorithm::Rsa4096 => {
                KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096)
            }
            KeyAlgorithm::Ed25519 => {
                // rcgen would write version 2; see `to_pkcs8`.
                let pair = Ed25519KeyPair::generate().map_err(|_| failed())?;
                let pkcs8 = ed25519_pkcs8(&pair).ok_or_else(failed)?;
                KeyPair::try_from(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()))
            }
        };
        Self::from_pair(pair.map_err(|_| failed())?)
    }

    /// Reads the first private key of a PEM text: PKCS#8, PKCS#1 (`RSA PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`).
    ///
    /// # Errors
    /// If there is none, or it is encrypted, damaged, or of another kind than [`KeyAlgorithm`].
    pub fn from_pem(text: &str) -> Result<Self, PrivateKeyError> {
        if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || text.contains("Proc-Type: 4,ENCRYPTED")
        {
            return Err(PrivateKeyError::Encrypted);
        }
        if text.len() > MAX_PEM {
            return Err(PrivateKeyError::NoPem);
        }
        let mut der =
            PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| PrivateKeyError::NoPem)?;
        let pkcs8 = to_pkcs8(&der);
        der.zeroize();
        let pair = KeyPair::try_from(&PrivatePkcs8KeyDer::from(pkcs8?.as_slice()));
        Self::from_pair(pair.map_err(|_| PrivateKeyError::Unusable)?)
    }

    /// Reads a PKCS#8 key, as [`to_pkcs8_pem`](Self::to_pkcs8_pem) writes it.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem), and [`PrivateKeyError::NotPkcs8`] for another label.
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, PrivateKeyError> {
        if text.contains("-----BEGIN RSA PRIVATE KEY-----")
            || text.contains("-----BEGIN EC PRIVATE KEY-----")
        {
            return Err(PrivateKeyError::NotPkcs8);
        }
        Self::from_pem(text)
    }

    /// The key as PKCS#8 PEM (RFC 5958, RFC 7468 §10).
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem::encode(pem::PRIVATE_KEY, self.pair.serialized_der()))
    }

    /// The key as PKCS#8 DER (RFC 5958).
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.pair.serialized_der().to_vec())
    }

    /// Kind and size.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The public half.
    pub fn public(&self) -> &SubjectPublicKey {
        &self.public
    }

    /// DER of the public half's SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> Vec<u8> {
        self.public.spki_der().to_vec()
    }

    /// The key as something that signs, the same as a key in an HSM would be.
    pub fn signer(&self) -> &Signer {
        &self.pair
    }

    fn from_pair(mut pair: KeyPair) -> Result<Self, PrivateKeyError> {
        match public_half(&pair) {
            Ok((public, algorithm)) => Ok(Self {
                pair,
                public,
                algorithm,
            }),
            Err(error) => {
                pair.zeroize();
                Err(error)
            }
        }
    }
}

fn public_half(pair: &KeyPair) -> Result<(SubjectPublicKey, KeyAlgorithm), PrivateKeyError> {
    let public = SubjectPublicKey::from_spki_der(&pair.subject_public_key_info())?;
    let algorithm = match public.algorithm() {
        PublicKeyAlgorithm::EcdsaP256 => KeyAlgorithm::EcdsaP256,
        PublicKeyAlgorithm::EcdsaP384 => KeyAlgorithm::EcdsaP384,
        PublicKeyAlgorithm::Rsa { bits: 2048 } => KeyAlgorithm::Rsa2048,
        PublicKeyAlgorithm::Rsa { bits: 3072 } => KeyAlgorithm::Rsa3072,
        PublicKeyAlgorithm::Rsa { bits: 4096 } => KeyAlgorithm::Rsa4096,
        PublicKeyAlgorithm::Ed25519 => KeyAlgorithm::Ed25519,
        algorithm => return Err(PrivateKeyError::Unsupported { algorithm }),
    };
    Ok((public, algorithm))
}

/// Converts what the label says into PKCS#8, so that everything after knows one format.
fn to_pkcs8(der: &PrivateKeyDer<'_>) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    match der {
        PrivateKeyDer::Pkcs8(key) => {
            match Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der()) {
                // Version 2 (RFC 5958) with the public key is legal, and OpenSSL 3.0 does not read it.
                Ok(pair) => ed25519_pkcs8(&pair).ok_or(PrivateKeyError::Unusable),
                Err(_) => Ok(Zeroizing::new(key.secret_pkcs8_der().to_vec())),
            }
        }
        PrivateKeyDer::Pkcs1(key) => {
            let pair = RsaKeyPair::from_der(key.secret_pkcs1_der())
                .map_err(|_| PrivateKeyError::Unusable)?;
            let pkcs8 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair);
            Ok(Zeroizing::new(
                pkcs8
                    .map_err(|_| PrivateKeyError::Unusable)?
                    .as_ref()
                    .to_vec(),
            ))
        }
        PrivateKeyDer::Sec1(key) => [
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            &ECDSA_P384_SHA384_ASN1_SIGNING,
        ]
        .into_iter()
        .find_map(|algorithm| {
            EcdsaKeyPair::from_private_key_der(algorithm, key.secret_sec1_der()).ok()
        })
        .and_then(|pair| pair.to_pkcs8v1().ok())
        .map(|pkcs8| Zeroizing::new(pkcs8.as_ref().to_vec()))
        .ok_or(PrivateKeyError::Unusable),
        _ => Err(PrivateKeyError::Unusable),
    }
}

fn ed25519_pkcs8(pair: &Ed25519KeyPair) -> Option<Zeroizing<Vec<u8>>> {
    pair.to_pkcs8v1()
        .ok()
        .map(|pkcs8| Zeroizing::new(pkcs8.as_ref().to_vec()))
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.algorithm)
    }
}

impl KeyAlgorithm {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::Ed25519,
    ];
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA-P256",
            Self::EcdsaP384 => "ECDSA-P384",
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa3072 => "RSA-3072",
            Self::Rsa4096 => "RSA-4096",
            Self::Ed25519 => "Ed25519",
        })
    }
}

impl FromStr for KeyAlgorithm {
    type Err = PrivateKeyError;

    fn from_str(text: &str) -> Result<Self, PrivateKeyError> {
        let found = Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.to_string() == text);
        found.ok_or_else(|| PrivateKeyError::UnknownAlgorithm {
            text: text.chars().take(40).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::fixtures;

    #[test]
    fn every_algorithm_survives_pem() {
        for algorithm in KeyAlgorithm::ALL {
            let key = PrivateKey::generate(algorithm).unwrap();
            let again = PrivateKey::from_pkcs8_pem(&key.to_pkcs8_pem()).unwrap();
            assert_eq!(again.algorithm(), algorithm);
            assert_eq!(again.spki_der(), key.spki_der());
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
    }

    #[test]
    fn debug_shows_the_algorithm_and_nothing_else() {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(ECDSA-P256)");
    }

    #[test]
    fn keys_of_openssl_in_every_format_become_pkcs8() {
        for (arguments, label, algorithm) in [
            (
                &["ecparam", "-name", "prime256v1", "-genkey"][..],
                "EC PRIVATE KEY",
                KeyAlgorithm::EcdsaP256,
            ),
            (
                &["ecparam", "-name", "secp384r1", "-genkey", "-noout"],
                "EC PRIVATE KEY",
                KeyAlgorithm::EcdsaP384,
            ),
            (
                &["genrsa", "-traditional", "2048"],
                "RSA PRIVATE KEY",
                KeyAlgorithm::Rsa2048,
            ),
            (
                &["genpkey", "-algorithm", "ED25519"],
                "PRIVATE KEY",
                KeyAlgorithm::Ed25519,
            ),
        ] {
            let pem = fixtures::openssl(arguments, b"");
            let pem = String::from_utf8(pem).unwrap();
            assert!(pem.contains(&format!("BEGIN {label}")), "{pem}");
            let key = PrivateKey::from_pem(&pem).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            let again = PrivateKey::from_pkcs8_pem(&key.to_pkcs8_pem()).unwrap();
            assert_eq!(again.spki_der(), key.spki_der());
            fixtures::openssl(&["pkey", "-check", "-noout"], key.to_pkcs8_pem().as_bytes());
        }
    }

    #[test]
    fn what_is_no_usable_key_is_refused_in_words() {
        let error = |pem: &str| PrivateKey::from_pem(pem).unwrap_err();
        assert_eq!(error(""), PrivateKeyError::NoPem);
        assert_eq!(
            error("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
            PrivateKeyError::Encrypted
        );
        assert_eq!(
            error("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            PrivateKeyError::Unusable
        );
        assert_eq!(
            PrivateKey::from_pkcs8_pem("-----BEGIN EC PRIVATE KEY-----\n").unwrap_err(),
            PrivateKeyError::NotPkcs8
        );
        let p521 = fixtures::openssl(
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-521",
            ],
            b"",
        );
        let algorithm = PublicKeyAlgorithm::EcdsaP521;
        assert_eq!(
            error(&String::from_utf8(p521).unwrap()),
            PrivateKeyError::Unsupported { algorithm }
        );
        assert!("RSA-1024".parse::<KeyAlgorithm>().is_err());
    }
}
