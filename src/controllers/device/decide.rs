//! What is to be done about a DeviceIdentity: one pure function from what was observed to a plan.

use jiff::Timestamp;

use crate::{
    api::{DeviceIdentity, DevicePhase, DeviceState},
    pki::Lifespan,
    policy::{Device, Group, Origin, Reason, Refusal, RetryInterval, Statement},
};

/// What was observed.
pub(super) struct Observed {
    pub device: Device,
    pub group: Option<Group>,
    pub hindrance: Option<Refusal>,
    pub secret: SecretState,
    pub renew_after: Option<Timestamp>,
    pub sweep: Option<Timestamp>,
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
    Damaged(String),
    /// It is ours and holds the newest certificate.
    Intact,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// Nothing is to be signed; the status says how things stand.
    Settle(Standing),
    /// A certificate is to be issued.
    Issue(Why),
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
        return Plan::Settle(outside(observed, now));
    }
    if let SecretState::Foreign(owner) = &observed.secret {
        return Plan::Settle(foreign_secret(observed, owner));
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
        statements: vec![Statement::yes(
            "Ready",
            Reason::CertificateReady,
            "the device has a valid certificate",
        )],
        again: Some(current.validity.not_after),
    }
}

fn foreign_secret(observed: &Observed, owner: &str) -> Standing {
    let Origin::Secret(name) = &observed.device.origin else {
        return in_order(observed);
    };
    let message = format!(
        "the Secret {name} exists and belongs to {owner}, so it is left alone: delete it, or create this DeviceIdentity with \
         another spec.secretName"
    );
    Standing {
        phase: DevicePhase::Pending,
        statements: vec![Statement::no("Ready", Reason::SecretNotOwned, message)],
        again: None,
    }
}

