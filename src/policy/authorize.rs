//! The decision: may this principal have this certificate now? An ordered chain of small refusals, then a grant.

mod credentials;
mod keys;
mod names;

pub use credentials::may_register;
pub use keys::{KeyHolder, approval_key, key_in_use};

use jiff::{SignedDuration, Timestamp};

use super::{
    Authority, Device, Grant, Group, Origin, Principal, Reason, Refusal, RegistrationId, Standing,
    grant::Granted, view,
};
use names::{can_be_recorded, names, names_fit_on_record, subject};

use crate::{
    api::{Approval, ChannelBinding, DeviceState, ProvisioningStatus},
    pki::{Csr, Fingerprint, Role, SubjectPublicKey},
};

/// How many certificates of one identity may be valid beside the newest.
pub(super) const MOST_PREVIOUS: usize = 16;
/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// What a verified CSR says. Only its key is taken from it; its names are compared, never copied.
    Csr(&'a Csr),
    /// A certificate for a key that the operator just made for a Secret.
    OwnKey(&'a SubjectPublicKey),
    /// A certificate for a key that the operator just made for a device outside. RFC 7030 §4.4.
    MadeKey {
        /// What the device asks; its key is ignored.
        csr: &'a Csr,
        /// The key that was made.
        key: &'a SubjectPublicKey,
    },
}

impl<'a> Asked<'a> {
    /// The key to be certified.
    pub fn key(&self) -> &'a SubjectPublicKey {
        match self {
            Self::Csr(csr) => csr.key(),
            Self::OwnKey(key) | Self::MadeKey { key, .. } => key,
        }
    }

    /// What the device itself asked.
    pub fn csr(&self) -> Option<&'a Csr> {
        match self {
            Self::Csr(csr) | Self::MadeKey { csr, .. } => Some(csr),
            Self::OwnKey(_) => None,
        }
    }

    /// SHA-256 of the request, by which a retry is recognised. A key that was made is not kept, so nothing repeats it.
    pub fn digest(&self) -> Fingerprint {
        match self {
            Self::Csr(csr) => csr.digest(),
            Self::OwnKey(key) | Self::MadeKey { key, .. } => key.fingerprint(),
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
    /// Whose the key is already.
    pub key_holder: &'a KeyHolder,
    /// Whether the CSR proved that it was made for its TLS connection.
    pub bound_to_channel: bool,
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

type Rule = fn(&Situation<'_>) -> Result<(), Refusal>;
/// Whether a rule has something to say about a request. For people only: every rule is asked all the same.
type Applies = fn(&Situation<'_>) -> bool;

const ALWAYS: Applies = |_| true;

/// The rules in the order in which they are asked, each with its name for `kubectl devicecert explain`.
const RULES: [(&str, Applies, Rule); 20] = [
    ("the group gives out certificates", ALWAYS, group_is_open),
    (
        "the device may have certificates",
        ALWAYS,
        device_may_have_certificates,
    ),
    ("the device is in the group", ALWAYS, device_is_in_group),
    (
        "the requester may act for the device",
        ALWAYS,
        principal_may_act_for_device,
    ),
    (
        "an expired certificate is within the recovery window",
        |s| {
            let Principal::Device { standing, .. } = s.principal else {
                return false;
            };
            *standing == Standing::Expired
        },
        expired_may_recover,
    ),
    (
        "the credentials may claim the ID",
        has_credentials,
        credentials::may_claim,
    ),
    ("the ID matches the group's pattern", ALWAYS, |s| {
        s.group.check_id(&s.device.id)
    }),
    (
        "the CSR is bound to its TLS connection, where it must be",
        |s| s.group.channel_binding != ChannelBinding::Optional,
        keys::channel_is_bound,
    ),
    (
        "a CA certificate is asked for only where the profile gives one",
        ALWAYS,
        role_is_right,
    ),
    (
        "the server may make keys, if it is asked to",
        |s| matches!(s.asked, Asked::MadeKey { .. }),
        keys::server_may_make_keys,
    ),
    (
        "the key is of an allowed kind",
        |s| !s.group.allowed_keys.is_empty(),
        keys::kind_is_allowed,
    ),
    (
        "the credentials may replace a live certificate",
        |s| has_credentials(s) && s.device.live(s.now).is_some(),
        credentials::may_replace,
    ),
    ("the record has room", ALWAYS, record_has_room),
    ("the subject is the device's", ALWAYS, |s| {
        subject(s).map(|_| ())
    }),
    ("the alternative names are the device's", ALWAYS, |s| {
        names(s).map(|_| ())
    }),
    ("the alternative names fit on the record", ALWAYS, |s| {
        names_fit_on_record(&names(s)?)
    }),
    (
        "the alternative names are within allowedNames",
        ALWAYS,
        |s| s.group.allowed_names.check(&names(s)?, &s.device.id),
    ),
    ("the key belongs to nobody else", ALWAYS, |s| {
        s.key_holder.check()
    }),
    (
        "the group's own rules hold",
        |s| !s.group.rules.is_empty(),
        own_rules_hold,
    ),
    (
        "a person has approved the key, where one must",
        |s| s.group.approval == Approval::Manual || s.device.approval.is_some(),
        keys::key_is_approved,
    ),
];

/// Decides. This is the only way to a [`Grant`] for a device.
pub fn authorize(situation: &Situation<'_>) -> Result<Grant, Refusal> {
    for (_, _, rule) in RULES {
        rule(situation)?;
    }
    let subject = subject(situation)?;
    let requested_subject = situation
        .asked
        .csr()
        .map(Csr::subject)
        .filter(|asked| !asked.is_empty() && !asked.same_text(&subject))
        .filter(|asked| can_be_recorded(asked))
        .cloned();
    let granted = Granted {
        subject,
        requested_subject,
        names: names(situation)?,
        key: situation.asked.key().clone(),
        role: situation.group.role,
        key_usages: situation.group.key_usages.clone(),
        extended_key_usages: situation.group.extended_key_usages.clone(),
        lifespan: situation.group.lifespan,
        request_digest: situation.asked.digest(),
        token_use: credentials::token_use(situation),
        approval_key: approval_key(&situation.asked, situation.device),
    };
    Grant::new(granted, situation.authority.usable()?, situation.now)
}

/// What a rule says of a situation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is content.
    Passes,
    /// It has nothing to do with this request.
    DoesNotApply,
    /// It is not.
    Refuses(Refusal),
}

impl Outcome {
    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refuses(refusal) => Some(refusal),
            Self::Passes | Self::DoesNotApply => None,
        }
    }
}

/// Every rule by name, with what it says of this situation; unlike [`authorize`] it does not stop at the first refusal.
pub fn explain(situation: &Situation<'_>) -> Vec<(&'static str, Outcome)> {
    RULES
        .iter()
        .map(|(name, applies, rule)| {
            let outcome = match rule(situation) {
                Err(refusal) => Outcome::Refuses(refusal),
                Ok(()) if applies(situation) => Outcome::Passes,
                Ok(()) => Outcome::DoesNotApply,
            };
            (*name, outcome)
        })
        .collect()
}

/// Whether the requester shows something other than a certificate that was issued here: what may register a device.
fn has_credentials(s: &Situation<'_>) -> bool {
    !matches!(
        s.principal,
        Principal::Operator | Principal::Device { .. } | Principal::RegistrationAuthority { .. }
    )
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

fn device_is_in_group(s: &Situation<'_>) -> Result<(), Refusal> {
    if s.device.namespace == s.group.namespace && s.device.group == s.group.name {
        return Ok(());
    }
    refuse(
        Reason::WrongGroup,
        format!(
            "device {} is in group {}/{}, not in {}/{}: use the path of its own group",
            s.device.id, s.device.namespace, s.device.group, s.group.namespace, s.group.name
        ),
    )
}

fn principal_may_act_for_device(s: &Situation<'_>) -> Result<(), Refusal> {
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
        (
            Principal::Device {
                certificate,
                standing,
            },
            Origin::Outside,
        ) => {
            let fingerprint = certificate.fingerprint();
            let on_record = match standing {
                Standing::Valid => s.device.has_live(fingerprint, s.now),
                Standing::Expired => s
                    .device
                    .current
                    .as_ref()
                    .is_some_and(|newest| newest.fingerprint == fingerprint),
            };
            if on_record {
                return Ok(());
            }
            if *standing == Standing::Expired {
                return refuse(
                    Reason::CertificateExpired,
                    format!(
                        "the client certificate has expired, and {} has a newer one: only the newest may recover",
                        s.device.id
                    ),
                );
            }
            refuse(
                Reason::UnknownCertificate,
                format!(
                    "the client certificate is not a live certificate on record for {}",
                    s.device.id
                ),
            )
        }
        (
            Principal::Password { .. }
            | Principal::Bootstrap { .. }
            | Principal::Token { .. }
            | Principal::RegistrationAuthority { .. },
            Origin::Outside,
        ) => Ok(()),
    }
}

/// Only a group that says so lets an expired certificate renew, only the newest one, and only for a while.
fn expired_may_recover(s: &Situation<'_>) -> Result<(), Refusal> {
    let Principal::Device {
        certificate,
        standing: Standing::Expired,
    } = s.principal
    else {
        return Ok(());
    };
    let end = certificate.validity().not_after;
    let expired = |way_out: &str| {
        refuse(
            Reason::CertificateExpired,
            format!("the client certificate expired at {end}: {way_out}"),
        )
    };
    let Some(window) = s.group.recovery_window else {
        return expired("enrol anew in another way");
    };
    let last = end.checked_add(SignedDuration::from_secs(window.as_seconds()));
    if last.is_ok_and(|last| last < s.now) {
        return expired(&format!(
            "the group lets expired certificates renew for {window} only; enrol anew in another way"
        ));
    }
    Ok(())
}

/// CA:TRUE is given only by a profile that says so, and never slips in from a CSR.
fn role_is_right(s: &Situation<'_>) -> Result<(), Refusal> {
    let asks = s.asked.csr().is_some_and(Csr::asks_for_ca);
    match s.group.role {
        Role::Leaf if asks => refuse(
            Reason::AuthorityNotAllowed,
            "the CSR asks for CA:TRUE: remove basicConstraints from it, this group certifies devices only".into(),
        ),
        Role::Leaf => Ok(()),
        Role::Authority { .. } => s.group.check_fits_below(s.authority),
    }
}

/// A rule that cannot be evaluated does not hold.
fn own_rules_hold(s: &Situation<'_>) -> Result<(), Refusal> {
    if s.group.rules.is_empty() {
        return Ok(());
    }
    let variables = view::of_decision(s.principal, &s.asked, s.device);
    for (expression, message) in &s.group.rules {
        match expression.is_true(&variables) {
            Ok(true) => {}
            Ok(false) => {
                let fallback = || format!("the group's rule {expression} does not hold");
                return refuse(
                    Reason::RuleViolated,
                    message.clone().unwrap_or_else(fallback),
                );
            }
            // The group's own words are for a rule that works.
            Err(why) => {
                return refuse(
                    Reason::RuleViolated,
                    format!(
                        "the group's rule {expression} cannot be evaluated for this request: {why}"
                    ),
                );
            }
        }
    }
    Ok(())
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
