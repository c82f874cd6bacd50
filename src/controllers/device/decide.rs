//! What is to be done about a DeviceIdentity: one pure function from what was observed to a plan.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::{ApprovalDecision, DeviceIdentity, DevicePhase, DeviceState},
    pki::{Fingerprint, Lifespan},
    policy::{
        Device, Group, GroupKey, Origin, Reason, Refusal, RetryInterval, Statement,
        certificate_ready, secret_ready,
    },
    registrar::Requester,
};

/// How often a Secret of somebody else is looked at, in case it is gone.
const FOREIGN_SECRET: SignedDuration = SignedDuration::from_secs(5);

/// What was observed.
pub(super) struct Observed {
    pub device: Device,
    pub group: Option<Arc<Group>>,
    pub hindrance: Option<Refusal>,
    pub secret: SecretState,
    pub renew_after: Option<Timestamp>,
    pub sweep: Option<Timestamp>,
    /// Whether the status says that the last attempt was refused.
    pub was_refused: bool,
    /// The key of the request that waits for a person's approval.
    pub pending: Option<Fingerprint>,
    /// Until when a device that has just registered itself may take to have its certificate recorded.
    pub enrolling_until: Option<Timestamp>,
}

impl Observed {
    /// The operator, asking in the name of the device's own group.
    pub(super) fn requester(&self) -> Requester {
        Requester::operator(GroupKey {
            namespace: self.device.namespace.clone(),
            name: self.device.group.clone(),
        })
    }
}

/// The Secret of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretState {
    /// The device keeps its key elsewhere.
    NotWanted,
    /// There is none.
    Absent,
    /// There is one that belongs to something else.
    Foreign(String),
    /// It is ours, but not as it should be.
    Damaged {
        /// What is wrong.
        why: String,
        /// The UID of the Secret that was looked at.
        uid: String,
    },
    /// It is ours and holds the newest certificate.
    Intact {
        /// The UID of the Secret that was looked at.
        uid: String,
    },
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// Nothing is to be signed; the status says how things stand.
    Settle(Standing),
    /// A certificate is to be issued.
    Issue(Why),
    /// Nothing is to be said yet: look again then.
    Look(Timestamp),
}

/// How a device stands.
#[derive(Debug, PartialEq)]
pub(super) struct Standing {
    pub phase: DevicePhase,
    pub statements: Vec<Statement>,
    /// When to look again.
    pub again: Option<Timestamp>,
}

/// Why a certificate is to be issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There was none before.
    First,
    /// It is time, or its owner asked for it.
    Renewal,
    /// The declared names differ from those in the certificate.
    NamesChanged,
    /// The Secret is gone or damaged, and the key with it.
    SecretLost(String),
}

/// Decides.
pub(super) fn decide(observed: &Observed, now: Timestamp) -> Plan {
    match observed.device.state {
        DeviceState::Revoked => {
            return Plan::Settle(stopped(
                DevicePhase::Revoked,
                Reason::Revoked,
                "the device is Revoked, which is final",
            ));
        }
        DeviceState::Suspended => {
            let message = "the device is Suspended: set spec.state to Active to let it have certificates again";
            return Plan::Settle(stopped(DevicePhase::Suspended, Reason::Suspended, message));
        }
        DeviceState::Active => {}
    }
    if observed.device.origin == Origin::Outside {
        // Its enrolment is under way and will write the status; a write now would only be in its way. What a person decides
        // about it is told at once.
        if let Some(until) = observed.enrolling_until.filter(|until| now < *until)
            && observed.device.current.is_none()
            && decision(observed).is_none()
        {
            return Plan::Look(until);
        }
        return Plan::Settle(outside(observed, now));
    }
    if let SecretState::Foreign(owner) = &observed.secret {
        return Plan::Settle(foreign_secret(observed, owner, now));
    }
    match (why_issue(observed, now), &observed.hindrance) {
        (Some(_), Some(hindrance)) => Plan::Settle(refused(observed, hindrance, now)),
        (Some(why), None) => Plan::Issue(why),
        (None, _) => Plan::Settle(in_order(observed)),
    }
}

