//! Subject alternative names (RFC 5280 §4.2.1.6): what else a certificate calls its subject.

mod set;

use std::collections::BTreeSet;
use std::net::IpAddr;

use der::Encode;
use der::asn1::{Ia5String, OctetString};
use x509_cert::ext::pkix::name::GeneralName as EncodedName;
use x509_parser::extensions::{GeneralName, SubjectAlternativeName};
use x509_parser::prelude::FromDer;

/// Longest URI, in bytes.
const MAX_URI: usize = 2048;

/// The names in a subject alternative name extension, in order. DNS names are lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectAltNames {
    /// DNS names, in ASCII (A-labels), lower case, perhaps with a leading `*.`.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ip: Vec<IpAddr>,
    /// Absolute URIs.
    pub uri: Vec<String>,
    /// Names that we do not issue, in words (`rfc822Name`, `otherName 1.3.6.1.4.1.311.20.2.3`), so that policy can refuse them
    /// by name.
    pub other: Vec<String>,
}

/// Why something is no subject alternative name, or cannot be issued as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SanError {
    /// The extension is not DER.
    #[error(
        "the subject alternative names are not valid DER (RFC 5280 §4.2.1.6): create the request with another tool"
    )]
    Malformed,
    /// Not a DNS name.
    #[error(
        "{name:?} is no DNS name: use labels of letters, digits and hyphens, at most 63 each and 253 in all, with `*` only as the whole first label, and xn-- for other scripts"
    )]
    Dns {
        /// What it says.
        name: String,
    },
    /// An IP address as DNS name.
    #[error("{name:?} is an IP address among the DNS names: list it under the IP addresses")]
    DnsIsIp {
        /// What it says.
        name: String,
    },
    /// Not an IP address.
    #[error("{name:?} is no IP address: use forms like 192.0.2.1 and 2001:db8::1")]
    Ip {
        /// What it says.
        name: String,
    },
    /// An IP address in DER with the wrong number of bytes.
    #[error(
        "an IP address among the subject alternative names has {length} bytes: use 4 for IPv4 and 16 for IPv6"
    )]
    IpLength {
        /// How many it has.
        length: usize,
    },
    /// Not a URI.
    #[error(
        "{name:?} is no absolute URI in ASCII: write scheme:rest, with %XX for other characters, in at most {MAX_URI} bytes"
    )]
    Uri {
        /// What it says.
        name: String,
    },
    /// Names of types that we do not put into certificates.
    #[error(
        "subject alternative names of the type {kind} are not issued: use DNS names, IP addresses and URIs"
    )]
    NotIssued {
        /// The type in words.
        kind: String,
    },
}

impl SubjectAltNames {
    /// Names from text, as a user writes them.
    ///
    /// # Errors
    /// [`SanError`] about the first name that is none.
    pub fn parse<S: AsRef<str>>(dns: &[S], ip: &[S], uri: &[S]) -> Result<Self, SanError> {
        let address = |text: &S| {
            text.as_ref().parse().map_err(|_| SanError::Ip {
                name: text.as_ref().chars().take(80).collect(),
            })
        };
        Ok(Self {
            dns: dns
                .iter()
                .map(|name| dns_name(name.as_ref()))
                .collect::<Result<_, _>>()?,
            ip: ip.iter().map(address).collect::<Result<_, _>>()?,
            uri: uri
                .iter()
                .map(|name| absolute_uri(name.as_ref()))
                .collect::<Result<_, _>>()?,
            other: Vec::new(),
        })
    }

    /// Reads the content of the extension strictly, as it stands in a request.
    ///
    /// # Errors
    /// [`SanError`] about the first name that is malformed. Types we do not issue are no error; they go to `other`.
    pub fn decode(extension: &[u8]) -> Result<Self, SanError> {
        let mut names = Self::default();
        for name in general_names(extension)? {
            names.add(&name)?;
        }
        Ok(names)
    }

    /// Reads the content of the extension in somebody else's certificate: names that we would not issue go to `other`.
    pub(super) fn decode_foreign(extension: &[u8]) -> Result<Self, SanError> {
        let mut names = Self::default();
        for name in general_names(extension)? {
            if let Err(error) = names.add(&name) {
                names.other.push(format!("malformed name ({error})"));
            }
        }
        Ok(names)
    }

