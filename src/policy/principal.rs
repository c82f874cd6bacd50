//! What authentication proved about the requester.

use std::fmt;

use crate::pki::{Certificate, Fingerprint};

/// Who asks, as proven. Chain validity or a common name alone never makes a principal.
#[derive(Clone, Debug)]
pub enum Principal {
    /// A device that holds the key of a certificate which is recorded, unexpired and directly signed by its authority.
    Device {
        /// The certificate that it presented.
        certificate: Box<Certificate>,
    },
    /// Somebody who knows the password of this user.
    Password {
        /// The user name in the group's htpasswd file.
        user: String,
    },
    /// The operator itself, for a device inside the cluster.
    Operator,
}

impl Principal {
    /// The fingerprint of the certificate that a device presented.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Self::Device { certificate } => Some(certificate.fingerprint()),
            Self::Password { .. } | Self::Operator => None,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device { certificate } => write!(f, "Device/{}", certificate.fingerprint()),
            Self::Password { user } => write!(f, "Password/{user}"),
            Self::Operator => f.write_str("Operator"),
        }
    }
}
