//! Reading names from DER, ours and foreign ones.

use der::Tag;
use x509_parser::asn1_rs::{Class, FromDer, ToDer};
use x509_parser::x509::X509Name;

use super::attribute::{Kind, tlv};
use crate::pki::characters::characters;

/// Dotted OID of the common name.
pub(super) const COMMON_NAME: &str = "2.5.4.3";

/// One attribute as found in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DecodedAttribute {
    /// Dotted OID.
    pub oid: String,
    /// DER of the whole value.
    pub der: Vec<u8>,
    /// Universal tag number, or `None` for other classes and constructed values.
    tag: Option<u32>,
    content: Vec<u8>,
}

pub(super) type DecodedRdn = Vec<DecodedAttribute>;

/// Reads an `RDNSequence`; `None` unless it is canonical but for the order inside a SET, which some issuers do not keep.
pub(super) fn decode(der: &[u8]) -> Option<Vec<DecodedRdn>> {
    let (rest, name) = X509Name::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let mut rdns = Vec::new();
    let mut again = Vec::new();
    for rdn in name.iter_rdn() {
        let mut decoded = Vec::new();
        let mut set = Vec::new();
        for attribute in rdn.iter() {
            let value = attribute.attr_value();
            if !is_canonical_oid(attribute.attr_type().as_bytes()) {
                return None;
            }
            let value_der = value.to_der_vec().ok()?;
            let mut member = attribute.attr_type().to_der_vec().ok()?;
            member.extend(&value_der);
            set.extend(tlv(Tag::Sequence, &member).ok()?);
            decoded.push(DecodedAttribute {
                oid: attribute.attr_type().to_id_string(),
                der: value_der,
                // X.690 §10.2: strings are primitive.
                tag: (value.class() == Class::Universal && !value.header.is_constructed())
                    .then_some(value.tag().0),
                content: value.data.to_vec(),
            });
        }
        again.extend(tlv(Tag::Set, &set).ok()?);
        rdns.push(decoded);
    }
    // The parser is lenient about lengths and leftovers; what we carry into certificates must not be.
    (tlv(Tag::Sequence, &again).ok()? == der).then_some(rdns)
}

impl DecodedAttribute {
    /// The keyword, if the type has one.
    pub fn keyword(&self) -> Option<&'static str> {
        Kind::keyword_of(&self.oid)
    }

    /// The characters of any ASN.1 string type; `None` for other types, broken encodings and values with a NUL.
    pub fn text(&self) -> Option<String> {
        characters(self.tag?, &self.content)
    }

    /// Type and characters, or the DER where there are none: what [`Name::same_text`](super::Name::same_text) compares.
    pub fn into_readable(self) -> ReadableAttribute {
        let value = self.text().ok_or(self.der);
        (self.oid, value)
    }
}

/// Dotted OID, and text or DER.
pub(super) type ReadableAttribute = (String, Result<String, Vec<u8>>);

/// X.690 §8.19.2: no padding in front of an arc, and the last arc ends. Otherwise some programs would see a common name where
/// others see none.
fn is_canonical_oid(content: &[u8]) -> bool {
    let mut at_start = true;
    for byte in content {
        if at_start && *byte == 0x80 {
            return false;
        }
        at_start = byte & 0x80 == 0;
    }
    at_start && !content.is_empty()
}
