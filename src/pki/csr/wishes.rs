//! What a request asks for: its attributes and the extensions in them. Attributes that mean nothing to us are ignored.

use der::asn1::AnyRef;
use der::{Encode, Tag, Tagged};
use x509_parser::asn1_rs::Oid;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;

use super::frame::{Attribute, members};
use super::{ChangeSubjectName, CsrError, DecryptKey};
use crate::pki::characters::characters;
use crate::pki::{Name, SubjectAltNames};

/// RFC 2985 §5.4.1.
const CHALLENGE_PASSWORD: &str = "1.2.840.113549.1.9.7";
/// RFC 2985 §5.4.2.
const EXTENSION_REQUEST: &str = "1.2.840.113549.1.9.14";
/// RFC 8551 §2.5.2.
const SMIME_CAPABILITIES: &str = "1.2.840.113549.1.9.15";
/// RFC 4108 §2.2.5, as RFC 7030 §4.4.1.1 uses it.
const DECRYPT_KEY_ID: &str = "1.2.840.113549.1.9.16.2.37";
/// RFC 7030 §4.4.1.2.
const ASYMMETRIC_DECRYPT_KEY_ID: &str = "1.2.840.113549.1.9.16.2.54";
/// RFC 6402 §2.8.
const CHANGE_SUBJECT_NAME: &str = "1.3.6.1.5.5.7.7.36";

const SUBJECT_ALT_NAME: &str = "2.5.29.17";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub sans: SubjectAltNames,
    pub role: Wanted,
    pub challenge_password: Option<String>,
    pub decrypt_key: Option<DecryptKey>,
    pub smime_capabilities: Vec<String>,
    pub change_subject_name: Option<ChangeSubjectName>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    #[default]
    Leaf,
    Authority {
        path_length: Option<u8>,
    },
}

