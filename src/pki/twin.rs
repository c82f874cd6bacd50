//! The twin of a certificate with an ECDSA signature.
//!
//! Whoever has the signature (r, s) can write (r, n − s) instead, which is as good (SEC 1 §4.1.4), for n is the order of the
//! curve. So anybody can give such a certificate another fingerprint and keep it valid.

use der::asn1::{BitStringRef, UintRef};
use der::{Decode, Encode, Sequence};

use super::hex;
use super::signed::Signed;

/// The orders of P-256, P-384 and P-521 (SEC 2 §2), shortest first.
const ORDERS: [&str; 3] = [
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
];

/// RFC 3279 §2.2.3.
#[derive(Sequence)]
struct Signature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// The DER of the twin; `None` if the signature is not one of ECDSA.
pub(super) fn of(certificate: &[u8]) -> Option<Vec<u8>> {
    let signed = Signed::from_der(certificate).ok()?;
    let signature = Signature::from_der(signed.signature.as_bytes()?).ok()?;
    let (r, s) = (signature.r.as_bytes(), signature.s.as_bytes());
    let order = ORDERS
        .iter()
        .filter_map(|order| hex::read(order))
        .find(|order| r.len().max(s.len()) <= order.len())?;
    let other = difference(&order, s)?;
    let twin = Signature {
        r: UintRef::new(r).ok()?,
        s: UintRef::new(&other).ok()?,
    };
    let twin = twin.to_der().ok()?;
    let twin = Signed {
        to_be_signed: signed.to_be_signed,
        algorithm: signed.algorithm,
        signature: BitStringRef::from_bytes(&twin).ok()?,
    };
    twin.to_der().ok()
}

/// `from` less `less`, big-endian; `None` if that is below zero.
fn difference(from: &[u8], less: &[u8]) -> Option<Vec<u8>> {
    let padding = from.len().checked_sub(less.len())?;
    let mut result = from.to_vec();
    let mut borrow = false;
    for (place, digit) in result.iter_mut().enumerate().rev() {
        let taken = place.checked_sub(padding).map_or(0, |at| less[at]);
        let (one, first) = digit.overflowing_sub(taken);
        let (two, second) = one.overflowing_sub(u8::from(borrow));
        *digit = two;
        borrow = first || second;
    }
    (!borrow).then_some(result)
}

#[cfg(test)]
mod tests {
    use crate::pki::{KeyAlgorithm, fixtures::Ca};

    #[test]
    fn the_twin_of_an_ecdsa_certificate_is_as_good_and_leads_back() {
        for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384] {
            let ca = Ca::root_with("CN=Root", algorithm);
            for _ in 0..20 {
                let leaf = ca.leaf("CN=dev1");
                let twin = leaf.twin().unwrap();
                assert!(twin.is_signed_by(&ca.certificate));
                assert_ne!(twin.fingerprint(), leaf.fingerprint());
                assert_eq!(twin.content_digest(), leaf.content_digest());
                assert_eq!(twin.twin(), Some(leaf));
            }
        }
    }

    #[test]
    fn other_signatures_have_none() {
        for algorithm in [KeyAlgorithm::Rsa2048, KeyAlgorithm::Ed25519] {
            assert_eq!(Ca::root_with("CN=Root", algorithm).certificate.twin(), None);
        }
    }
}
