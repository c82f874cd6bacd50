//! One-time tokens: good once, for one device, however often and from wherever they are tried.

use devicecert::{
    api::{DeviceIdentity, EnrollmentToken},
    policy::TokenText,
};
use serde_json::{Value, json};

use super::{Scene, scene};
use crate::harness::{Device, fingerprint};

/// A group that takes tokens and passwords of pre-registered devices.
async fn with_tokens() -> Scene {
    scene(json!({}), json!({ "authentication": { "tokens": {} } })).await
}

/// Creates an EnrollmentToken, and returns its text.
async fn token(scene: &Scene, name: &str, more: Value) -> String {
    let text = TokenText::new(name, &[42; 32]);
    let mut spec = json!({
        "groupRef": { "name": "g" },
        "expiresAt": "2099-01-01T00:00:00Z",
        "tokenHash": text.hash().to_string(),
    });
    crate::harness::merge(&mut spec, more);
    let object = json!({
        "apiVersion": "devicecert.dev/v1alpha1",
        "kind": "EnrollmentToken",
        "metadata": { "name": name },
        "spec": spec,
    });
    scene.world.create(object).await;
    text.reveal().to_owned()
}

#[tokio::test]
async fn a_token_registers_its_device_once_as_a_password_or_as_bearer() {
    let scene = with_tokens().await;
    let first = token(&scene, "t1", json!({ "registrationId": "cam-1" })).await;
    let second = token(
        &scene,
        "t2",
        json!({ "registrationIdPattern": "cam-[0-9]" }),
    )
    .await;
    let (cam1, cam2) = (Device::new("cam-1"), Device::new("cam-2"));
    let wrong = scene
        .anonymous
        .user("x", &first)
        .enroll("", &cam2.csr())
        .await;
    wrong.refuses(403, "IdNotAllowed", &["t1", "cam-2"]);
    let certificate = scene
        .anonymous
        .user("x", &first)
        .enroll("", &cam1.csr())
        .await
        .certificate();
    cam1.owns(&certificate);
    let consumed: EnrollmentToken = scene.world.get("t1").await;
    let consumed = consumed.status.unwrap().consumed.unwrap();
    assert_eq!(consumed.registration_id, "cam-1");
    let device: DeviceIdentity = scene.world.get("cam-1").await;
    let newest = device.status.unwrap().certificate.unwrap();
    assert_eq!(
        (newest.requester.as_str(), newest.key_fingerprint),
        ("Token/t1", consumed.key_fingerprint)
    );
    let bearer = scene.anonymous.bearer(&second);
    cam2.owns(&bearer.enroll("", &cam2.csr()).await.certificate());
    bearer
        .enroll("", &Device::new("cam-3").csr())
        .await
        .refuses(403, "TokenConsumed", &["t2"]);
    let log = scene.operator.log();
    assert!(
        !log.contains(&first) && !log.contains(&second),
        "a token is in the log"
    );
}

#[tokio::test]
async fn whoever_lost_the_answer_tries_again_until_the_certificate_is_used() {
    let scene = with_tokens().await;
    let text = token(&scene, "t1", json!({ "registrationId": "cam-1" })).await;
    let client = scene.anonymous.user("", &text);
    let (lost, kept) = (Device::new("cam-1"), Device::new("cam-1"));
    client.enroll("", &lost.csr()).await.certificate();
    let certificate = client.enroll("", &kept.csr()).await.certificate();
    let renewed = scene
        .anonymous
        .certificate(&certificate, &kept.key)
        .reenroll("", &kept.csr())
        .await;
    assert_eq!(
        scene.world.record("cam-1").await[0],
        fingerprint(&renewed.certificate())
    );
    client
        .enroll("", &Device::new("cam-1").csr())
        .await
        .refuses(403, "TokenConsumed", &["used already"]);
}

#[tokio::test]
async fn what_is_refused_does_not_use_the_token_up() {
    let scene = with_tokens().await;
    let text = token(&scene, "t1", json!({ "registrationId": "cam-1" })).await;
    let client = scene.anonymous.user("", &text);
    let device = Device::new("cam-1");
    client
        .enroll("", &device.csr_with(&["evil.example"]))
        .await
        .refuses(403, "NameNotAllowed", &[]);
    let unused: EnrollmentToken = scene.world.get("t1").await;
    assert_eq!(unused.status, None);
    device.owns(&client.enroll("", &device.csr()).await.certificate());
}

#[tokio::test]
async fn bad_tokens_are_refused_alike_and_expired_ones_in_words() {
    let scene = with_tokens().await;
    let expired = json!({ "registrationId": "cam-1", "expiresAt": "2001-01-01T00:00:00Z" });
    let old = token(&scene, "old", expired).await;
    token(&scene, "t1", json!({ "registrationId": "cam-1" })).await;
    let csr = Device::new("cam-1").csr();
    scene
        .anonymous
        .user("", &old)
        .enroll("", &csr)
        .await
        .refuses(403, "TokenExpired", &["expired at 2001"]);
    let other = TokenText::new("t1", &[1; 32]);
    let missing = TokenText::new("missing", &[1; 32]);
    for text in [other.reveal(), missing.reveal()] {
        let reply = scene.anonymous.user("", text).enroll("", &csr).await;
        reply.refuses(401, "WrongToken", &["unknown, or not for this group"]);
    }
    scene
        .anonymous
        .bearer("no-token")
        .enroll("", &csr)
        .await
        .refuses(401, "WrongToken", &[]);
    // In a group that takes none.
    let label = scene.world.served_group("closed", json!({})).await;
    let reply = scene
        .anonymous
        .user("", other.reveal())
        .enroll(&label, &csr)
        .await;
    reply.refuses(403, "TokensDisabled", &["the device's certificate"]);
}

#[tokio::test]
async fn of_many_devices_at_once_one_gets_the_token() {
    let scene = with_tokens().await;
    let text = token(
        &scene,
        "t1",
        json!({ "registrationIdPattern": "cam-[0-9]+" }),
    )
    .await;
    let devices: Vec<Device> = (0..8)
        .map(|number| Device::new(&format!("cam-{number}")))
        .collect();
    let client = scene.anonymous.user("", &text);
    let csrs: Vec<String> = devices.iter().map(Device::csr).collect();
    let replies = futures::future::join_all(csrs.iter().map(|csr| client.enroll("", csr))).await;
    let granted = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(
        granted,
        1,
        "{:?}",
        replies.iter().map(|reply| &reply.body).collect::<Vec<_>>()
    );
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        reply.refuses(403, "TokenConsumed", &[]);
    }
}

#[tokio::test]
async fn a_token_for_many_devices_takes_no_living_one_over() {
    let scene = with_tokens().await;
    let own = token(&scene, "own", json!({ "registrationId": "cam-1" })).await;
    let device = Device::new("cam-1");
    let client = scene.anonymous.user("", &own);
    device.owns(&client.enroll("", &device.csr()).await.certificate());
    let many = token(&scene, "many", json!({ "registrationIdPattern": "cam-.*" })).await;
    let thief = scene
        .anonymous
        .user("", &many)
        .enroll("", &Device::new("cam-1").csr())
        .await;
    thief.refuses(403, "SameKeyRequired", &["token"]);
    // A token for this very device may: somebody made it for that.
    let anew = token(&scene, "anew", json!({ "registrationId": "cam-1" })).await;
    let replaced = Device::new("cam-1");
    replaced.owns(
        &scene
            .anonymous
            .user("", &anew)
            .enroll("", &replaced.csr())
            .await
            .certificate(),
    );
}
