//! Metrics and health: names, values, bounds; judged by promtool.

mod counters;

use std::fs;

use devicecert::api::DeviceIdentity;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::harness::{
    CONVERGES, Device, Est, PASSWORD, World, device, eventually, htpasswd, password_secret, run_in,
};

async fn with_passwords(world: &World, more: serde_json::Value) {
    world
        .create(password_secret("users", &htpasswd(&[("u", PASSWORD)])))
        .await;
    let passwords =
        json!({ "secretRef": { "name": "users" }, "registration": "Open", "existing": "Any" });
    let mut spec = json!({ "authentication": { "passwords": passwords } });
    crate::harness::merge(&mut spec, more);
    world.pki(spec).await;
}

#[tokio::test]
async fn the_gauges_tell_the_fleet_and_promtool_finds_no_fault() {
    let world = World::new().await;
    with_passwords(&world, json!({ "profile": { "validity": "12h" } })).await;
    let operator = world.operator(&["--metrics-soonest", "3"]).await;
    world.until_pki().await;
    for number in 0..10 {
        let name = format!("d{number}");
        world
            .create(device(
                &name,
                "g",
                json!({ "secretName": format!("{name}-tls") }),
            ))
            .await;
    }
    world.create(device("waiting", "g", json!({}))).await;
    for number in 0..10 {
        world
            .until::<DeviceIdentity>(&format!("d{number}"), "True")
            .await;
    }
    let ours = ("group", "g");
    let metrics = eventually("the gauges show the fleet", CONVERGES, async || {
        let metrics = operator.metrics().await;
        let active = metrics.count("devicecert_group_identities", &[ours, ("phase", "Active")]);
        if active == 10 {
            Ok(metrics)
        } else {
            Err(active)
        }
    })
    .await;
    assert_eq!(
        metrics.count("devicecert_group_identities", &[ours, ("phase", "Pending")]),
        1
    );
    assert_eq!(
        metrics.count(
            "devicecert_group_expiring_identities",
            &[ours, ("within", "1d")]
        ),
        10
    );
    assert_eq!(
        metrics.count(
            "devicecert_group_expiring_identities",
            &[ours, ("within", "1h")]
        ),
        0
    );
    assert_eq!(
        metrics
            .series("devicecert_identity_expiration_timestamp_seconds", &[ours])
            .count(),
        3
    );
    assert_eq!(
        metrics
            .series("devicecert_authority_expiration_timestamp_seconds", &[])
            .count(),
        2
    );
    assert_eq!(metrics.count("devicecert_authority_ready", &[]), 2);
    assert_eq!(metrics.count("devicecert_fleet_synced", &[]), 1);
    let first: DeviceIdentity = world.get("d0").await;
    let expiry = first
        .status
        .unwrap()
        .certificate
        .unwrap()
        .not_after
        .0
        .as_second() as f64;
    let soonest = metrics
        .sum(
            "devicecert_group_next_expiration_timestamp_seconds",
            &[ours],
        )
        .unwrap();
    assert!((expiry - soonest).abs() < 120.0, "{expiry} and {soonest}");

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("metrics"), &metrics.0).unwrap();
    let promtool = crate::harness::tool("promtool");
    run_in(
        dir.path(),
        &format!("'{}' check metrics < metrics", promtool.display()),
    )
    .unwrap();
}

#[tokio::test]
async fn every_certificate_costs_as_few_writes_as_promised() {
    let world = World::new().await;
    with_passwords(&world, json!({})).await;
    let group = format!("{}/g", world.namespace);
    let operator = world.operator_with_est(&["--est-default", &group]).await;
    world.until_pki().await;
    // Writes about devices; Events and the group's counts are apart.
    let writes = async || {
        let metrics = operator.metrics().await;
        let count =
            |resource| metrics.count("devicecert_api_writes_total", &[("resource", resource)]);
        count("deviceidentities") + count("deviceidentities/status") + count("secrets")
    };

    let before = writes().await;
    world
        .create(device("inside", "g", json!({ "secretName": "inside-tls" })))
        .await;
    world.until::<DeviceIdentity>("inside", "True").await;
    assert_eq!(
        writes().await - before,
        3,
        "a first certificate in a Secret"
    );

    // Asked for in a second that has begun after the first was issued: else the change is noted first, and renewed then.
    let issued = jiff::Timestamp::now().as_second();
    let second = eventually("a second has passed", CONVERGES, async || {
        let now = jiff::Timestamp::now().as_second();
        if now > issued { Ok(now) } else { Err(now) }
    })
    .await;
    let renew_after = jiff::Timestamp::from_second(second).unwrap().to_string();
    let before = writes().await;
    let old = world.record("inside").await;
    let patch = json!({ "spec": { "renewAfter": renew_after } });
    world.patch::<DeviceIdentity>("inside", patch).await;
    eventually(
        "the certificate is renewed and in its Secret",
        CONVERGES,
        async || {
            let record = world.record("inside").await;
            let secret: Secret = world.get("inside-tls").await;
            let shown =
                secret.metadata.annotations.unwrap()["devicecert.dev/certificate-fingerprint"]
                    .clone();
            if record != old && record[0] == shown {
                Ok(())
            } else {
                Err(format!("{record:?} {shown}"))
            }
        },
    )
    .await;
    assert_eq!(writes().await - before, 2, "its renewal");

    let est = Est::of(&world, &operator).await;
    let outside = Device::new("outside");
    let before = writes().await;
    let certificate = est
        .user("u", PASSWORD)
        .enroll("", &outside.csr())
        .await
        .certificate();
    world.until::<DeviceIdentity>("outside", "True").await;
    assert_eq!(writes().await - before, 2, "a first enrolment over EST");
    let before = writes().await;
    est.certificate(&certificate, &outside.key)
        .reenroll("", &outside.csr())
        .await
        .certificate();
    assert_eq!(writes().await - before, 1, "a renewal over EST");
}

#[tokio::test]
async fn health_and_readiness_answer_in_words() {
    let world = World::new().await;
    let operator = world.operator(&[]).await;
    assert_eq!(
        operator.get("/healthz").await.unwrap(),
        (200, "ok\n".to_string())
    );
    assert_eq!(operator.get("/readyz").await.unwrap().0, 200);
    assert_eq!(operator.get("/nothing").await.unwrap().0, 404);
}
