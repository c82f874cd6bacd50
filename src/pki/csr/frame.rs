//! The frame of a request: who asks, with which key, and the proof that they have it.
//!
//! Read here and not by x509-parser, which gives up on a whole request for one attribute that it does not expect.

use der::asn1::AnyRef;
use der::{Reader, SliceReader, Tag, TagNumber, Tagged};
use x509_parser::asn1_rs::Oid;
use x509_parser::prelude::FromDer;

use super::CsrError;
use crate::pki::signed::{self, Signed, Unsigned};
use crate::pki::{Name, SubjectPublicKey};

/// RFC 2986 §4.1, verified.
pub(super) struct Frame<'a> {
    pub subject: Name,
    pub key: SubjectPublicKey,
    pub attributes: Vec<Attribute<'a>>,
}

/// One attribute.
pub(super) struct Attribute<'a> {
    /// Dotted.
    pub oid: String,
    /// The SET OF its values, of which there should be one.
    pub values: AnyRef<'a>,
}

pub(super) fn read(der: &[u8]) -> Result<Frame<'_>, CsrError> {
    let mut reader = SliceReader::new(der).map_err(|_| CsrError::Malformed)?;
    let signed: Signed<'_> = reader.decode().map_err(|_| CsrError::Malformed)?;
    if !reader.is_finished() {
        let length = u32::from(reader.remaining_len()) as usize;
        return Err(CsrError::TrailingData { length });
    }
    if !signed::is_canonical(der) {
        return Err(CsrError::Malformed);
    }
    let info = Info::read(signed.to_be_signed).map_err(|_| CsrError::Malformed)?;
    let key = SubjectPublicKey::from_spki_der(info.key)?;
    signed.verify(info.key).map_err(|error| match error {
        Unsigned::Malformed => CsrError::Malformed,
        Unsigned::Signature(error) => error.into(),
    })?;
    Ok(Frame {
        subject: Name::from_der(info.subject).map_err(CsrError::Subject)?,
        key,
        attributes: info
            .attributes
            .into_iter()
            .map(|attribute| Attribute::read(attribute).ok_or(CsrError::Malformed))
            .collect::<Result<_, _>>()?,
    })
}

struct Info<'a> {
    subject: &'a [u8],
    key: &'a [u8],
    attributes: Vec<AnyRef<'a>>,
}

impl<'a> Info<'a> {
    fn read(info: AnyRef<'a>) -> der::Result<Self> {
        info.tag().assert_eq(Tag::Sequence)?;
        let mut reader = SliceReader::new(info.value())?;
        // There is only one version, 0, and some clients write another number.
        reader
            .decode::<AnyRef<'_>>()?
            .tag()
            .assert_eq(Tag::Integer)?;
        let (subject, key) = (reader.tlv_bytes()?, reader.tlv_bytes()?);
        // Some clients leave out the empty set of attributes.
        let mut attributes = Vec::new();
        if !reader.is_finished() {
            let set: AnyRef<'a> = reader.decode()?;
            set.tag().assert_eq(Tag::ContextSpecific {
                constructed: true,
                number: TagNumber::N0,
            })?;
            attributes = members(set)?;
        }
        reader.finish(Self {
            subject,
            key,
            attributes,
        })
    }
}

impl<'a> Attribute<'a> {
    fn read(attribute: AnyRef<'a>) -> Option<Self> {
        attribute.tag().assert_eq(Tag::Sequence).ok()?;
        let mut reader = SliceReader::new(attribute.value()).ok()?;
        let (_, oid) = Oid::from_der(reader.tlv_bytes().ok()?).ok()?;
        let values: AnyRef<'a> = reader.decode().ok()?;
        values.tag().assert_eq(Tag::Set).ok()?;
        reader
            .finish(Self {
                oid: oid.to_id_string(),
                values,
            })
            .ok()
    }
}

/// What is inside a constructed value.
pub(super) fn members(of: AnyRef<'_>) -> der::Result<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(of.value())?;
    let mut members = Vec::new();
    while !reader.is_finished() {
        members.push(reader.decode()?);
    }
    Ok(members)
}
