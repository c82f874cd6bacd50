//! What a group may demand beside credentials: rules, users' own IDs, keys that are nobody else's, a pace, and room.

use std::time::Duration;

use devicecert::api::{DeviceIdentity, EnrollmentGroup};
use serde_json::json;

use super::{open, scene};
use crate::harness::{CONVERGES, Device, Facts, PASSWORD, condition, eventually, merge};

#[tokio::test]
async fn rules_in_cel_decide_and_broken_ones_give_nothing_out() {
    let rules = json!([
        { "expression": "csr.key.algorithm == 'ECDSA-P256' || principal.type == 'Device'" },
        { "expression": "principal.type != 'Password' || csr.commonName.startsWith(principal.user + '-')", "message": "name the device after your user" },
    ]);
    let scene = scene(open(), json!({ "rules": rules })).await;
    scene
        .user
        .enroll("", &Device::new("x-1").csr())
        .await
        .refuses(403, "RuleViolated", &["name the device after your user"]);
    let device = Device::new("u-1");
    device.owns(&scene.user.enroll("", &device.csr()).await.certificate());
    let broken = json!({ "spec": { "rules": [{ "expression": "request.user == 'x'" }] } });
    scene.world.patch::<EnrollmentGroup>("g", broken).await;
    let invalid: EnrollmentGroup = scene.world.until("g", "GroupInvalid").await;
    let message = condition(&invalid, "Ready").unwrap().message;
    assert!(
        message.contains("spec.rules[0].expression") && message.contains("principal, csr, device"),
        "{message}"
    );
    scene
        .user
        .enroll("", &device.csr())
        .await
        .refuses(503, "GroupInvalid", &["owner"]);
}

#[tokio::test]
async fn each_user_may_claim_its_own_ids() {
    let mut passwords = open();
    let users = json!([{ "name": "u", "registrationIds": "${user}-[0-9]+" }]);
    merge(&mut passwords, json!({ "users": users }));
    let scene = scene(passwords, json!({})).await;
    let device = Device::new("u-1");
    device.owns(&scene.user.enroll("", &device.csr()).await.certificate());
    scene
        .user
        .enroll("", &Device::new("v-1").csr())
        .await
        .refuses(403, "IdNotAllowed", &["the user u", "v-1"]);
    let unlisted = scene.anonymous.user("v", PASSWORD);
    unlisted
        .enroll("", &Device::new("v-1").csr())
        .await
        .refuses(403, "IdNotAllowed", &["the user v"]);
}

#[tokio::test]
async fn a_key_belongs_to_one_device_and_a_compromised_one_to_none() {
    let scene = scene(open(), json!({})).await;
    let first = Device::new("first");
    scene.user.enroll("", &first.csr()).await.certificate();
    let second = Device {
        id: "second".into(),
        key: rcgen::KeyPair::from_pem(&first.key.serialize_pem()).unwrap(),
    };
    let refused = |reason: &'static str| {
        let (scene, second) = (&scene, &second);
        async move {
            // The fleet learns of a record a moment after it was written.
            eventually(
                format!("the key is refused as {reason}"),
                CONVERGES,
                async || {
                    let reply = scene.user.enroll("", &second.csr()).await;
                    if reply.status == 403 && reply.body.starts_with(reason) {
                        Ok(())
                    } else {
                        Err(reply.body)
                    }
                },
            )
            .await;
        }
    };
    refused("KeyInUse").await;
    let revoked = json!({ "spec": { "state": "Revoked", "revocationReason": "KeyCompromise" } });
    scene.world.patch::<DeviceIdentity>("first", revoked).await;
    refused("KeyCompromised").await;
}

#[tokio::test]
async fn a_device_in_a_loop_is_held_back_and_a_full_group_registers_nobody() {
    let limits = json!({ "limits": { "certificatesPerHour": 2, "devices": 1 } });
    let scene = scene(open(), limits).await;
    let device = Device::new("d");
    for _ in 0..2 {
        device.owns(&scene.user.enroll("", &device.csr()).await.certificate());
    }
    let reply = scene.user.enroll("", &device.csr()).await;
    reply.refuses(429, "RenewedTooOften", &["limits.certificatesPerHour"]);
    assert!(reply.header("Retry-After").unwrap().parse::<u32>().unwrap() > 600);
    scene
        .user
        .enroll("", &Device::new("e").csr())
        .await
        .refuses(403, "GroupFull", &["limits.devices"]);
}

#[tokio::test]
async fn a_typed_in_challenge_password_is_refused_with_the_way_out() {
    let scene = scene(open(), json!({})).await;
    let dir = tempfile::tempdir().unwrap();
    let script = "cat > c.cnf <<'END'
[req]
distinguished_name = dn
attributes = more
prompt = no
[dn]
CN = d
[more]
challengePassword = secret
END
openssl req -new -config c.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem 2>/dev/null";
    let csr = run_in_dir(dir.path(), script);
    scene
        .user
        .enroll("", &csr)
        .await
        .refuses(400, "ProofMismatch", &["leave it empty"]);
    let required = json!({ "spec": { "authentication": { "channelBinding": "Required" } } });
    scene.world.patch::<EnrollmentGroup>("g", required).await;
    eventually("the group asks for proof", CONVERGES, async || {
        let reply = scene.user.enroll("", &Device::new("d").csr()).await;
        if reply.body.starts_with("ProofRequired") {
            Ok(())
        } else {
            Err(reply.body)
        }
    })
    .await;
}

fn run_in_dir(dir: &std::path::Path, script: &str) -> String {
    crate::harness::run_in(dir, script).unwrap()
}

#[tokio::test]
async fn an_expired_certificate_recovers_only_where_the_group_lets_it() {
    let scene = scene(
        json!({ "registration": "Open" }),
        json!({ "profile": { "validity": "60s" } }),
    )
    .await;
    let device = Device::new("sleeper");
    let certificate = scene.user.enroll("", &device.csr()).await.certificate();
    let end = Facts::of(&certificate).not_after;
    eventually("it has expired", Duration::from_secs(120), async || {
        let left = end - jiff::Timestamp::now().as_second();
        if left < 0 {
            Ok(())
        } else {
            Err(format!("{left} s left"))
        }
    })
    .await;
    let client = scene.anonymous.certificate(&certificate, &device.key);
    client.reenroll("", &device.csr()).await.refuses(
        403,
        "CertificateExpired",
        &["enrol anew in another way"],
    );
    let window = json!({ "spec": { "authentication": { "recoveryWindow": "1h" } } });
    scene.world.patch::<EnrollmentGroup>("g", window).await;
    let mut renewed = Vec::new();
    eventually("it recovers", CONVERGES, async || {
        let reply = client.reenroll("", &device.csr()).await;
        match reply.status {
            200 => {
                renewed = reply.certificate();
                Ok(())
            }
            _ => Err(reply.body),
        }
    })
    .await;
    device.owns(&renewed);
    // Once: the expired certificate is not the newest any more.
    client
        .reenroll("", &device.csr())
        .await
        .refuses(403, "CertificateExpired", &[]);
    let told = || {
        scene
            .world
            .kubectl(&["get", "events", "--field-selector", "reason=Recovered"])
    };
    eventually("an Event tells", CONVERGES, async || match told() {
        events if events.contains("sleeper") => Ok(()),
        events => Err(events),
    })
    .await;
}
