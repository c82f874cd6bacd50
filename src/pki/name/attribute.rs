//! Attribute types of a name, and writing their values as DER.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Encode, Tag};
use x509_parser::asn1_rs::{Any, FromDer, ToDer};

use super::NameError;

/// One attribute of an RDN, on its way from text to DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    pub kind: Kind,
    pub value: Value,
}

/// What a text wrote after the `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// The DER of the value.
    Hex(Vec<u8>),
}

/// An attribute type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Known(&'static KnownType),
    Other(ObjectIdentifier),
}

/// An attribute type with a keyword.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KnownType {
    /// The first is the one we write.
    keywords: &'static [&'static str],
    oid: ObjectIdentifier,
    syntax: Syntax,
    /// Upper bound in characters (RFC 5280 Appendix A.1, X.520 Annex C).
    longest: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Utf8,
    Printable,
    Ia5,
}

impl Kind {
    /// Finds a keyword (any case) or dotted OID.
    pub fn find(keyword: &str) -> Result<Self, NameError> {
        let known = |known: &&KnownType| {
            known
                .keywords
                .iter()
                .any(|k| k.eq_ignore_ascii_case(keyword))
        };
        if let Some(known) = KNOWN.iter().find(known) {
            return Ok(Self::Known(known));
        }
        let oid =
            crate::pki::dotted::parse(keyword).ok_or_else(|| NameError::UnknownAttribute {
                keyword: keyword.to_owned(),
            })?;
        Ok(KNOWN
            .iter()
            .find(|known| known.oid == oid)
            .map_or(Self::Other(oid), Self::Known))
    }

    fn oid(&self) -> ObjectIdentifier {
        match self {
            Self::Known(known) => known.oid,
            Self::Other(oid) => *oid,
        }
    }

    /// The keyword of an OID (its content in DER), if it has one.
    pub fn keyword_of(oid: &[u8]) -> Option<&'static str> {
        let known = KNOWN.iter().find(|known| known.oid.as_bytes() == oid);
        known.map(|known| known.keywords[0])
    }

    /// Keyword, or dotted OID where there is none.
    pub fn label(&self) -> String {
        match self {
            Self::Known(known) => known.keywords[0].to_owned(),
            Self::Other(oid) => oid.to_string(),
        }
    }
}

/// The DER of an `RDNSequence`; RDNs in the given order, the members of a multi-valued RDN in the order of DER.
pub(super) fn encode(rdns: &[Vec<Attribute>]) -> Result<Vec<u8>, NameError> {
    let mut sequence = Vec::new();
    for rdn in rdns {
        let mut members = Vec::with_capacity(rdn.len());
        for (position, attribute) in rdn.iter().enumerate() {
            let oid = attribute.kind.oid();
            if rdn[..position]
                .iter()
                .any(|earlier| earlier.kind.oid() == oid)
            {
                return Err(NameError::Repeated {
                    attribute: attribute.kind.label(),
                });
            }
            let mut member = oid.to_der().map_err(|_| NameError::TooLong)?;
            member.extend(encode_value(attribute)?);
            members.push(tlv(Tag::Sequence, &member)?);
        }
        // X.690 §11.6: the members of a SET OF stand in ascending order of their encodings.
        members.sort();
        sequence.extend(tlv(Tag::Set, &members.concat())?);
    }
    tlv(Tag::Sequence, &sequence)
}

fn encode_value(attribute: &Attribute) -> Result<Vec<u8>, NameError> {
    match (&attribute.kind, &attribute.value) {
        (Kind::Known(known), Value::Text(text)) => known.encode(text),
        (Kind::Known(known), Value::Hex(der)) => known.check_hex(der),
        (Kind::Other(oid), Value::Text(text)) => {
            refuse_control_characters(&oid.to_string(), text)?;
            tlv(Tag::Utf8String, text.as_bytes())
        }
        (Kind::Other(oid), Value::Hex(der)) => match Any::from_der(der) {
            Ok((rest, any))
                if rest.is_empty() && any.to_der_vec().is_ok_and(|again| again == *der) =>
            {
                Ok(der.clone())
            }
            _ => Err(NameError::Hex {
                attribute: oid.to_string(),
            }),
        },
    }
}

impl KnownType {
    fn encode(&self, text: &str) -> Result<Vec<u8>, NameError> {
        let attribute = || self.keywords[0].to_owned();
        if text.is_empty() {
            return Err(NameError::Empty {
                attribute: attribute(),
            });
        }
        let length = text.chars().count();
        if length > self.longest && self.keywords[0] != "C" {
            return Err(NameError::TooManyCharacters {
                attribute: attribute(),
                length,
                longest: self.longest,
            });
        }
        if self.keywords[0] == "C"
            && (text.len() != 2 || !text.bytes().all(|byte| byte.is_ascii_alphabetic()))
        {
            return Err(NameError::Country {
                value: text.to_owned(),
            });
        }
        refuse_control_characters(self.keywords[0], text)?;
        if let Some(character) = text.chars().find(|&c| !self.syntax.allows(c)) {
            return Err(NameError::Character {
                attribute: attribute(),
                character,
                allowed: self.syntax.alphabet(),
            });
        }
        tlv(self.syntax.tag(), text.as_bytes())
    }

