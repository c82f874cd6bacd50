//! What a certificate may be used for: key usages and extended key usages, in OpenSSL's spelling.

use std::fmt;
use std::str::FromStr;

use super::dotted;

/// A bit of the key usage extension (RFC 5280 §4.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum KeyUsage {
    DigitalSignature,
    /// Also called nonRepudiation, which is read but not written.
    ContentCommitment,
    KeyEncipherment,
    DataEncipherment,
    KeyAgreement,
    KeyCertSign,
    CrlSign,
}

/// A purpose of the extended key usage extension (RFC 5280 §4.2.1.12).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum ExtendedKeyUsage {
    ServerAuth,
    ClientAuth,
    CodeSigning,
    EmailProtection,
    TimeStamping,
    OcspSigning,
    /// The bearer is a registration authority and may enrol others (RFC 6402 §2.10).
    CmcRa,
    /// Any other purpose, as a dotted OID.
    Oid(String),
}

/// Why text is no usage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// Not a key usage.
    #[error(
        "`{text}` is no key usage: use digitalSignature, contentCommitment, keyEncipherment, dataEncipherment, keyAgreement, keyCertSign or cRLSign"
    )]
    KeyUsage {
        /// What was written.
        text: String,
    },
    /// Not an extended key usage.
    #[error(
        "`{text}` is no extended key usage: use serverAuth, clientAuth, codeSigning, emailProtection, timeStamping, OCSPSigning, cmcRA or a dotted OID"
    )]
    ExtendedKeyUsage {
        /// What was written.
        text: String,
    },
}

impl KeyUsage {
    /// All of them, in the order of the bits.
    pub const ALL: [Self; 7] = [
        Self::DigitalSignature,
        Self::ContentCommitment,
        Self::KeyEncipherment,
        Self::DataEncipherment,
        Self::KeyAgreement,
        Self::KeyCertSign,
        Self::CrlSign,
    ];

    /// Number of the bit in the extension's BIT STRING.
    pub(super) fn bit(self) -> u8 {
        match self {
            Self::DigitalSignature => 0,
            Self::ContentCommitment => 1,
            Self::KeyEncipherment => 2,
            Self::DataEncipherment => 3,
            Self::KeyAgreement => 4,
            Self::KeyCertSign => 5,
            Self::CrlSign => 6,
        }
    }
}

impl fmt::Display for KeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DigitalSignature => "digitalSignature",
            Self::ContentCommitment => "contentCommitment",
            Self::KeyEncipherment => "keyEncipherment",
            Self::DataEncipherment => "dataEncipherment",
            Self::KeyAgreement => "keyAgreement",
            Self::KeyCertSign => "keyCertSign",
            Self::CrlSign => "cRLSign",
        })
    }
}

impl FromStr for KeyUsage {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, UsageError> {
        if text == "nonRepudiation" {
            return Ok(Self::ContentCommitment);
        }
        let found = Self::ALL
            .into_iter()
            .find(|usage| usage.to_string() == text);
        found.ok_or_else(|| UsageError::KeyUsage {
            text: text.chars().take(40).collect(),
        })
    }
}

/// Names and OIDs (RFC 5280 §4.2.1.12, RFC 6402 §2.10).
const PURPOSES: [(ExtendedKeyUsage, &str, &str); 7] = [
    (
        ExtendedKeyUsage::ServerAuth,
        "serverAuth",
        "1.3.6.1.5.5.7.3.1",
    ),
    (
        ExtendedKeyUsage::ClientAuth,
        "clientAuth",
        "1.3.6.1.5.5.7.3.2",
    ),
    (
        ExtendedKeyUsage::CodeSigning,
        "codeSigning",
        "1.3.6.1.5.5.7.3.3",
    ),
    (
        ExtendedKeyUsage::EmailProtection,
        "emailProtection",
        "1.3.6.1.5.5.7.3.4",
    ),
    (
        ExtendedKeyUsage::TimeStamping,
        "timeStamping",
        "1.3.6.1.5.5.7.3.8",
    ),
    (
        ExtendedKeyUsage::OcspSigning,
        "OCSPSigning",
        "1.3.6.1.5.5.7.3.9",
    ),
    (ExtendedKeyUsage::CmcRa, "cmcRA", "1.3.6.1.5.5.7.3.28"),
];

impl ExtendedKeyUsage {
    /// The dotted OID.
    pub fn oid(&self) -> &str {
        match self {
            Self::Oid(oid) => oid,
            named => PURPOSES
                .iter()
                .find(|(purpose, ..)| purpose == named)
                .map_or("", |(_, _, oid)| oid),
        }
    }
}

impl fmt::Display for ExtendedKeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = PURPOSES.iter().find(|(purpose, ..)| purpose == self);
        f.write_str(named.map_or_else(|| self.oid(), |(_, name, _)| name))
    }
}

impl FromStr for ExtendedKeyUsage {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, UsageError> {
        let named = PURPOSES
            .into_iter()
            .find(|(_, name, oid)| name.eq_ignore_ascii_case(text) || *oid == text);
        if let Some((purpose, ..)) = named {
            return Ok(purpose);
        }
        match dotted::parse(text) {
            Some(oid) => Ok(Self::Oid(oid.to_string())),
            None => Err(UsageError::ExtendedKeyUsage {
                text: text.chars().take(40).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_usage_reads_back() {
        for usage in KeyUsage::ALL {
            assert_eq!(usage.to_string().parse(), Ok(usage));
        }
        assert_eq!("nonRepudiation".parse(), Ok(KeyUsage::ContentCommitment));
        assert_eq!(
            "CN".parse::<KeyUsage>(),
            Err(UsageError::KeyUsage {
                text: "CN".to_owned()
            })
        );
    }

    #[test]
    fn every_extended_key_usage_reads_back_by_name_and_oid() {
        for (purpose, name, oid) in PURPOSES {
            assert_eq!(purpose.to_string(), name);
            assert_eq!(name.parse(), Ok(purpose.clone()));
            assert_eq!(oid.parse(), Ok(purpose.clone()));
            assert_eq!(purpose.oid(), oid);
        }
    }

    #[test]
    fn other_purposes_are_dotted_oids() {
        let purpose: ExtendedKeyUsage = "1.3.6.1.5.5.7.3.17".parse().unwrap();
        assert_eq!(
            purpose,
            ExtendedKeyUsage::Oid("1.3.6.1.5.5.7.3.17".to_owned())
        );
        assert_eq!(purpose.to_string(), "1.3.6.1.5.5.7.3.17");
        assert!("client auth".parse::<ExtendedKeyUsage>().is_err());
        assert!("9.9".parse::<ExtendedKeyUsage>().is_err());
    }
}
