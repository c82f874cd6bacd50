//! `kubectl describe` alone explains why there is no certificate, and what to do.

use devicecert::api::DeviceIdentity;
use serde_json::json;

use super::in_order;
use crate::harness::{CONVERGES, World, device, eventually, group};

#[tokio::test]
async fn describing_a_device_tells_what_is_missing_and_what_to_do() {
    let world = World::new().await;
    world.pki(json!({ "allowedNames": { "dnsNames": ["${registrationId}.example.com"] }, "registrationId": { "pattern": "[a-z-]+" } })).await;
    world.create(group("orphan", "no-such-ca", json!({}))).await;
    world
        .create(device(
            "no-group",
            "no-such-group",
            json!({ "secretName": "a" }),
        ))
        .await;
    world
        .create(device(
            "no-authority",
            "orphan",
            json!({ "secretName": "b" }),
        ))
        .await;
    world
        .create(device(
            "wrong-name",
            "g",
            json!({ "secretName": "c", "dnsNames": ["www.bank.example"] }),
        ))
        .await;
    world
        .create(device("wrong-id-7", "g", json!({ "secretName": "d" })))
        .await;
    let namespace = &world.namespace;
    let cases = [
        (
            "no-group",
            "GroupNotFound",
            format!("there is no EnrollmentGroup {namespace}/no-such-group: create it"),
        ),
        (
            "no-authority",
            "AuthorityNotFound",
            format!("there is no CertificateAuthority {namespace}/no-such-ca: create it"),
        ),
        (
            "wrong-name",
            "NameNotAllowed",
            "\"www.bank.example\" is not within the group's allowedNames.dnsNames".into(),
        ),
        (
            "wrong-id-7",
            "RegistrationIdNotAllowed",
            "wrong-id-7".into(),
        ),
    ];
    let _operator = world.operator(&[]).await;
    for (name, reason, words) in cases {
        world.until::<DeviceIdentity>(name, reason).await;
        let described = eventually(format!("an Event says {reason}"), CONVERGES, async || {
            let described = world.kubectl(&["describe", "did", name]);
            match flowing(&described).contains(&format!("Warning {reason}")) {
                true => Ok(described),
                false => Err(described),
            }
        })
        .await;
        let (conditions, events) = described.split_once("Events:").unwrap();
        for (part, text) in [("the conditions", conditions), ("the Events", events)] {
            assert!(
                flowing(text).contains(&words),
                "{part} of {name} do not say {words:?}:\n{described}"
            );
        }
        assert!(
            conditions.contains(&format!("Reason:                {reason}")),
            "{described}"
        );
    }
}

#[tokio::test]
async fn describing_a_device_tells_its_story() {
    let world = World::new().await;
    world.pki(json!({})).await;
    world
        .create(device("d", "g", json!({ "secretName": "s" })))
        .await;
    let _operator = world.operator(&[]).await;
    world.until::<DeviceIdentity>("d", "True").await;
    world.renew("d").await;
    eventually("d is renewed, its Secret too", CONVERGES, async || {
        let contents = in_order(&world, "d", "s").await?;
        match world.record("d").await.len() {
            2 => Ok(contents),
            other => Err(other.to_string()),
        }
    })
    .await;
    world
        .delete::<k8s_openapi::api::core::v1::Secret>("s")
        .await;
    let story = [
        "Normal Issued",
        "the first certificate was issued",
        "Normal Renewed",
        "the certificate was renewed",
        "Normal SecretRestored",
        "the Secret was deleted; a new certificate was put in its place",
    ];
    eventually("Events tell the story", CONVERGES, async || {
        let described = flowing(&world.kubectl(&["describe", "did", "d"]));
        match story.iter().find(|words| !described.contains(**words)) {
            None => Ok(()),
            Some(words) => Err(format!("{words:?} is not in {described}")),
        }
    })
    .await;
}

/// On one line, so that columns do not matter.
fn flowing(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
