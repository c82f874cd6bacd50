//! The controller's decisions, one sentence each.

use super::*;
use crate::{
    pki::{Name, SubjectAltNames, Validity},
    policy::{Approved, Recorded, RegistrationId},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn intact() -> SecretState {
    SecretState::Intact { uid: "u".into() }
}

fn damaged() -> SecretState {
    let (why, uid) = ("x".into(), "u".into());
    SecretState::Damaged { why, uid }
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
        secret: intact(),
        renew_after: None,
        sweep: None,
        was_refused: false,
        pending: None,
        enrolling_until: None,
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
    for state in [SecretState::Absent, damaged()] {
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
        for secret in [SecretState::Absent, intact(), damaged()] {
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

#[test]
fn a_device_that_registers_itself_is_left_alone_for_a_moment() {
    let mut enrolling = observed();
    enrolling.device.origin = Origin::Outside;
    enrolling.device.current = None;
    enrolling.secret = SecretState::NotWanted;
    enrolling.enrolling_until = Some(at(5));
    assert_eq!(decide(&enrolling, at(4)), Plan::Look(at(5)));
    assert_eq!(
        ready(&decide(&enrolling, at(5))),
        (DevicePhase::Pending, "AwaitingEnrollment".into())
    );
}

#[test]
fn what_a_person_decides_is_told_at_once_also_of_a_device_that_has_just_registered_itself() {
    let key = Fingerprint::of(b"key");
    let mut waiting = observed();
    waiting.device.origin = Origin::Outside;
    waiting.device.current = None;
    waiting.secret = SecretState::NotWanted;
    waiting.enrolling_until = Some(at(5));
    waiting.pending = Some(key);
    assert_eq!(decide(&waiting, at(1)), Plan::Look(at(5)));
    waiting.device.approval = Some(Approved {
        decision: ApprovalDecision::Denied,
        key,
        reason: Some("unknown serial number".into()),
    });
    let denied = decide(&waiting, at(1));
    assert_eq!(ready(&denied), (DevicePhase::Denied, "Denied".into()));
    assert!(format!("{denied:?}").contains("denied (unknown serial number): another key"));
}
