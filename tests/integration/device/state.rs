//! Devices that may not have certificates: suspended, revoked, misnamed, malformed.

use devicecert::api::{DeviceIdentity, DevicePhase};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use serde_json::json;

use super::in_order;
use crate::harness::{CONVERGES, Device, World, condition, device, eventually};

#[tokio::test]
async fn suspended_and_revoked_devices_get_nothing() {
    let world = World::new().await;
    world.pki(json!({})).await;
    let requester = Device::new("revoked-request");
    world
        .create(device(
            "suspended",
            "g",
            json!({ "secretName": "suspended", "state": "Suspended" }),
        ))
        .await;
    world
        .create(device(
            "revoked",
            "g",
            json!({ "secretName": "revoked", "state": "Revoked" }),
        ))
        .await;
    world
        .create(device(
            "revoked-request",
            "g",
            json!({ "request": requester.csr_pem(), "state": "Revoked" }),
        ))
        .await;
    world
        .create(device("active", "g", json!({ "secretName": "active" })))
        .await;
    let _operator = world.operator(&[]).await;
    world.until::<DeviceIdentity>("active", "True").await;
    world
        .until::<DeviceIdentity>("suspended", "Suspended")
        .await;
    world.until::<DeviceIdentity>("revoked", "Revoked").await;
    world
        .until::<DeviceIdentity>("revoked-request", "Revoked")
        .await;
    for name in ["suspended", "revoked", "revoked-request"] {
        assert_eq!(world.record(name).await, [""; 0], "{name}");
        assert!(
            world.api::<Secret>().get_opt(name).await.unwrap().is_none(),
            "{name}"
        );
    }

    // An active one that is suspended is not renewed, nor is its Secret put back; then it is active again.
    let before = world.record("active").await;
    let now = jiff::Timestamp::now().to_string();
    world
        .patch::<DeviceIdentity>(
            "active",
            json!({ "spec": { "state": "Suspended", "renewAfter": now } }),
        )
        .await;
    let stopped: DeviceIdentity = world.until("active", "Suspended").await;
    assert_eq!(stopped.status.unwrap().phase, Some(DevicePhase::Suspended));
    world.delete::<Secret>("active").await;
    // A device that is served after the deletion was seen shows that the suspended one has had its turn.
    world
        .create(device("witness", "g", json!({ "secretName": "witness" })))
        .await;
    world.until::<DeviceIdentity>("witness", "True").await;
    assert_eq!(world.record("active").await, before);
    assert!(
        world
            .api::<Secret>()
            .get_opt("active")
            .await
            .unwrap()
            .is_none()
    );
    world
        .patch::<DeviceIdentity>("active", json!({ "spec": { "state": "Active" } }))
        .await;
    eventually("it is served again", CONVERGES, async || {
        in_order(&world, "active", "active").await.map(drop)
    })
    .await;

    world
        .patch::<DeviceIdentity>("active", json!({ "spec": { "state": "Revoked" } }))
        .await;
    let revoked: DeviceIdentity = world.until("active", "Revoked").await;
    assert!(
        condition(&revoked, "Ready")
            .unwrap()
            .message
            .contains("final")
    );
}

#[tokio::test]
async fn a_revocation_is_not_forgotten_when_status_is_lost() {
    let world = World::new().await;
    world.pki(json!({})).await;
    world
        .create(device("d", "g", json!({ "secretName": "s" })))
        .await;
    let _operator = world.operator(&[]).await;
    world.until::<DeviceIdentity>("d", "True").await;
    world
        .patch::<DeviceIdentity>("d", json!({ "spec": { "state": "Revoked" } }))
        .await;
    world.until::<DeviceIdentity>("d", "Revoked").await;
    let nothing =
        json!({ "certificate": null, "conditions": null, "phase": null, "previous": null });
    world.patch_status::<DeviceIdentity>("d", nothing).await;
    world.until::<DeviceIdentity>("d", "Revoked").await;
    world.delete::<Secret>("s").await;
    world
        .create(device("witness", "g", json!({ "secretName": "witness" })))
        .await;
    world.until::<DeviceIdentity>("witness", "True").await;
    assert_eq!(world.record("d").await, [""; 0]);
    assert!(world.api::<Secret>().get_opt("s").await.unwrap().is_none());
}