    /// A known attribute has one encoding: its text form. Hex is accepted where it says the same.
    fn check_hex(&self, der: &[u8]) -> Result<Vec<u8>, NameError> {
        let attribute = || self.keywords[0].to_owned();
        let (_, any) = Any::from_der(der).map_err(|_| NameError::Hex {
            attribute: attribute(),
        })?;
        let text = std::str::from_utf8(any.data).map_err(|_| NameError::Hex {
            attribute: attribute(),
        })?;
        let expected = self.encode(text)?;
        if expected != der {
            return Err(NameError::HexType {
                attribute: attribute(),
                expected: self.syntax.type_name(),
            });
        }
        Ok(expected)
    }
}

impl Syntax {
    fn tag(self) -> Tag {
        match self {
            Self::Utf8 => Tag::Utf8String,
            Self::Printable => Tag::PrintableString,
            Self::Ia5 => Tag::Ia5String,
        }
    }

    fn allows(self, character: char) -> bool {
        match self {
            Self::Utf8 => true,
            Self::Printable => {
                character.is_ascii_alphanumeric() || " '()+,-./:=?".contains(character)
            }
            Self::Ia5 => character.is_ascii(),
        }
    }

    fn alphabet(self) -> &'static str {
        match self {
            Self::Utf8 => "characters that can be printed",
            Self::Printable => "ASCII letters, digits, spaces and '()+,-./:=?",
            Self::Ia5 => "ASCII characters",
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF8String",
            Self::Printable => "PrintableString",
            Self::Ia5 => "IA5String",
        }
    }
}

fn refuse_control_characters(attribute: &str, text: &str) -> Result<(), NameError> {
    match text.chars().find(|c| c.is_control()) {
        Some(character) => Err(NameError::Character {
            attribute: attribute.to_owned(),
            character,
            allowed: Syntax::Utf8.alphabet(),
        }),
        None => Ok(()),
    }
}

/// One DER value.
pub(super) fn tlv(tag: Tag, content: &[u8]) -> Result<Vec<u8>, NameError> {
    AnyRef::new(tag, content)
        .and_then(|any| any.to_der())
        .map_err(|_| NameError::TooLong)
}

const fn known(
    keywords: &'static [&'static str],
    oid: &str,
    syntax: Syntax,
    longest: usize,
) -> KnownType {
    KnownType {
        keywords,
        oid: ObjectIdentifier::new_unwrap(oid),
        syntax,
        longest,
    }
}

/// RFC 4514 §3 and RFC 4519, with the keywords that OpenSSL writes.
static KNOWN: [KnownType; 22] = [
    known(&["CN", "commonName"], "2.5.4.3", Syntax::Utf8, 64),
    known(&["C", "countryName"], "2.5.4.6", Syntax::Printable, 2),
    known(
        &["ST", "S", "stateOrProvinceName"],
        "2.5.4.8",
        Syntax::Utf8,
        128,
    ),
    known(&["L", "localityName"], "2.5.4.7", Syntax::Utf8, 128),
    known(&["STREET", "streetAddress"], "2.5.4.9", Syntax::Utf8, 128),
    known(&["O", "organizationName"], "2.5.4.10", Syntax::Utf8, 64),
    known(
        &["OU", "organizationalUnitName"],
        "2.5.4.11",
        Syntax::Utf8,
        64,
    ),
    known(
        &["DC", "domainComponent"],
        "0.9.2342.19200300.100.1.25",
        Syntax::Ia5,
        63,
    ),
    known(
        &["UID", "userId"],
        "0.9.2342.19200300.100.1.1",
        Syntax::Utf8,
        256,
    ),
    known(&["serialNumber"], "2.5.4.5", Syntax::Printable, 64),
    known(&["SN", "surname"], "2.5.4.4", Syntax::Utf8, 64),
    known(&["GN", "givenName"], "2.5.4.42", Syntax::Utf8, 64),
    known(&["T", "title"], "2.5.4.12", Syntax::Utf8, 64),
    known(
        &["emailAddress", "E", "email"],
        "1.2.840.113549.1.9.1",
        Syntax::Ia5,
        255,
    ),
    known(&["dnQualifier"], "2.5.4.46", Syntax::Printable, 64),
    known(&["initials"], "2.5.4.43", Syntax::Utf8, 64),
    known(&["generationQualifier"], "2.5.4.44", Syntax::Utf8, 64),
    known(&["pseudonym"], "2.5.4.65", Syntax::Utf8, 128),
    known(&["postalCode"], "2.5.4.17", Syntax::Utf8, 40),
    known(&["businessCategory"], "2.5.4.15", Syntax::Utf8, 128),
    known(&["description"], "2.5.4.13", Syntax::Utf8, 1024),
    known(&["organizationIdentifier"], "2.5.4.97", Syntax::Utf8, 256),
];