/// The standing of a device that cannot even be read.
pub(super) fn unreadable(object: &DeviceIdentity, refusal: Refusal) -> Standing {
    let phase = object
        .status
        .as_ref()
        .and_then(|status| status.phase)
        .unwrap_or(DevicePhase::Pending);
    Standing {
        phase,
        statements: vec![Statement::no("Ready", refusal.reason, refusal.message)],
        again: None,
    }
}

fn stopped(phase: DevicePhase, reason: Reason, message: &str) -> Standing {
    Standing {
        phase,
        statements: vec![Statement::no("Ready", reason, message)],
        again: None,
    }
}

fn outside(observed: &Observed, now: Timestamp) -> Standing {
    let device = &observed.device;
    let Some(current) = &device.current else {
        if let Some((phase, statement)) = waiting_for_approval(observed) {
            return Standing {
                phase,
                statements: vec![statement],
                again: None,
            };
        }
        let statement = match &observed.hindrance {
            Some(hindrance) => Statement::no("Ready", hindrance.reason, hindrance.message.clone()),
            None => Statement::no(
                "Ready",
                Reason::AwaitingEnrollment,
                format!(
                    "the device has not enrolled yet: it should call /.well-known/est/{}.{}/simpleenroll with a CSR for CN={}",
                    device.namespace, device.group, device.id
                ),
            ),
        };
        return Standing {
            phase: DevicePhase::Pending,
            statements: vec![statement],
            again: None,
        };
    };
    if current.validity.not_after <= now {
        let message = format!(
            "the device did not renew in time: its certificate expired at {}. It must enrol anew",
            current.validity.not_after
        );
        return stopped(DevicePhase::Expired, Reason::Expired, &message);
    }
    Standing {
        phase: DevicePhase::Active,
        statements: vec![certificate_ready()],
        again: Some(current.validity.not_after),
    }
}

/// What a person has decided about the request on record.
fn decision(observed: &Observed) -> Option<ApprovalDecision> {
    let approval = observed.device.approval.as_ref()?;
    (observed.pending == Some(approval.key)).then_some(approval.decision)
}

/// What the person said who decided, in parentheses.
fn why(device: &Device) -> String {
    let reason = device.approval.as_ref().and_then(|it| it.reason.as_deref());
    reason.map_or(String::new(), |reason| format!(" ({reason})"))
}

/// What is said of a device whose request waits for a person, or has just been decided.
fn waiting_for_approval(observed: &Observed) -> Option<(DevicePhase, Statement)> {
    let (device, key) = (&observed.device, observed.pending?);
    Some(match decision(observed) {
        None => (
            DevicePhase::PendingApproval,
            Statement::no(
                "Ready",
                Reason::PendingApproval,
                format!(
                    "a person must approve the request in status.pendingRequest: kubectl devicecert approve {0} --key {key} (or deny {0})",
                    device.name
                ),
            ),
        ),
        Some(ApprovalDecision::Approved) => (
            DevicePhase::Pending,
            Statement::no(
                "Ready",
                Reason::AwaitingEnrollment,
                "the request is approved: the device gets its certificate when it asks again with the same key",
            ),
        ),
        Some(ApprovalDecision::Denied) => (
            DevicePhase::Denied,
            Statement::no(
                "Ready",
                Reason::Denied,
                format!(
                    "the request was denied{}: another key may ask anew",
                    why(device)
                ),
            ),
        ),
    })
}

fn foreign_secret(observed: &Observed, owner: &str, now: Timestamp) -> Standing {
    let Origin::Secret(name) = &observed.device.origin else {
        return in_order(observed);
    };
    let message = format!(
        "the Secret {name} exists and belongs to {owner}, so it is left alone: create this DeviceIdentity with another \
         spec.secretName (or make room under this name, if nothing needs that Secret)"
    );
    Standing {
        phase: DevicePhase::Pending,
        statements: vec![Statement::no("Ready", Reason::SecretNotOwned, message)],
        // No watch shows the Secrets of others, so nothing wakes us when this one goes.
        again: now.checked_add(FOREIGN_SECRET).ok(),
    }
}

