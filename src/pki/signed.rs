//! The frame that certificates, requests and CRLs share: something, an algorithm, and a signature over the something.

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Sequence};
use x509_cert::spki::AlgorithmIdentifierRef;
use x509_parser::asn1_rs::BitString;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::signature::{self, SignatureError};

/// RFC 5280 §4.1.1, RFC 2986 §4.2.
#[derive(Sequence)]
pub(super) struct Signed<'a> {
    pub to_be_signed: AnyRef<'a>,
    pub algorithm: AlgorithmIdentifierRef<'a>,
    pub signature: BitStringRef<'a>,
}

/// Why a frame's signature could not be believed.
pub(super) enum Unsigned {
    /// A part of the frame, or the key, cannot be read.
    Malformed,
    /// The signature is wrong, or not accepted.
    Signature(SignatureError),
}

impl Signed<'_> {
    /// Checks that the holder of this key (SubjectPublicKeyInfo, DER) made the signature.
    pub fn verify(&self, key: &[u8]) -> Result<(), Unsigned> {
        let malformed = |_| Unsigned::Malformed;
        let message = self.to_be_signed.to_der().map_err(malformed)?;
        let algorithm = self.algorithm.to_der().map_err(malformed)?;
        let (Ok((_, key)), Ok((_, algorithm))) = (
            SubjectPublicKeyInfo::from_der(key),
            AlgorithmIdentifier::from_der(&algorithm),
        ) else {
            return Err(Unsigned::Malformed);
        };
        let bits = self.signature.as_bytes();
        let bits = bits.ok_or(Unsigned::Signature(SignatureError::Invalid))?;
        signature::verify(&key, &algorithm, &message, &BitString::new(0, bits))
            .map_err(Unsigned::Signature)
    }
}

/// True if the frame is canonical DER with nothing after it.
///
/// The signature does not cover the frame, and x509-parser reads it leniently: without this check anybody could change a
/// certificate's bytes, thus its fingerprint, and keep it valid.
pub(super) fn is_canonical(der: &[u8]) -> bool {
    Signed::from_der(der)
        .and_then(|signed| signed.to_der())
        .is_ok_and(|again| again == der)
}