    /// The DER of the extension's content, in the order DNS, IP, URI.
    ///
    /// # Errors
    /// [`SanError::NotIssued`] if `other` has names, and [`SanError`] about a name that is none (the fields are public).
    pub fn encode(&self) -> Result<Vec<u8>, SanError> {
        if let Some(kind) = self.other.first() {
            return Err(SanError::NotIssued { kind: kind.clone() });
        }
        let mut names = Vec::new();
        for name in &self.dns {
            names.push(EncodedName::DnsName(ia5(&dns_name(name)?)?));
        }
        for address in &self.ip {
            let bytes = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            names.push(EncodedName::IpAddress(
                OctetString::new(bytes).map_err(|_| SanError::Malformed)?,
            ));
        }
        for name in &self.uri {
            names.push(EncodedName::UniformResourceIdentifier(ia5(&absolute_uri(
                name,
            )?)?));
        }
        names.to_der().map_err(|_| SanError::Malformed)
    }

    /// True if there is no name of any type.
    pub fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.ip.is_empty() && self.uri.is_empty() && self.other.is_empty()
    }

    /// True if both name the same, whatever the order and repetitions.
    pub fn same_set(&self, other: &Self) -> bool {
        fn set<T: Ord>(names: &[T]) -> BTreeSet<&T> {
            names.iter().collect()
        }
        set(&self.dns) == set(&other.dns)
            && set(&self.ip) == set(&other.ip)
            && set(&self.uri) == set(&other.uri)
            && set(&self.other) == set(&other.other)
    }

    fn add(&mut self, name: &GeneralName<'_>) -> Result<(), SanError> {
        match name {
            GeneralName::DNSName(name) => self.dns.push(dns_name(name)?),
            GeneralName::URI(name) => self.uri.push(absolute_uri(name)?),
            GeneralName::IPAddress(bytes) => self.ip.push(ip_address(bytes)?),
            GeneralName::OtherName(oid, _) => self.other.push(format!("otherName {oid}")),
            GeneralName::RFC822Name(_) => self.other.push("rfc822Name".to_owned()),
            GeneralName::X400Address(_) => self.other.push("x400Address".to_owned()),
            GeneralName::DirectoryName(_) => self.other.push("directoryName".to_owned()),
            GeneralName::EDIPartyName(_) => self.other.push("ediPartyName".to_owned()),
            GeneralName::RegisteredID(_) => self.other.push("registeredID".to_owned()),
            GeneralName::Invalid(..) => return Err(SanError::Malformed),
        }
        Ok(())
    }
}

fn general_names(extension: &[u8]) -> Result<Vec<GeneralName<'_>>, SanError> {
    match SubjectAlternativeName::from_der(extension) {
        // RFC 5280 §4.2.1.6: at least one name.
        Ok(([], names)) if !names.general_names.is_empty() => Ok(names.general_names),
        _ => Err(SanError::Malformed),
    }
}

/// RFC 1034 §3.5 with the digits of RFC 1123 §2.1, and one wildcard label (RFC 9525 §6.3).
fn dns_name(name: &str) -> Result<String, SanError> {
    let bad = || SanError::Dns {
        name: name.chars().take(80).collect(),
    };
    let labels = name.strip_prefix("*.").unwrap_or(name);
    if name.len() > 253 || !labels.split('.').all(is_label) {
        return Err(bad());
    }
    if labels
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Err(SanError::DnsIsIp {
            name: name.to_owned(),
        });
    }
    Ok(name.to_ascii_lowercase())
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// RFC 3986 §4.3, as far as RFC 5280 §4.2.1.6 asks: a scheme, then something, in its alphabet.
fn absolute_uri(name: &str) -> Result<String, SanError> {
    let bad = || SanError::Uri {
        name: name.chars().take(80).collect(),
    };
    let (scheme, rest) = name.split_once(':').ok_or_else(bad)?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let is_rest = rest
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c));
    if !is_scheme || !is_rest || rest.is_empty() || name.len() > MAX_URI {
        return Err(bad());
    }
    Ok(name.to_owned())
}

fn ip_address(bytes: &[u8]) -> Result<IpAddr, SanError> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes)
        .map(IpAddr::from)
        .map_err(|_| SanError::IpLength {
            length: bytes.len(),
        })
}

fn ia5(text: &str) -> Result<Ia5String, SanError> {
    Ia5String::new(text).map_err(|_| SanError::Malformed)
}

#[cfg(test)]
mod tests;