fn why_issue(observed: &Observed, now: Timestamp) -> Option<Why> {
    let device = &observed.device;
    let Some(current) = &device.current else {
        return Some(Why::First);
    };
    match &observed.secret {
        SecretState::Absent => return Some(Why::SecretLost("the Secret was deleted".into())),
        SecretState::Damaged(why) => {
            return Some(Why::SecretLost(format!("the Secret was damaged: {why}")));
        }
        SecretState::NotWanted | SecretState::Foreign(_) | SecretState::Intact => {}
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
    let message = match &observed.device.origin {
        Origin::Secret(name) => format!("the Secret {name} holds a valid certificate"),
        Origin::Request | Origin::Outside => "the device has a valid certificate".into(),
    };
    let current = observed.device.current.as_ref();
    let times = [
        current.map(|current| current.renewal_time),
        observed
            .renew_after
            .filter(|after| current.is_some_and(|current| current.issued_at() < *after)),
        observed.sweep,
    ];
    Standing {
        phase: DevicePhase::Active,
        statements: vec![Statement::yes("Ready", Reason::CertificateReady, message)],
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
            SecretState::Intact | SecretState::NotWanted
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
mod tests {
    use super::*;
    use crate::{
        pki::{Name, SubjectAltNames, Validity},
        policy::{Recorded, RegistrationId},
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A Secret-backed device with a certificate from 0 to 1000 that is to be renewed at 800.
    fn observed() -> Observed {
        let mut device = Device::unregistered("ns", "g", RegistrationId::parse("d").unwrap());
        device.origin = Origin::Secret("d-tls".into());
        let fingerprint = "ab".repeat(32).parse().unwrap();
        device.current = Some(Recorded {
            fingerprint,
            key_fingerprint: fingerprint,
            issuer_fingerprint: fingerprint,
            validity: Validity {
                not_before: at(0),
                not_after: at(1000),
            },
            renewal_time: at(800),
            subject: Name::parse("CN=d").unwrap(),
            requested_subject: None,
            names: SubjectAltNames::default(),
            request_digest: fingerprint,
            requester: "Operator".into(),
        });
        Observed {
            device,
            group: None,
            hindrance: None,
            secret: SecretState::Intact,
            renew_after: None,
            sweep: None,
        }
    }

    fn ready(plan: &Plan) -> (DevicePhase, String) {
        let Plan::Settle(standing) = plan else {
            panic!("{plan:?}")
        };
        (
            standing.phase,
            standing.statements.last().unwrap().reason.to_string(),
        )
    }

    #[test]
    fn a_certificate_is_kept_until_its_renewal_time() {
        let Plan::Settle(standing) = decide(&observed(), at(799)) else {
            panic!()
        };
        assert_eq!(
            (standing.phase, standing.again),
            (DevicePhase::Active, Some(at(800)))
        );
        assert_eq!(decide(&observed(), at(800)), Plan::Issue(Why::Renewal));
    }

    #[test]
    fn the_first_certificate_is_issued_at_once() {
        let mut first = observed();
        first.device.current = None;
        first.secret = SecretState::Absent;
        assert_eq!(decide(&first, at(1)), Plan::Issue(Why::First));
    }

    #[test]
    fn a_lost_or_damaged_secret_is_put_back() {
        for state in [SecretState::Absent, SecretState::Damaged("x".into())] {
            let observed = Observed {
                secret: state,
                ..observed()
            };
            assert!(matches!(
                decide(&observed, at(1)),
                Plan::Issue(Why::SecretLost(_))
            ));
        }
    }

    #[test]
    fn a_secret_of_somebody_else_is_left_alone() {
        let observed = Observed {
            secret: SecretState::Foreign("nobody".into()),
            ..observed()
        };
        assert_eq!(ready(&decide(&observed, at(900))).1, "SecretNotOwned");
    }

    #[test]
    fn nothing_is_issued_to_a_stopped_device_whatever_else_holds() {
        for (state, phase) in [
            (DeviceState::Suspended, DevicePhase::Suspended),
            (DeviceState::Revoked, DevicePhase::Revoked),
        ] {
            for secret in [
                SecretState::Absent,
                SecretState::Intact,
                SecretState::Damaged("x".into()),
            ] {
                for time in [1, 900, 1001] {
                    let mut observed = Observed {
                        secret: secret.clone(),
                        ..observed()
                    };
                    observed.device.state = state;
                    assert_eq!(ready(&decide(&observed, at(time))).0, phase);
                }
            }
        }
    }

    #[test]
    fn a_refused_renewal_leaves_a_good_certificate_ready_until_it_expires() {
        let hindered = || Observed {
            hindrance: Some(Refusal::new(Reason::GroupDisabled, "off")),
            ..observed()
        };
        assert_eq!(
            ready(&decide(&hindered(), at(900))),
            (DevicePhase::Active, "CertificateReady".into())
        );
        assert_eq!(
            ready(&decide(&hindered(), at(1000))),
            (DevicePhase::Expired, "GroupDisabled".into())
        );
    }

    #[test]
    fn an_owner_can_ask_for_a_renewal_once() {
        let asked = Observed {
            renew_after: Some(at(500)),
            ..observed()
        };
        assert!(
            matches!(decide(&asked, at(499)), Plan::Settle(Standing { again: Some(time), .. }) if time == at(500))
        );
        assert_eq!(decide(&asked, at(500)), Plan::Issue(Why::Renewal));
        let mut done = Observed {
            renew_after: Some(at(500)),
            ..observed()
        };
        done.device.current.as_mut().unwrap().validity = Validity {
            not_before: at(600),
            not_after: at(1600),
        };
        assert!(matches!(decide(&done, at(610)), Plan::Settle(_)));
    }

    #[test]
    fn an_outside_device_is_never_issued_to_by_the_controller() {
        let mut outside = observed();
        outside.device.origin = Origin::Outside;
        outside.secret = SecretState::NotWanted;
        assert_eq!(
            ready(&decide(&outside, at(900))),
            (DevicePhase::Active, "CertificateReady".into())
        );
        assert_eq!(
            ready(&decide(&outside, at(1000))),
            (DevicePhase::Expired, "Expired".into())
        );
        outside.device.current = None;
        assert_eq!(
            ready(&decide(&outside, at(1))),
            (DevicePhase::Pending, "AwaitingEnrollment".into())
        );
    }
}
