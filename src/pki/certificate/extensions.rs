//! What the extensions of a certificate say.

use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;

use super::CertificateError;
use crate::pki::{ExtendedKeyUsage, KeyUsage, SubjectAltNames};

/// The last arcs of SKI, key usage, SAN, basic constraints, AKI and extended key usage: 2.5.29.14 and so on.
const UNDERSTOOD: [u8; 6] = [14, 15, 17, 19, 35, 37];

const NAME_CONSTRAINTS: u8 = 30;

/// Certificate policies. We ask for none, so whatever they say is fine (RFC 5280 §6.1.1 (c): any-policy).
const POLICIES: u8 = 32;

#[derive(Clone, Default)]
pub(super) struct Extensions {
    pub sans: SubjectAltNames,
    pub subject_key_id: Option<Vec<u8>>,
    pub authority_key_id: Option<Vec<u8>>,
    pub key_usages: Option<Vec<KeyUsage>>,
    pub extended_key_usages: Vec<ExtendedKeyUsage>,
    pub constraints: Constraints,
    pub has_name_constraints: bool,
    /// Dotted OID of the first one.
    pub unknown_critical: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Constraints {
    #[default]
    Leaf,
    Authority {
        path_length: Option<u8>,
    },
}

impl Extensions {
    pub(super) fn read(extensions: &[X509Extension<'_>]) -> Result<Self, CertificateError> {
        let mut read = Self::default();
        for (position, extension) in extensions.iter().enumerate() {
            if extensions[..position]
                .iter()
                .any(|earlier| earlier.oid == extension.oid)
            {
                return Err(CertificateError::RepeatedExtension {
                    oid: extension.oid.to_id_string(),
                });
            }
            read.add(extension)?;
        }
        Ok(read)
    }

    fn add(&mut self, extension: &X509Extension<'_>) -> Result<(), CertificateError> {
        let oid = || extension.oid.to_id_string();
        // Below id-ce, 2.5.29.
        let arc = match extension.oid.as_bytes() {
            [0x55, 0x1d, arc] => Some(*arc),
            _ => None,
        };
        let is_understood = arc.is_some_and(|arc| UNDERSTOOD.contains(&arc));
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(_) => {
                self.sans = SubjectAltNames::decode_foreign(extension.value)?
            }
            ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key_id = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                let path_length = constraints
                    .path_len_constraint
                    .map(|length| u8::try_from(length).unwrap_or(u8::MAX));
                self.constraints = Constraints::Authority { path_length };
            }
            ParsedExtension::KeyUsage(usage) => {
                let has = |known: &KeyUsage| usage.flags >> known.bit() & 1 == 1;
                self.key_usages = Some(KeyUsage::ALL.into_iter().filter(has).collect());
            }
            ParsedExtension::ExtendedKeyUsage(_) => self.extended_key_usages = purposes(extension)?,
            // What we do not act upon may be malformed, as in some certificates of vendors, unless it is critical.
            ParsedExtension::ParseError { .. } if extension.critical || is_understood => {
                return Err(CertificateError::Extension { oid: oid() });
            }
            _ => {}
        }
        match arc {
            Some(NAME_CONSTRAINTS) => self.has_name_constraints = true,
            Some(POLICIES) => {}
            _ if is_understood => {}
            _ if extension.critical && self.unknown_critical.is_none() => {
                self.unknown_critical = Some(oid());
            }
            _ => {}
        }
        Ok(())
    }
}

/// At least one (RFC 5280 §4.2.1.12): none at all must not look like a certificate for every purpose.
fn purposes(extension: &X509Extension<'_>) -> Result<Vec<ExtendedKeyUsage>, CertificateError> {
    let malformed = || CertificateError::Extension {
        oid: extension.oid.to_id_string(),
    };
    let oids = match <Vec<x509_parser::asn1_rs::Oid<'_>>>::from_der(extension.value) {
        Ok((_, oids)) if !oids.is_empty() => oids,
        _ => return Err(malformed()),
    };
    // An OID too big for our own parser stays as it is.
    let purpose = |oid: String| oid.parse().unwrap_or(ExtendedKeyUsage::Oid(oid));
    Ok(oids.iter().map(|oid| purpose(oid.to_id_string())).collect())
}