#[tokio::test]
async fn a_wrong_name_is_told_the_right_one() {
    let world = World::new().await;
    world.pki(json!({})).await;
    let camera = json!({ "registrationId": "Cam-1", "secretName": "camera" });
    world.create(device("camera", "g", camera)).await;
    world
        .create(device(
            "colon",
            "g",
            json!({ "registrationId": "00:1B:44", "secretName": "colon" }),
        ))
        .await;
    let _operator = world.operator(&[]).await;
    let wrong: DeviceIdentity = world.until("camera", "NameMismatch").await;
    let words = condition(&wrong, "Ready").unwrap().message;
    assert!(
        words.contains("create the DeviceIdentity as \"cam-1\""),
        "{words}"
    );
    assert_eq!(world.record("camera").await, [""; 0]);

    // The name that the words say is one that works.
    let wrong: DeviceIdentity = world.until("colon", "NameMismatch").await;
    let words = condition(&wrong, "Ready").unwrap().message;
    let right = words
        .split("create the DeviceIdentity as \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_string();
    assert!(right.starts_with("00-1b-44--x"), "{words}");
    world
        .create(device(
            &right,
            "g",
            json!({ "registrationId": "00:1B:44", "secretName": "right" }),
        ))
        .await;
    world.until::<DeviceIdentity>(&right, "True").await;
    assert_eq!(
        in_order(&world, &right, "right")
            .await
            .unwrap()
            .leaf()
            .subject,
        "CN=00:1B:44"
    );
}

/// A CRD of an older or newer version may let objects through that this operator cannot read.
#[tokio::test]
async fn a_malformed_object_does_not_stop_the_others() {
    let world = World::new().await;
    world.pki(json!({})).await;
    let _operator = world.operator(&[]).await;
    world.until_pki().await;
    // Names that the schema takes and certificates cannot have.
    world
        .create(device(
            "bad-ip",
            "g",
            json!({ "secretName": "a", "ipAddresses": ["no-address"] }),
        ))
        .await;
    world
        .create(device(
            "bad-dns",
            "g",
            json!({ "secretName": "b", "dnsNames": ["sp ace"] }),
        ))
        .await;
    world
        .create(device(
            "bad-uri",
            "g",
            json!({ "secretName": "c", "uris": [" "] }),
        ))
        .await;
    // A record that cannot be read never counts as no record.
    world
        .create(device(
            "bad-record",
            "g",
            json!({ "secretName": "d", "state": "Suspended" }),
        ))
        .await;
    world
        .until::<DeviceIdentity>("bad-record", "Suspended")
        .await;
    let time = "2030-01-01T00:00:00Z";
    let garbled = json!({ "certificate": {
        "serialNumber": "x", "notBefore": time, "notAfter": time, "renewalTime": time, "fingerprint": "not hex",
        "keyFingerprint": "", "issuerFingerprint": "", "issuer": "", "subject": "", "requestDigest": "", "requester": "",
    } });
    world
        .patch_status::<DeviceIdentity>("bad-record", garbled)
        .await;
    world
        .patch::<DeviceIdentity>("bad-record", json!({ "spec": { "state": "Active" } }))
        .await;

    world
        .create(device("good", "g", json!({ "secretName": "good" })))
        .await;
    world.until::<DeviceIdentity>("good", "True").await;
    for name in ["bad-ip", "bad-dns", "bad-uri"] {
        let told: DeviceIdentity = world.until(name, "InvalidSpec").await;
        assert_eq!(
            told.status.as_ref().unwrap().phase,
            Some(DevicePhase::Pending),
            "{}",
            told.name_any()
        );
    }
    world
        .until::<DeviceIdentity>("bad-record", "StatusLost")
        .await;
    assert!(world.api::<Secret>().get_opt("d").await.unwrap().is_none());
}

/// The schema of a CRD can let values through that the operator cannot even read: here a date that its calendar lacks.
#[tokio::test]
async fn an_object_that_cannot_be_read_is_told_and_does_not_stop_the_others() {
    let world = World::new().await;
    world.pki(json!({})).await;
    // A time that the API server takes, and that lies beyond what can be reckoned with here.
    let never = json!({
        "type": "Ready", "status": "True", "reason": "X", "message": "", "lastTransitionTime": "9999-12-31T23:59:59Z",
    });
    let set_conditions = |name: &str, conditions: serde_json::Value| {
        let patch = json!({ "status": { "conditions": conditions } }).to_string();
        let status = ["--subresource=status", "--type=merge", "--patch", &patch];
        world.kubectl(&[&["patch", "did", name][..], &status].concat());
    };
    let unreadable = json!({ "secretName": "u" });
    world.create(device("unreadable", "g", unreadable)).await;
    set_conditions("unreadable", json!([never]));
    let mut operator = world.operator(&[]).await;
    world
        .create(device("good", "g", json!({ "secretName": "good" })))
        .await;
    world.until::<DeviceIdentity>("good", "True").await;
    // It becomes so while it is watched, too.
    set_conditions("good", json!([never]));
    for name in ["unreadable", "good"] {
        eventually("an Event tells of it", CONVERGES, async || {
            let described = world.kubectl(&["describe", "did", name]);
            match described.contains("InvalidSpec") && described.contains("cannot be read") {
                true => Ok(()),
                false => Err(described),
            }
        })
        .await;
    }
    // Neither is the rest stopped after a restart, when all of it is listed.
    operator.kill();
    operator.restart().await;
    world
        .create(device("other", "g", json!({ "secretName": "other" })))
        .await;
    world.until::<DeviceIdentity>("other", "True").await;
    for name in ["unreadable", "good"] {
        set_conditions(name, json!(null));
        world.until::<DeviceIdentity>(name, "True").await;
    }
}
