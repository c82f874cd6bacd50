//! The decisions about an authority, one sentence each.

use super::*;
use crate::{
    api::{AuthorityCertificate, CertificateAuthorityStatus, LocalRef, SelfSigned},
    pki::fixtures::{Ca, now},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

fn observed(key: Key) -> Observed {
    let mut object = CertificateAuthority::new("root", Default::default());
    object.spec.self_signed = Some(SelfSigned {});
    object.spec.validity = "20y".into();
    Observed {
        object,
        has_finalizer: true,
        secret_name: "ns.root.1".into(),
        key,
        parent: Parent::SelfSigned,
        dependents: Dependents::default(),
    }
}

fn found(ca: &Ca) -> Key {
    let key = crate::pki::PrivateKey::from_pkcs8_pem(&ca.key.to_pkcs8_pem()).unwrap();
    Key::Found(Box::new(CaKey {
        key,
        certificate: ca.certificate.clone(),
        issuers: Vec::new(),
    }))
}

fn known(fingerprint: &str) -> Option<CertificateAuthorityStatus> {
    Some(CertificateAuthorityStatus {
        certificate: Some(AuthorityCertificate {
            serial_number: "1".into(),
            subject: "CN=root".into(),
            issuer: "CN=root".into(),
            not_before: Time(now()),
            not_after: Time(now()),
            fingerprint: fingerprint.into(),
        }),
        ..Default::default()
    })
}

fn waits_for(observed: &Observed) -> Reason {
    match decide(observed, now()) {
        Plan::Wait { statement, .. } => statement.reason,
        _ => panic!("does not wait"),
    }
}

#[test]
fn the_finalizer_comes_before_the_key() {
    let mut observed = observed(Key::Absent);
    observed.has_finalizer = false;
    assert!(matches!(decide(&observed, now()), Plan::Protect));
    observed.has_finalizer = true;
    assert!(matches!(decide(&observed, now()), Plan::Create(_)));
}

#[test]
fn a_missing_key_is_never_replaced() {
    let mut observed = observed(Key::Absent);
    observed.object.status = known("ab");
    assert_eq!(waits_for(&observed), Reason::KeyLost);
}

#[test]
fn an_existing_key_is_adopted_when_the_status_is_lost() {
    let ca = Ca::root("CN=root");
    assert!(matches!(
        decide(&observed(found(&ca)), now()),
        Plan::Show { adopted: true }
    ));
}

#[test]
fn a_key_that_does_not_fit_is_neither_used_nor_replaced() {
    let ca = Ca::root("CN=other");
    assert_eq!(waits_for(&observed(found(&ca))), Reason::KeyMismatch);
    assert_eq!(
        waits_for(&observed(Key::Unreadable("x".into()))),
        Reason::KeyMismatch
    );
    let mut status_differs = observed(found(&Ca::root("CN=root")));
    status_differs.object.status = known("ab");
    assert_eq!(waits_for(&status_differs), Reason::KeyMismatch);
}

#[test]
fn an_intermediate_waits_for_its_parent() {
    let mut observed = observed(Key::Absent);
    observed.object.spec.self_signed = None;
    observed.object.spec.issued_by = Some(LocalRef { name: "p".into() });
    observed.parent = Parent::NotFound("p".into());
    assert_eq!(waits_for(&observed), Reason::AuthorityNotFound);
    observed.parent = Parent::Unusable("x".into());
    assert_eq!(waits_for(&observed), Reason::AuthorityNotReady);
}

#[test]
fn an_authority_in_use_is_not_released() {
    let mut observed = observed(Key::Absent);
    observed.object.metadata.deletion_timestamp = Some(Time(now()));
    assert!(matches!(decide(&observed, now()), Plan::Release));
    observed.dependents.children = 1;
    assert_eq!(waits_for(&observed), Reason::InUse);
    observed.dependents = Dependents {
        leaves: 1,
        last_leaf: Some(now()),
        children: 0,
    };
    assert_eq!(waits_for(&observed), Reason::InUse);
}

#[test]
fn settings_that_cannot_be_carried_out_are_said_so() {
    for spoil in [
        |s: &mut crate::api::CertificateAuthoritySpec| s.subject = Some("CN".into()),
        |s: &mut crate::api::CertificateAuthoritySpec| s.validity = "x".into(),
        |s: &mut crate::api::CertificateAuthoritySpec| s.validity = "1s".into(),
    ] {
        let mut observed = observed(Key::Absent);
        spoil(&mut observed.object.spec);
        assert_eq!(waits_for(&observed), Reason::InvalidSpec);
    }
}