fn why_issue(observed: &Observed, now: Timestamp) -> Option<Why> {
    let device = &observed.device;
    let Some(current) = &device.current else {
        return Some(Why::First);
    };
    match &observed.secret {
        SecretState::Absent => return Some(Why::SecretLost("the Secret was deleted".into())),
        SecretState::Damaged { why, .. } => {
            return Some(Why::SecretLost(format!("the Secret was damaged: {why}")));
        }
        SecretState::NotWanted | SecretState::Foreign(_) | SecretState::Intact { .. } => {}
    }
    let asked = observed
        .renew_after
        .is_some_and(|after| after <= now && current.issued_at() < after);
    if current.validity.not_after <= now || current.renewal_time <= now || asked {
        return Some(Why::Renewal);
    }
    let is_secret = matches!(device.origin, Origin::Secret(_));
    (is_secret && !current.names.same_set(&device.declared_names)).then_some(Why::NamesChanged)
}

fn in_order(observed: &Observed) -> Standing {
    let ready = match &observed.device.origin {
        Origin::Secret(name) => secret_ready(name),
        Origin::Request | Origin::Outside => certificate_ready(),
    };
    let current = observed.device.current.as_ref();
    let times = [
        current.map(|current| current.renewal_time),
        observed
            .renew_after
            .filter(|after| current.is_some_and(|current| current.issued_at() < *after)),
        observed.sweep,
    ];
    let mut statements = vec![ready];
    if observed.was_refused {
        let message = "the certificate on record is the one that is wanted";
        statements.insert(0, Statement::yes("Issued", Reason::Issued, message));
    }
    Standing {
        phase: DevicePhase::Active,
        statements,
        again: times.into_iter().flatten().min(),
    }
}

/// The standing after a refusal: a certificate that is still good stays good; the reason stands where its reader looks.
pub(super) fn refused(observed: &Observed, refusal: &Refusal, now: Timestamp) -> Standing {
    let device = &observed.device;
    let live = device.live(now);
    let usable = live.is_some()
        && matches!(
            observed.secret,
            SecretState::Intact { .. } | SecretState::NotWanted
        );
    let mut statements = vec![Statement::no(
        "Issued",
        refusal.reason,
        refusal.message.clone(),
    )];
    match (usable, live) {
        (true, Some(live)) => statements.push(Statement::yes(
            "Ready",
            Reason::CertificateReady,
            format!(
                "the certificate is valid until {}, but its renewal is refused ({}): {}",
                live.validity.not_after, refusal.reason, refusal.message
            ),
        )),
        _ => statements.push(Statement::no(
            "Ready",
            refusal.reason,
            refusal.message.clone(),
        )),
    }
    let phase = match (usable, &device.current) {
        (true, _) => DevicePhase::Active,
        (false, _) if refusal.reason == Reason::Denied => DevicePhase::Denied,
        (false, _) if refusal.reason.awaits_approval() => DevicePhase::PendingApproval,
        (false, Some(current)) if current.validity.not_after <= now => DevicePhase::Expired,
        (false, _) => DevicePhase::Pending,
    };
    let retry = observed
        .group
        .as_ref()
        .map(|group| (group.retry, group.lifespan))
        .or_else(default_retry);
    let again = retry.and_then(|(retry, lifespan)| now.checked_add(retry.wait(lifespan)).ok());
    let expiry = live.map(|live| live.validity.not_after);
    Standing {
        phase,
        statements,
        again: [again, expiry].into_iter().flatten().min(),
    }
}

/// Without a group nothing tells how long to wait; the group's appearance wakes its devices anyway.
fn default_retry() -> Option<(RetryInterval, Lifespan)> {
    Some((RetryInterval::parse("5m").ok()?, "1d".parse().ok()?))
}

#[cfg(test)]
mod tests;
