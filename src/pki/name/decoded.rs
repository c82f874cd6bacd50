//! Reading names from DER, ours and foreign ones.

use std::borrow::Cow;

use x509_parser::asn1_rs::{Any, Class, FromDer, Oid, Tag};

use super::attribute::Kind;
use crate::pki::characters::characters;

/// The content of the common name's OID, 2.5.4.3.
pub(super) const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// One attribute as found in DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DecodedAttribute<'a> {
    /// Content of the OID.
    pub oid: &'a [u8],
    /// DER of the whole value.
    pub der: &'a [u8],
    /// Universal tag number, or `None` for other classes and constructed values.
    tag: Option<u32>,
    content: &'a [u8],
}

pub(super) type DecodedRdn<'a> = Vec<DecodedAttribute<'a>>;

/// Reads an `RDNSequence`; `None` unless it is canonical but for the order inside a SET, which some issuers do not keep.
pub(super) fn decode(der: &[u8]) -> Option<Vec<DecodedRdn<'_>>> {
    let mut rdns = Vec::new();
    let mut sequence = only(der, Tag::Sequence)?;
    while !sequence.is_empty() {
        let (rdn, rest) = split(sequence)?;
        sequence = rest;
        let mut set = only(rdn.der, Tag::Set)?;
        let mut attributes = Vec::new();
        while !set.is_empty() {
            let (attribute, rest) = split(set)?;
            set = rest;
            attributes.push(decode_attribute(only(attribute.der, Tag::Sequence)?)?);
        }
        rdns.push(attributes);
    }
    Some(rdns)
}

fn decode_attribute(content: &[u8]) -> Option<DecodedAttribute<'_>> {
    let (oid, value) = split(content)?;
    let (value, rest) = split(value)?;
    let oid = only(oid.der, Tag::Oid)?;
    if !rest.is_empty() || !is_canonical_oid(oid) {
        return None;
    }
    let header = &value.any.header;
    Some(DecodedAttribute {
        oid,
        der: value.der,
        // X.690 §10.2: strings are primitive.
        tag: (header.class() == Class::Universal && !header.is_constructed())
            .then_some(header.tag().0),
        content: value.any.data,
    })
}

/// One value and its DER.
struct Split<'a> {
    any: Any<'a>,
    der: &'a [u8],
}

/// The first value and what follows it. The parser is lenient about lengths; what we carry into certificates must not be.
fn split(input: &[u8]) -> Option<(Split<'_>, &[u8])> {
    let (rest, any) = Any::from_der(input).ok()?;
    let (der, rest) = input.split_at_checked(input.len() - rest.len())?;
    // Beyond 127 bytes, the length has a byte of its own that says how many bytes it takes.
    let of_length = match any.data.len() {
        0..=0x7f => 1,
        long => 1 + (usize::BITS - long.leading_zeros()).div_ceil(8) as usize,
    };
    (der.len() == 1 + of_length + any.data.len()).then_some((Split { any, der }, rest))
}

/// The content of the only value.
fn only(der: &[u8], tag: Tag) -> Option<&[u8]> {
    let (value, rest) = split(der)?;
    let header = &value.any.header;
    let is_constructed = matches!(tag, Tag::Sequence | Tag::Set);
    let fits = header.class() == Class::Universal
        && header.tag() == tag
        && header.is_constructed() == is_constructed;
    (fits && rest.is_empty()).then_some(value.any.data)
}

impl DecodedAttribute<'_> {
    /// The dotted OID.
    pub fn dotted(&self) -> String {
        Oid::new(Cow::Borrowed(self.oid)).to_id_string()
    }

    /// The keyword, if the type has one.
    pub fn keyword(&self) -> Option<&'static str> {
        Kind::keyword_of(self.oid)
    }

    /// The characters of any ASN.1 string type; `None` for other types, broken encodings and values with a NUL.
    pub fn text(&self) -> Option<String> {
        characters(self.tag?, self.content)
    }

    /// Type and characters, or the DER where there are none: what [`Name::same_text`](super::Name::same_text) compares.
    pub fn readable(&self) -> ReadableAttribute<'_> {
        (self.oid, self.text().ok_or(self.der))
    }
}

/// The OID's content, and text or DER.
pub(super) type ReadableAttribute<'a> = (&'a [u8], Result<String, &'a [u8]>);

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
