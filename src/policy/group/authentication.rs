//! The ways into a group, compiled.

use std::collections::BTreeMap;

use regex::bytes::Regex;

use crate::{
    api::{self, Existing, Registration},
    pki::{Certificate, Fingerprint, Name, parse_pem_chain},
    policy::{
        Expression, Reason, Refusal, RegistrationId,
        id_rule::{Misfit, whole_match},
        view,
    },
};

/// How passwords authenticate.
#[derive(Clone, Debug)]
pub struct PasswordRules {
    /// The Secret with the htpasswd file, in the same namespace.
    pub secret: String,
    /// Whether unknown IDs may register.
    pub registration: Registration,
    /// What a password may do to an ID with a live certificate.
    pub existing: Existing,
    /// Which IDs each user may claim; empty lets every user claim every ID.
    pub users: Vec<UserRule>,
}

/// Which IDs a user may claim.
#[derive(Clone, Debug)]
pub struct UserRule {
    name: String,
    ids: Regex,
}

/// How certificates from elsewhere authenticate.
#[derive(Clone, Debug)]
pub struct BootstrapRules {
    /// CertificateAuthorities of the same namespace whose certificates are trust anchors.
    pub authorities: Vec<String>,
    /// Trust anchors from elsewhere.
    pub anchors: Vec<Certificate>,
    /// Whether unknown IDs may register.
    pub registration: Registration,
    /// What a certificate may do to an ID with a live certificate that it has not claimed before.
    pub existing: Existing,
    /// Which ID a certificate may claim.
    pub mapping: IdMapping,
    /// Certificates that may not be used.
    pub denied: Vec<Fingerprint>,
}

/// Which ID a bootstrap certificate may claim.
#[derive(Clone, Debug)]
pub enum IdMapping {
    /// Its common name.
    CommonName,
    /// The one that stands beside its fingerprint.
    Fingerprints(BTreeMap<Fingerprint, RegistrationId>),
    /// What the expression gives.
    Expression(Expression),
}

/// How one-time tokens authenticate.
#[derive(Clone, Debug)]
pub struct TokenRules {
    /// Whether unknown IDs may register.
    pub registration: Registration,
}

/// A registration authority.
#[derive(Clone, Debug)]
pub struct AuthorityRule {
    /// The CertificateAuthority that signed its certificate, in the same namespace.
    pub authority: String,
    /// The subject of its certificate.
    pub subject: Name,
    /// How many certificates it may get within an hour.
    pub certificates_per_hour: i32,
}

impl PasswordRules {
    pub(super) fn compile(passwords: &api::Passwords) -> Result<Self, Misfit> {
        let users = passwords.users.iter().map(UserRule::compile);
        Ok(Self {
            secret: passwords.secret_ref.name.clone(),
            registration: passwords.registration,
            existing: passwords.existing,
            users: users.collect::<Result<_, _>>()?,
        })
    }

    /// Whether a user may claim an ID.
    pub fn lets(&self, user: &str, id: &RegistrationId) -> bool {
        self.users.is_empty()
            || self
                .users
                .iter()
                .any(|rule| rule.name == user && rule.ids.is_match(id.folded().as_bytes()))
    }
}

/// That a group's password Secret does not exist.
pub fn passwords_missing(namespace: &str, secret: &str) -> Refusal {
    Refusal::new(
        Reason::PasswordsUnavailable,
        format!(
            "the password Secret {namespace}/{secret} does not exist: create it, or correct passwords.secretRef"
        ),
    )
}

impl UserRule {
    fn compile(rule: &api::UserRule) -> Result<Self, Misfit> {
        let pattern = rule
            .registration_ids
            .replace("${user}", &regex::escape(&rule.name));
        Ok(Self {
            name: rule.name.clone(),
            ids: whole_match(&pattern).map_err(|e| {
                (
                    "passwords.users",
                    format!("{:?}: registrationIds: {e}", rule.name),
                )
            })?,
        })
    }
}

impl BootstrapRules {
    pub(super) fn compile(bootstrap: &api::Bootstrap) -> Result<Self, Misfit> {
        let anchors = match &bootstrap.trust_anchors {
            None => Vec::new(),
            Some(pem) => {
                parse_pem_chain(pem).map_err(|e| ("bootstrap.trustAnchors", e.to_string()))?
            }
        };
        let denied = bootstrap.denied.iter().map(|text| {
            text.parse()
                .map_err(|e| ("bootstrap.denied", format!("{text:?}: {e}")))
        });
        Ok(Self {
            authorities: bootstrap
                .authority_refs
                .iter()
                .map(|authority| authority.name.clone())
                .collect(),
            anchors,
            registration: bootstrap.registration,
            existing: bootstrap.existing,
            mapping: IdMapping::compile(bootstrap.mapping.as_ref())?,
            denied: denied.collect::<Result<_, _>>()?,
        })
    }

    /// Refuses a certificate that may not be used, in whichever way its signature is written.
    pub fn check_not_denied(&self, certificate: &Certificate) -> Result<(), Refusal> {
        let denied = |form: &Certificate| self.denied.contains(&form.fingerprint());
        if denied(certificate) || certificate.twin().as_ref().is_some_and(denied) {
            let message = "this bootstrap certificate is on the group's list of denied ones";
            return Err(Refusal::new(Reason::BootstrapDenied, message));
        }
        Ok(())
    }
}

impl IdMapping {
    fn compile(mapping: Option<&api::BootstrapMapping>) -> Result<Self, Misfit> {
        let Some(mapping) = mapping else {
            return Ok(Self::CommonName);
        };
        if let Some(expression) = &mapping.expression {
            return Expression::of_text(expression, &view::samples_for_mapping())
                .map(Self::Expression)
                .map_err(|e| ("bootstrap.mapping.expression", e));
        }
        let mut ids = BTreeMap::new();
        for entry in &mapping.fingerprints {
            let wrong = |why: &dyn std::fmt::Display| {
                (
                    "bootstrap.mapping.fingerprints",
                    format!("{:?}: {why}", entry.sha256),
                )
            };
            let fingerprint: Fingerprint = entry.sha256.parse().map_err(|e| wrong(&e))?;
            let id =
                RegistrationId::parse(&entry.registration_id).map_err(|e| wrong(&e.message))?;
            if ids.insert(fingerprint, id).is_some() {
                return Err(wrong(&"it is listed twice"));
            }
        }
        Ok(Self::Fingerprints(ids))
    }
}

impl AuthorityRule {
    pub(super) fn compile(authority: &api::RegistrationAuthority) -> Result<Self, Misfit> {
        Ok(Self {
            authority: authority.authority_ref.name.clone(),
            subject: Name::parse(&authority.subject).map_err(|e| {
                (
                    "registrationAuthorities",
                    format!("subject {:?}: {e}", authority.subject),
                )
            })?,
            certificates_per_hour: authority.certificates_per_hour,
        })
    }
}
