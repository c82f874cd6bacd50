//! Counters: each certificate and each refusal once, at the door where it was asked for, with its reason.

use devicecert::api::DeviceIdentity;
use serde_json::json;

use super::with_passwords;
use crate::harness::{CONVERGES, Device, Est, Metrics, PASSWORD, World, device, eventually};

fn issued(metrics: &Metrics, door: &str, reason: &str) -> u64 {
    let labels = [("door", door), ("group", "g"), ("reason", reason)];
    metrics.count("devicecert_certificates_issued_total", &labels)
}

fn refused(metrics: &Metrics, door: &str, reason: &str) -> u64 {
    metrics.count(
        "devicecert_refusals_total",
        &[("door", door), ("reason", reason)],
    )
}

#[tokio::test]
async fn every_certificate_and_every_refusal_is_counted_once_at_its_door() {
    let world = World::new().await;
    with_passwords(&world, json!({})).await;
    let group = format!("{}/g", world.namespace);
    let operator = world.operator_with_est(&["--est-default", &group]).await;
    world.until_pki().await;
    world
        .create(device("inside", "g", json!({ "secretName": "s" })))
        .await;
    world.until::<DeviceIdentity>("inside", "True").await;
    world.renew("inside").await;
    eventually("inside is renewed", CONVERGES, async || {
        match world.record("inside").await.len() {
            2 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let names = json!({ "secretName": "n", "dnsNames": ["www.bank.example"] });
    world.create(device("greedy", "g", names)).await;
    world
        .until::<DeviceIdentity>("greedy", "NameNotAllowed")
        .await;

    let est = Est::of(&world, &operator).await;
    let user = est.user("u", PASSWORD);
    let outside = Device::new("outside");
    let csr = outside.csr();
    let certificate = user.enroll("", &csr).await.certificate();
    // A repetition is answered, but nothing is issued for it.
    assert_eq!(user.enroll("", &csr).await.certificate(), certificate);
    let renewal = est
        .certificate(&certificate, &outside.key)
        .reenroll("", &outside.csr())
        .await;
    renewal.certificate();
    est.enroll("", &csr)
        .await
        .refuses(401, "CredentialsMissing", &[]);
    est.user("u", "wrong")
        .enroll("", &csr)
        .await
        .refuses(401, "WrongPassword", &[]);
    user.enroll("nowhere", &csr)
        .await
        .refuses(404, "UnknownLabel", &[]);
    user.enroll("", &Device::new("a b").csr())
        .await
        .refuses(400, "InvalidRegistrationId", &[]);
    let named = Device::new("named").csr_with(&["www.bank.example"]);
    user.enroll("", &named)
        .await
        .refuses(403, "NameNotAllowed", &[]);
    let other = est.certificate(&certificate, &outside.key);
    other
        .enroll("", &Device::new("other").csr())
        .await
        .refuses(403, "SubjectMismatch", &[]);
    world
        .patch::<DeviceIdentity>("outside", json!({ "spec": { "state": "Revoked" } }))
        .await;
    // The very first request once more: it looks like a retry, and is refused.
    user.enroll("", &outside.csr())
        .await
        .refuses(403, "Revoked", &[]);

    let metrics = operator.metrics().await;
    for (door, reason, count) in [
        ("operator", "Issued", 1),
        ("operator", "Renewed", 1),
        ("est", "Issued", 1),
        ("est", "Renewed", 1),
    ] {
        assert_eq!(issued(&metrics, door, reason), count, "{door} {reason}");
    }
    for reason in [
        "CredentialsMissing",
        "WrongPassword",
        "UnknownLabel",
        "InvalidRegistrationId",
        "NameNotAllowed",
        "SubjectMismatch",
        "Revoked",
    ] {
        assert_eq!(refused(&metrics, "est", reason), 1, "{reason}");
    }
    // Tried again when the device's status comes back through the watch, and then only now and then.
    let tries = refused(&metrics, "operator", "NameNotAllowed");
    assert!((1..=3).contains(&tries), "{tries}");
    for (resource, verb) in [
        ("secrets", "create"),
        ("secrets", "patch"),
        ("deviceidentities", "create"),
        ("deviceidentities/status", "patch"),
        ("certificateauthorities/status", "patch"),
        ("enrollmentgroups/status", "patch"),
        ("events", "create"),
    ] {
        let labels = [("resource", resource), ("verb", verb)];
        assert!(
            metrics.count("devicecert_api_writes_total", &labels) > 0,
            "{resource} {verb}"
        );
    }
    for controller in ["authority", "group", "device"] {
        let labels = [("controller", controller)];
        let looks = metrics.count("devicecert_reconcile_duration_seconds_count", &labels);
        assert!(looks > 0, "{controller}");
    }
}