impl Wishes {
    pub fn read(attributes: &[Attribute<'_>]) -> Result<Self, CsrError> {
        let mut wishes = Self::default();
        for (position, attribute) in attributes.iter().enumerate() {
            wishes.add(attribute, &attributes[..position])?;
        }
        Ok(wishes)
    }

    fn add(
        &mut self,
        attribute: &Attribute<'_>,
        earlier: &[Attribute<'_>],
    ) -> Result<(), CsrError> {
        let oid = attribute.oid.as_str();
        let malformed = || CsrError::Attribute {
            oid: oid.to_owned(),
        };
        let value = || match members(attribute.values).map_err(|_| malformed())?[..] {
            [only] if earlier.iter().all(|other| other.oid != oid) => Ok(only),
            _ => Err(CsrError::RepeatedAttribute {
                oid: oid.to_owned(),
            }),
        };
        match oid {
            CHALLENGE_PASSWORD => {
                let text = text(value()?).ok_or_else(malformed)?;
                // A configuration file that leaves it empty means none.
                self.challenge_password = Some(text).filter(|text| !text.is_empty());
            }
            EXTENSION_REQUEST => self.add_extensions(value()?)?,
            SMIME_CAPABILITIES => {
                self.smime_capabilities = capabilities(value()?).ok_or_else(malformed)?
            }
            DECRYPT_KEY_ID => {
                let id = octets(value()?).ok_or_else(malformed)?;
                self.set_decrypt_key(DecryptKey::Symmetric(id))?;
            }
            ASYMMETRIC_DECRYPT_KEY_ID => {
                let id = octets(value()?).ok_or_else(malformed)?;
                self.set_decrypt_key(DecryptKey::Asymmetric(id))?;
            }
            CHANGE_SUBJECT_NAME => self.change_subject_name = Some(change(value()?, malformed)?),
            _ => {}
        }
        Ok(())
    }

    fn set_decrypt_key(&mut self, key: DecryptKey) -> Result<(), CsrError> {
        match self.decrypt_key.replace(key) {
            None => Ok(()),
            Some(_) => Err(CsrError::TwoDecryptKeys),
        }
    }

    fn add_extensions(&mut self, list: AnyRef<'_>) -> Result<(), CsrError> {
        let malformed = || CsrError::Attribute {
            oid: EXTENSION_REQUEST.to_owned(),
        };
        list.tag()
            .assert_eq(Tag::Sequence)
            .map_err(|_| malformed())?;
        let mut seen = Vec::new();
        for member in members(list).map_err(|_| malformed())? {
            let der = member.to_der().map_err(|_| malformed())?;
            let (_, extension) = X509Extension::from_der(&der).map_err(|_| malformed())?;
            let oid = extension.oid.to_id_string();
            // libest copies the whole old certificate; what we do not act upon may be there as often as it likes.
            if [SUBJECT_ALT_NAME, BASIC_CONSTRAINTS].contains(&oid.as_str()) {
                if seen.contains(&oid) {
                    return Err(CsrError::RepeatedExtension { oid });
                }
                self.add_extension(&oid, &extension)?;
                seen.push(oid);
            }
        }
        Ok(())
    }

    fn add_extension(&mut self, oid: &str, extension: &X509Extension<'_>) -> Result<(), CsrError> {
        if oid == SUBJECT_ALT_NAME {
            self.sans = SubjectAltNames::decode(extension.value)?;
            return Ok(());
        }
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                let path_length = constraints
                    .path_len_constraint
                    .map(|length| u8::try_from(length).unwrap_or(u8::MAX));
                self.role = Wanted::Authority { path_length };
            }
            ParsedExtension::BasicConstraints(_) => {}
            _ => {
                return Err(CsrError::Extension {
                    oid: oid.to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn text(value: AnyRef<'_>) -> Option<String> {
    let tag = match value.tag() {
        Tag::Utf8String => 12,
        Tag::NumericString => 18,
        Tag::PrintableString => 19,
        Tag::TeletexString => 20,
        Tag::Ia5String => 22,
        Tag::VisibleString => 26,
        Tag::BmpString => 30,
        _ => return None,
    };
    characters(tag, value.value())
}

fn octets(value: AnyRef<'_>) -> Option<Vec<u8>> {
    value.tag().assert_eq(Tag::OctetString).ok()?;
    Some(value.value().to_vec())
}

/// `SEQUENCE OF SEQUENCE { OID, parameters }`.
fn capabilities(value: AnyRef<'_>) -> Option<Vec<String>> {
    value.tag().assert_eq(Tag::Sequence).ok()?;
    let mut oids = Vec::new();
    for capability in members(value).ok()? {
        capability.tag().assert_eq(Tag::Sequence).ok()?;
        let first = members(capability).ok()?.first()?.to_der().ok()?;
        oids.push(Oid::from_der(&first).ok()?.1.to_id_string());
    }
    Some(oids)
}

/// `SEQUENCE { Name OPTIONAL, GeneralNames OPTIONAL }`: both are SEQUENCEs, of SETs and of tagged names.
fn change(
    value: AnyRef<'_>,
    malformed: impl Fn() -> CsrError,
) -> Result<ChangeSubjectName, CsrError> {
    value
        .tag()
        .assert_eq(Tag::Sequence)
        .map_err(|_| malformed())?;
    let parts = members(value).map_err(|_| malformed())?;
    let is_name = |part: &AnyRef<'_>| {
        part.tag() == Tag::Sequence
            && members(*part).is_ok_and(|of| of.iter().all(|rdn| rdn.tag() == Tag::Set))
    };
    let (name, sans) = match parts.as_slice() {
        [name, sans] if is_name(name) => (Some(name), Some(sans)),
        [name] if is_name(name) => (Some(name), None),
        [sans] => (None, Some(sans)),
        _ => return Err(malformed()),
    };
    let der = |part: &AnyRef<'_>| part.to_der().map_err(|_| malformed());
    let subject = name.map(|name| Name::from_der(&der(name)?).map_err(CsrError::Subject));
    let sans = sans.map(|sans| Ok::<_, CsrError>(SubjectAltNames::decode(&der(sans)?)?));
    Ok(ChangeSubjectName {
        subject: subject.transpose()?,
        sans: sans.transpose()?.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
