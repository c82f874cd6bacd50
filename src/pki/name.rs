//! Distinguished names, carried as the DER they were read or made as.
//!
//! Chain building compares names byte for byte (RFC 5280 §7.1 allows more, but not every verifier does more), so a [`Name`]
//! is its DER and nothing is ever re-encoded.

mod attribute;
mod decoded;
mod error;
mod template;
mod text;

pub use error::NameError;
pub use template::{NameTemplate, PLACEHOLDERS};

use std::fmt;

use decoded::{DecodedRdn, ReadableAttribute};

/// Longest text that [`Name::parse`] reads, in bytes.
pub const MAX_TEXT: usize = 4096;

/// A distinguished name: the DER of an `RDNSequence` (RFC 5280 §4.1.2.4).
///
/// Equality, order and hash are those of the DER. [`Display`](fmt::Display) writes RFC 4514 text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    der: Vec<u8>,
}

impl Name {
    /// Reads RFC 4514 text (`CN=Root,O=Example,DC=example,DC=com`, most specific first), or OpenSSL's slash form
    /// (`/DC=com/DC=example/O=Example/CN=Root`, in the order of the encoding) if it begins with `/`.
    ///
    /// Values become `UTF8String`, or what the standard asks for (`PrintableString` for C, serialNumber and dnQualifier;
    /// `IA5String` for DC and emailAddress). Spaces around `,`, `+` and `=` are ignored, as in RFC 2253. Empty text is the
    /// empty name.
    ///
    /// # Errors
    /// Everything in [`NameError`] but the variants about templates and DER.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Self::encode(&text::parse(text)?)
    }

    /// Takes the DER of an `RDNSequence`, exactly as it stands in a certificate or request.
    ///
    /// # Errors
    /// [`NameError::Der`] if it is not one name in canonical lengths with nothing after it.
    pub fn from_der(der: &[u8]) -> Result<Self, NameError> {
        decoded::decode(der).ok_or(NameError::Der)?;
        Ok(Self { der: der.to_vec() })
    }

    /// The DER of the `RDNSequence`.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// True for a name without any attribute.
    pub fn is_empty(&self) -> bool {
        // An empty SEQUENCE.
        self.der == [0x30, 0]
    }

    /// The common name, if there is exactly one and its characters can be read.
    ///
    /// Several common names, or one with a NUL or broken encoding, give `None`: two programs could read two identities.
    pub fn common_name(&self) -> Option<String> {
        let rdns = self.rdns();
        let mut names = rdns
            .iter()
            .flatten()
            .filter(|attribute| attribute.oid == decoded::COMMON_NAME);
        let only = names.next()?;
        if names.next().is_some() {
            return None;
        }
        only.text()
    }

    /// All attributes in the order of the encoding, as (dotted OID, text). A value that is no text is `#` and the hex of its DER.
    pub fn attributes(&self) -> Vec<(String, String)> {
        let rdns = self.rdns().into_iter().flatten();
        rdns.map(|attribute| {
            let value = attribute
                .text()
                .unwrap_or_else(|| text::hex_value(&attribute));
            (attribute.dotted(), value)
        })
        .collect()
    }

    /// True if both names have the same attributes with the same characters (case matters) in the same order, whatever
    /// ASN.1 string types they use.
    pub fn same_text(&self, other: &Self) -> bool {
        self == other || readable(&self.rdns()) == readable(&other.rdns())
    }

    fn encode(rdns: &[Vec<attribute::Attribute>]) -> Result<Self, NameError> {
        Ok(Self {
            der: attribute::encode(rdns)?,
        })
    }

    fn rdns(&self) -> Vec<DecodedRdn<'_>> {
        // Never the default: a `Name` is only made of DER that `decode` reads.
        decoded::decode(&self.der).unwrap_or_default()
    }
}

fn readable<'a>(rdns: &'a [DecodedRdn<'_>]) -> Vec<Vec<ReadableAttribute<'a>>> {
    rdns.iter()
        .map(|rdn| {
            let mut rdn: Vec<_> = rdn.iter().map(|attribute| attribute.readable()).collect();
            // The order inside a SET follows the encoding, thus the string type.
            rdn.sort();
            rdn
        })
        .collect()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(&self.rdns(), f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests;
