//! The decision: may this principal have this certificate now? An ordered chain of small refusals, then a grant.

mod names;

use jiff::{SignedDuration, Timestamp};

use super::{
    Authority, Device, Grant, Group, Origin, Principal, Reason, Refusal, RegistrationId,
    grant::Granted,
};
use names::{can_be_recorded, names, names_fit_on_record, subject};

use crate::{
    api::{DeviceState, Existing, ProvisioningStatus},
    pki::{Csr, Fingerprint, SubjectPublicKey},
};

/// How many certificates of one identity may be valid beside the newest.
pub(super) const MOST_PREVIOUS: usize = 16;
/// How long a password user may retry with a new key after an answer was lost.
const RETRY_WITH_NEW_KEY: SignedDuration = SignedDuration::from_mins(10);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// What a verified CSR says. Only its key is taken from it; its names are compared, never copied.
    Csr(&'a Csr),
    /// A certificate for a key that the operator just made for a Secret.
    OwnKey(&'a SubjectPublicKey),
}

impl Asked<'_> {
    fn key(&self) -> &SubjectPublicKey {
        match self {
            Self::Csr(csr) => csr.key(),
            Self::OwnKey(key) => key,
        }
    }

    /// SHA-256 of the request, by which a retry is recognised.
    pub fn digest(&self) -> Fingerprint {
        match self {
            Self::Csr(csr) => csr.digest(),
            Self::OwnKey(key) => key.fingerprint(),
        }
    }
}

/// Everything that a decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Who asks, as proven.
    pub principal: &'a Principal,
    /// What is asked.
    pub asked: Asked<'a>,
    /// The group's rules, fresh.
    pub group: &'a Group,
    /// The group's authority, fresh.
    pub authority: &'a Authority,
    /// The device.
    pub device: &'a Device,
    /// Whether a new certificate is wanted, or the one that was recorded for the very same request.
    pub purpose: Purpose,
    /// The present moment.
    pub now: Timestamp,
}

/// What a decision is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new certificate.
    New,
    /// The same answer to the same request once more.
    Repetition,
}

/// Decides. This is the only way to a [`Grant`] for a device.
pub fn authorize(situation: &Situation<'_>) -> Result<Grant, Refusal> {
    group_is_open(situation)?;
    device_may_have_certificates(situation)?;
    principal_may_act_for_device(situation)?;
    situation.group.check_id(&situation.device.id)?;
    no_authority_is_asked_for(situation)?;
    key_is_allowed(situation)?;
    password_may_replace(situation)?;
    record_has_room(situation)?;
    let subject = subject(situation)?;
    let names = names(situation)?;
    names_fit_on_record(&names)?;
    situation
        .group
        .allowed_names
        .check(&names, &situation.device.id)?;
    let requested_subject = match situation.asked {
        Asked::Csr(csr) if !csr.subject().is_empty() && !csr.subject().same_text(&subject) => {
            Some(csr.subject().clone())
        }
        _ => None,
    }
    .filter(can_be_recorded);
    let granted = Granted {
        subject,
        requested_subject,
        names,
        key: situation.asked.key().clone(),
        key_usages: situation.group.key_usages.clone(),
        extended_key_usages: situation.group.extended_key_usages.clone(),
        lifespan: situation.group.lifespan,
        request_digest: situation.asked.digest(),
    };
    Grant::new(granted, situation.authority.usable()?, situation.now)
}

fn refuse<T>(reason: Reason, message: String) -> Result<T, Refusal> {
    Err(Refusal::new(reason, message))
}

fn group_is_open(s: &Situation<'_>) -> Result<(), Refusal> {
    if s.group.provisioning == ProvisioningStatus::Disabled {
        return refuse(
            Reason::GroupDisabled,
            format!(
                "group {}/{} is Disabled: it gives out no certificates",
                s.group.namespace, s.group.name
            ),
        );
    }
    if s.device.live(s.now).is_none() {
        let deleted = |kind: &str, namespace: &str, name: &str| {
            refuse(
                Reason::InUse,
                format!(
                    "{kind} {namespace}/{name} is being deleted: it renews what is alive, but takes nobody new"
                ),
            )
        };
        if s.authority.terminating {
            return deleted(
                "CertificateAuthority",
                &s.authority.namespace,
                &s.authority.name,
            );
        }
        if s.group.terminating {
            return deleted("EnrollmentGroup", &s.group.namespace, &s.group.name);
        }
    }
    s.authority.usable().map(|_| ())
}

