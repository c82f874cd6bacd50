//! X.509: what certificates say, how they are read, and how they are made.
//!
//! Everything here is pure: time, serial numbers and fresh keys come in as arguments. (A few things draw randomness because
//! they cannot be had otherwise: [`PrivateKey::generate`], called by the shell, and the insides of an ECDSA signature and of RSA
//! encryption.)
//!
//! | Read this | for |
//! |---|---|
//! | [`name`] | distinguished names: RFC 4514 and OpenSSL text, DER, templates |
//! | [`san`] | subject alternative names |
//! | [`lifespan`], [`validity`] | how long a certificate lasts and when it is due for renewal |
//! | [`key`], [`public_key`], [`fingerprint`] | keys, the algorithms we accept, and what identifies a key |
//! | [`signature`] | which signature algorithms we believe, and checking them |
//! | [`csr`] | a certification request that proved possession of its key |
//! | [`serial`], [`certificate`], [`chain`] | reading certificates and finding their issuers |
//! | [`profile`], [`mod@assemble`] | what a certificate is to say, and signing it |
//! | [`csr_attributes`] | telling a client beforehand what its request should say |
//! | [`cms`] | the certs-only message in which EST carries certificates |
//! | [`server_key`] | a private key that the server made, signed and encrypted for its device |

pub mod assemble;
pub mod certificate;
pub mod chain;
mod characters;
pub mod cms;
pub mod csr;
pub mod csr_attributes;
mod dotted;
pub mod fingerprint;
mod hex;
pub mod key;
pub mod lifespan;
pub mod name;
mod pem;
pub mod profile;
pub mod public_key;
mod roca;
pub mod san;
pub mod serial;
pub mod server_key;
pub mod signature;
mod signed;
mod twin;
pub mod validity;

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod fixtures;

pub use assemble::{AssembleError, CertificateTemplate, Issuer, Role, Signer, assemble};
pub use certificate::{Certificate, CertificateError, parse_pem_chain, pem_chain};
pub use chain::{ChainError, path_to_root};
pub use cms::{CmsError, certs_only, parse_certs_only};
pub use csr::{ChangeSubjectName, Csr, CsrError, DecryptKey};
pub use fingerprint::Fingerprint;
pub use key::{KeyAlgorithm, PrivateKey, PrivateKeyError};
pub use lifespan::{Lifespan, LifespanError};
pub use name::{Name, NameError, NameTemplate};
pub use profile::{ExtendedKeyUsage, KeyUsage, UsageError};
pub use public_key::{PublicKeyAlgorithm, PublicKeyError, SubjectPublicKey};
pub use san::{SanError, SubjectAltNames};
pub use serial::{Serial, SerialError};
pub use signature::SignatureError;
pub use validity::{Clipped, Threshold, ThresholdError, Validity, ValidityError};
