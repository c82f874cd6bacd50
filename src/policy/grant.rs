//! Exactly what may be signed. Only this module's callers in `policy` can make a [`Grant`].

use jiff::Timestamp;

use super::{Reason, Refusal, TokenUse};
use crate::pki::{
    Certificate, CertificateTemplate, Clipped, ExtendedKeyUsage, Fingerprint, KeyUsage, Lifespan,
    Name, Role, Serial, SubjectAltNames, SubjectPublicKey, Validity,
};

/// A CertificateAuthority as policy sees it: which certificate signs, and whether it may.
#[derive(Clone, Debug)]
pub struct Authority {
    /// metadata.namespace.
    pub namespace: String,
    /// metadata.name.
    pub name: String,
    /// The certificate that signs, `None` while there is none.
    pub certificate: Option<Certificate>,
    /// Why it may not sign, in words; `None` when it may.
    pub hindrance: Option<Refusal>,
    /// Whether it is being deleted: then it renews, but certifies nobody new.
    pub terminating: bool,
}

impl Authority {
    /// The certificate that may sign, or why there is none.
    pub fn usable(&self) -> Result<&Certificate, Refusal> {
        if let Some(hindrance) = &self.hindrance {
            return Err(hindrance.clone());
        }
        self.certificate.as_ref().ok_or_else(|| {
            Refusal::new(
                Reason::AuthorityNotReady,
                format!(
                    "CertificateAuthority {}/{} has no certificate yet",
                    self.namespace, self.name
                ),
            )
        })
    }
}

/// Leave to sign one certificate, whose every byte but the serial and the signature is decided.
#[derive(Clone, Debug)]
pub struct Grant {
    subject: Name,
    requested_subject: Option<Name>,
    names: SubjectAltNames,
    key: SubjectPublicKey,
    key_usages: Vec<KeyUsage>,
    extended_key_usages: Vec<ExtendedKeyUsage>,
    validity: Validity,
    clipped: Clipped,
    issuer: Fingerprint,
    request_digest: Fingerprint,
    role: Role,
    token_use: Option<TokenUse>,
    approval_key: Fingerprint,
}

/// What [`Grant::new`] needs beside the issuer and the time.
pub(super) struct Granted {
    pub subject: Name,
    pub requested_subject: Option<Name>,
    pub names: SubjectAltNames,
    pub key: SubjectPublicKey,
    pub role: Role,
    pub token_use: Option<TokenUse>,
    pub key_usages: Vec<KeyUsage>,
    pub extended_key_usages: Vec<ExtendedKeyUsage>,
    pub lifespan: Lifespan,
    pub request_digest: Fingerprint,
    pub approval_key: Fingerprint,
}

impl Grant {
    pub(super) fn new(
        granted: Granted,
        issuer: &Certificate,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let (validity, clipped) =
            Validity::starting(now, granted.lifespan, Some(issuer.validity())).map_err(|e| {
                Refusal::new(
                    Reason::AuthorityNotReady,
                    format!("the issuing CA {}: {e}", issuer.subject()),
                )
            })?;
        Ok(Self {
            subject: granted.subject,
            requested_subject: granted.requested_subject,
            names: granted.names,
            key: granted.key,
            key_usages: granted.key_usages,
            extended_key_usages: granted.extended_key_usages,
            validity,
            clipped,
            issuer: issuer.fingerprint(),
            request_digest: granted.request_digest,
            role: granted.role,
            token_use: granted.token_use,
            approval_key: granted.approval_key,
        })
    }

    /// The certificate to be signed, under this serial.
    pub fn template(&self, serial: Serial) -> CertificateTemplate {
        CertificateTemplate {
            serial,
            subject: self.subject.clone(),
            key: self.key.clone(),
            validity: self.validity,
            sans: self.names.clone(),
            key_usages: self.key_usages.clone(),
            extended_key_usages: self.extended_key_usages.clone(),
            role: self.role,
        }
    }

    /// The fingerprint of the only CA certificate that may sign this.
    pub fn issuer(&self) -> Fingerprint {
        self.issuer
    }

    /// The key to be certified.
    pub fn key(&self) -> &SubjectPublicKey {
        &self.key
    }

    /// The subject to be certified.
    pub fn subject(&self) -> &Name {
        &self.subject
    }

    /// The subject that was asked for, where that differs.
    pub fn requested_subject(&self) -> Option<&Name> {
        self.requested_subject.as_ref()
    }

    /// The alternative names to be certified.
    pub fn names(&self) -> &SubjectAltNames {
        &self.names
    }

    /// The time for which the certificate will be valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether the issuer's end made the certificate shorter than the profile asks.
    pub fn clipped(&self) -> Clipped {
        self.clipped
    }

    /// Whether a one-time token must be consumed before this may be signed; `None` where there is no token.
    pub fn token_use(&self) -> Option<TokenUse> {
        self.token_use
    }

    /// SHA-256 of the request.
    pub fn request_digest(&self) -> Fingerprint {
        self.request_digest
    }

    /// The key of which a person's approval would have to speak.
    pub fn approval_key(&self) -> Fingerprint {
        self.approval_key
    }
}

/// Leave to sign the EST server's own certificate. Its names come from the operator's configuration alone.
pub fn server_grant(
    key: SubjectPublicKey,
    names: SubjectAltNames,
    lifespan: Lifespan,
    authority: &Authority,
    now: Timestamp,
) -> Result<Grant, Refusal> {
    let issuer = authority.usable()?;
    let first = names
        .dns
        .first()
        .cloned()
        .or_else(|| names.ip.first().map(ToString::to_string))
        .unwrap_or_default();
    let subject = Name::parse(&format!("CN={first}"))
        .map_err(|e| Refusal::new(Reason::InvalidSpec, format!("--est-dns-name: {e}")))?;
    let granted = Granted {
        subject,
        requested_subject: None,
        names,
        request_digest: key.fingerprint(),
        approval_key: key.fingerprint(),
        key,
        role: Role::Leaf,
        token_use: None,
        key_usages: vec![KeyUsage::DigitalSignature],
        extended_key_usages: vec![ExtendedKeyUsage::ServerAuth],
        lifespan,
    };
    Grant::new(granted, issuer, now)
}