fn device_may_have_certificates(s: &Situation<'_>) -> Result<(), Refusal> {
    match s.device.state {
        DeviceState::Active => Ok(()),
        DeviceState::Suspended => refuse(
            Reason::Suspended,
            format!(
                "device {} is Suspended: set its spec.state to Active to let it have certificates",
                s.device.id
            ),
        ),
        DeviceState::Revoked => refuse(
            Reason::Revoked,
            format!("device {} is Revoked, which is final", s.device.id),
        ),
    }
}

fn principal_may_act_for_device(s: &Situation<'_>) -> Result<(), Refusal> {
    if s.device.namespace != s.group.namespace || s.device.group != s.group.name {
        return refuse(
            Reason::WrongGroup,
            format!(
                "device {} is in group {}/{}, not in {}/{}: use the path of its own group",
                s.device.id, s.device.namespace, s.device.group, s.group.namespace, s.group.name
            ),
        );
    }
    match (s.principal, &s.device.origin) {
        (Principal::Operator, Origin::Secret(_) | Origin::Request) => Ok(()),
        (Principal::Operator, Origin::Outside) => refuse(
            Reason::AwaitingEnrollment,
            format!(
                "device {} enrols itself: the operator asks for no certificate on its behalf",
                s.device.id
            ),
        ),
        (_, Origin::Secret(_) | Origin::Request) => refuse(
            Reason::WrongOrigin,
            format!(
                "the operator itself renews the certificate of {}, so it cannot enrol over EST",
                s.device.id
            ),
        ),
        (Principal::Device { certificate }, Origin::Outside) => {
            if s.device.has_live(certificate.fingerprint(), s.now) {
                Ok(())
            } else {
                refuse(
                    Reason::UnknownCertificate,
                    format!(
                        "the client certificate is not a live certificate on record for {}",
                        s.device.id
                    ),
                )
            }
        }
        (Principal::Password { .. }, Origin::Outside) => Ok(()),
    }
}

fn no_authority_is_asked_for(s: &Situation<'_>) -> Result<(), Refusal> {
    match s.asked {
        Asked::Csr(csr) if csr.asks_for_ca() => refuse(
            Reason::AuthorityNotAllowed,
            "the CSR asks for CA:TRUE: remove basicConstraints from it, this group certifies devices only".into(),
        ),
        _ => Ok(()),
    }
}

fn key_is_allowed(s: &Situation<'_>) -> Result<(), Refusal> {
    let algorithm = s.asked.key().algorithm();
    if s.group.allowed_keys.is_empty() || s.group.allowed_keys.contains(&algorithm) {
        return Ok(());
    }
    let allowed: Vec<String> = s
        .group
        .allowed_keys
        .iter()
        .map(ToString::to_string)
        .collect();
    refuse(
        Reason::KeyNotAllowed,
        format!(
            "the key is {algorithm}, but the group allows {}: make a key of that kind",
            allowed.join(", ")
        ),
    )
}

fn password_may_replace(s: &Situation<'_>) -> Result<(), Refusal> {
    let Principal::Password { user } = s.principal else {
        return Ok(());
    };
    let Some(rules) = &s.group.passwords else {
        return refuse(
            Reason::PasswordsDisabled,
            "this group does not accept passwords".into(),
        );
    };
    let Some(live) = s.device.live(s.now).filter(|_| s.purpose == Purpose::New) else {
        return Ok(());
    };
    match rules.existing {
        Existing::Any => Ok(()),
        Existing::Never => refuse(
            Reason::CertificateExists,
            format!(
                "{} has a live certificate: renew with that certificate instead of the password",
                s.device.id
            ),
        ),
        Existing::SameKey => {
            let key = s.asked.key().fingerprint();
            let lost_answer = live.requester == format!("Password/{user}")
                && s.now.duration_since(live.issued_at()) <= RETRY_WITH_NEW_KEY;
            if lost_answer || s.device.live_keys(s.now).any(|known| known == key) {
                return Ok(());
            }
            refuse(
                Reason::SameKeyRequired,
                format!(
                    "{} has a live certificate, and the password may renew it only with the same key: use that key, or \
                     renew with the certificate",
                    s.device.id
                ),
            )
        }
    }
}

/// A device that asks too often waits. The operator itself asks only when a Secret needs it, and then the oldest record makes
/// room: that certificate's key was in a Secret that is gone.
fn record_has_room(s: &Situation<'_>) -> Result<(), Refusal> {
    if matches!(s.principal, Principal::Operator) {
        return Ok(());
    }
    let live = s
        .device
        .previous
        .iter()
        .filter(|(_, _, end)| *end > s.now)
        .count();
    if live + usize::from(s.device.live(s.now).is_some()) > MOST_PREVIOUS {
        return refuse(
            Reason::TooManyCertificates,
            format!(
                "{} has {MOST_PREVIOUS} older certificates that are still valid: wait until one expires, or delete the DeviceIdentity and create it anew",
                s.device.id
            ),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
