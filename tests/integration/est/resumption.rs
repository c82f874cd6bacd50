//! A resumed TLS session carries the client certificate of the first one: it must prove no more than that certificate does now.

use std::time::Duration;

use devicecert::api::DeviceIdentity;
use serde_json::json;

use super::{Scene, open, scene};
use crate::harness::{CONVERGES, Device, condition, eventually};

/// How many handshakes resumed a session.
async fn resumed(scene: &Scene) -> f64 {
    let metrics = scene.operator.metrics().await;
    metrics
        .sum("devicecert_est_handshakes_resumed_total", &[])
        .unwrap_or_default()
}

async fn set_state(scene: &Scene, id: &str, state: &str) {
    let patch = json!({ "spec": { "state": state } });
    scene.world.patch::<DeviceIdentity>(id, patch).await;
}

#[tokio::test]
async fn a_session_from_before_opens_nothing_that_its_certificate_does_not_open_now() {
    let scene = scene(open(), json!({})).await;
    let elsewhere = scene.world.served_group("elsewhere", json!({})).await;
    let device = Device::new("d");
    let client = scene.enrolled(&device).await;
    // The first handshake is full, and the answer brings the ticket.
    client.authorities("").await;
    let before = resumed(&scene).await;

    device.owns(&client.reenroll("", &device.csr()).await.certificate());
    client
        .reenroll(&elsewhere, &device.csr())
        .await
        .refuses(403, "WrongGroup", &[]);
    client
        .enroll("", &Device::new("other").csr())
        .await
        .refuses(403, "SubjectMismatch", &[]);
    set_state(&scene, "d", "Suspended").await;
    client
        .reenroll("", &device.csr())
        .await
        .refuses(403, "Suspended", &["d"]);
    set_state(&scene, "d", "Active").await;
    device.owns(&client.reenroll("", &device.csr()).await.certificate());
    set_state(&scene, "d", "Revoked").await;
    client
        .reenroll("", &device.csr())
        .await
        .refuses(403, "Revoked", &["d"]);
    assert_eq!(resumed(&scene).await, before + 6.0);
}

#[tokio::test]
async fn an_expired_registration_authority_enrols_nobody_though_its_session_is_from_before() {
    let listed = json!([{ "authorityRef": { "name": "ca" }, "subject": "CN=ra-1" }]);
    let more = json!({ "authentication": { "registrationAuthorities": listed } });
    let scene = scene(json!({}), more).await;
    let users =
        json!({ "passwords": { "secretRef": { "name": "users" }, "registration": "Open" } });
    let profile = json!({ "registrationAuthority": true, "validity": "60s" });
    let ras = json!({ "authentication": users, "profile": profile });
    let label = scene.world.served_group("ras", ras).await;
    let ra = Device::new("ra-1");
    let certificate = eventually("ra-1 is enrolled", CONVERGES, async || {
        let reply = scene.user.enroll(&label, &ra.csr()).await;
        match reply.status {
            200 => Ok(reply.certificate()),
            _ => Err(reply.body),
        }
    })
    .await;
    let client = scene.anonymous.certificate(&certificate, &ra.key);
    let device = Device::new("meter-1");
    device.owns(&client.enroll("", &device.csr()).await.certificate());
    // In the name of itself it is a device of another group, and makes no second of its kind.
    client
        .enroll("", &ra.csr())
        .await
        .refuses(403, "WrongGroup", &[]);
    client
        .enroll(&label, &Device::new("ra-2").csr())
        .await
        .refuses(403, "RegistrationAuthorityNotListed", &[]);

    let deadline = Duration::from_secs(75) + CONVERGES;
    eventually("ra-1 shows as expired", deadline, async || {
        let found: DeviceIdentity = scene.world.get("ra-1").await;
        match condition(&found, "Ready").map(|ready| ready.reason) {
            Some(reason) if reason == "Expired" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let before = resumed(&scene).await;
    client
        .reenroll(&label, &ra.csr())
        .await
        .refuses(403, "CertificateExpired", &[]);
    // Without a valid certificate it is a device like any other, and that of another group.
    client
        .enroll("", &Device::new("meter-2").csr())
        .await
        .refuses(403, "WrongGroup", &[]);
    assert_eq!(resumed(&scene).await, before + 2.0);
}
