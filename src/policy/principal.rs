//! What authentication proved about the requester.

use std::fmt;

use super::{RegistrationId, Token, token};
use crate::pki::{Certificate, Fingerprint};

/// Who asks, as proven. Chain validity or a common name alone never makes a principal of a device.
#[derive(Clone, Debug)]
pub enum Principal {
    /// A device that holds the key of a certificate which is on its record and directly signed by its authority.
    Device {
        /// The certificate that it presented.
        certificate: Box<Certificate>,
        /// Whether that certificate is valid still.
        standing: Standing,
    },
    /// Somebody who holds the key of a certificate that leads to a trust anchor of the group's bootstrap rules.
    Bootstrap {
        /// The certificate that was presented.
        certificate: Box<Certificate>,
        /// The ID that it has claimed before.
        claimed: Option<RegistrationId>,
        /// Where one of our own authorities signed it: the only ID that it may claim.
        own_name: Option<RegistrationId>,
    },
    /// A registration authority that the group lists, asking for somebody else.
    RegistrationAuthority {
        /// The certificate that it presented.
        certificate: Box<Certificate>,
    },
    /// Somebody who knows the password of this user.
    Password {
        /// The user name in the group's htpasswd file.
        user: String,
    },
    /// Somebody who has a one-time token of the group.
    Token {
        /// The token, as it stands now.
        token: Box<Token>,
    },
    /// The operator itself, for a device inside the cluster.
    Operator,
}

/// Whether the certificate of a device is valid still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Valid,
    /// It has expired, and the group's recoveryWindow is to judge.
    Expired,
}

impl Principal {
    /// The fingerprint of the certificate on its record that a device presented.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Self::Device { certificate, .. } => Some(certificate.fingerprint()),
            _ => None,
        }
    }

    /// The certificate that was presented.
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Device { certificate, .. }
            | Self::Bootstrap { certificate, .. }
            | Self::RegistrationAuthority { certificate } => Some(certificate),
            Self::Password { .. } | Self::Token { .. } | Self::Operator => None,
        }
    }

    /// What `kind` says.
    pub const KINDS: [&'static str; 6] = [
        "Device",
        "Bootstrap",
        "RegistrationAuthority",
        "Password",
        "Token",
        "Operator",
    ];

    /// How it proved itself, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Device { .. } => "Device",
            Self::Bootstrap { .. } => "Bootstrap",
            Self::RegistrationAuthority { .. } => "RegistrationAuthority",
            Self::Password { .. } => "Password",
            Self::Token { .. } => "Token",
            Self::Operator => "Operator",
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device { certificate, .. }
            | Self::Bootstrap { certificate, .. }
            | Self::RegistrationAuthority { certificate } => {
                write!(f, "{}/{}", self.kind(), certificate.fingerprint())
            }
            Self::Password { user } => write!(f, "Password/{user}"),
            Self::Token { token } => f.write_str(&token::requester(&token.name)),
            Self::Operator => f.write_str("Operator"),
        }
    }
}
