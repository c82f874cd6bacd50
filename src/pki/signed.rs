//! The frame that certificates, requests and CRLs share: something, an algorithm, and a signature over the something.

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Sequence};
use x509_cert::spki::AlgorithmIdentifierRef;

/// RFC 5280 §4.1.1, RFC 2986 §4.2.
#[derive(Sequence)]
pub(super) struct Signed<'a> {
    pub to_be_signed: AnyRef<'a>,
    pub algorithm: AlgorithmIdentifierRef<'a>,
    pub signature: BitStringRef<'a>,
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
