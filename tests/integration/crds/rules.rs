//! What the API server refuses, what it accepts, and that no rule is left without an object that it refuses.

use std::fs;

use devicecert::api::{CertificateAuthority, DeviceIdentity, EnrollmentGroup, KeyDeletion};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use super::cases::{REQUEST, changes, creations};
use crate::harness::{World, authority, device, group};

fn api(world: &World, object: &Value) -> Api<DynamicObject> {
    let kind = object["kind"].as_str().unwrap();
    let kind = GroupVersionKind::gvk("devicecert.dev", "v1alpha1", kind);
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(world.client.clone(), &world.namespace, &resource)
}

/// Creates nothing, but asks whether the object may be.
async fn dry_create(world: &World, object: &Value) -> Result<DynamicObject, String> {
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let object_in_full = serde_json::from_value(object.clone()).unwrap();
    let result = api(world, object).create(&dry, &object_in_full).await;
    result.map_err(|e| e.to_string())
}

/// Changes nothing, but asks whether the change may be.
async fn dry_change(world: &World, object: &Value, spec: Value) -> Result<DynamicObject, String> {
    let dry = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let name = object["metadata"]["name"].as_str().unwrap();
    let patch = Patch::Merge(json!({ "spec": spec }));
    let result = api(world, object).patch(name, &dry, &patch).await;
    result.map_err(|e| e.to_string())
}

#[tokio::test]
async fn objects_that_cannot_be_are_refused_in_words() {
    let world = World::new().await;
    for (object, words) in creations() {
        let refusal = dry_create(&world, &object)
            .await
            .map(|_| "it was accepted".to_string())
            .unwrap_or_else(|words| words);
        assert!(
            refusal.contains(words),
            "{object}\n{refusal}\nshould say: {words}"
        );
    }
}

#[tokio::test]
async fn what_must_not_change_cannot_be_changed() {
    let world = World::new().await;
    for (number, (mut object, spec, words)) in changes().into_iter().enumerate() {
        let name = format!("{}-{number}", object["metadata"]["name"].as_str().unwrap());
        object["metadata"]["name"] = json!(name);
        world.create(object.clone()).await;
        let refusal = dry_change(&world, &object, spec.clone())
            .await
            .map(|_| "it was accepted".to_string())
            .unwrap_or_else(|words| words);
        assert!(
            refusal.contains(words),
            "{object}\n{spec}\n{refusal}\nshould say: {words}"
        );
    }
}

#[test]
fn every_rule_has_an_object_that_it_refuses() {
    let mut messages = Vec::new();
    for file in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/crds")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for crd in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            collect_messages(&crd, &mut messages);
        }
    }
    assert!(messages.len() >= 20, "{messages:?}");
    let words: Vec<&str> = creations()
        .into_iter()
        .map(|(_, words)| words)
        .chain(changes().into_iter().map(|(_, _, words)| words))
        .collect();
    for message in messages {
        assert!(
            words.iter().any(|words| message.contains(words)),
            "no case is refused by: {message}"
        );
    }
}

fn collect_messages(value: &Value, messages: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == "x-kubernetes-validations" {
                    let rules = value.as_array().unwrap().iter();
                    messages
                        .extend(rules.map(|rule| rule["message"].as_str().unwrap().to_string()));
                }
                collect_messages(value, messages);
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_messages(item, messages)),
        _ => {}
    }
}

#[tokio::test]
async fn unknown_fields_are_refused_by_kubectl() {
    let world = World::new().await;
    let mut misspelled = group("g", "ca", json!({ "profile": { "validty": "1d" } }));
    misspelled["metadata"]["namespace"] = json!(world.namespace);
    let create = ["create", "--dry-run=server", "-f", "-"];
    let refusal = world
        .cluster
        .kubectl(&create, &misspelled.to_string())
        .unwrap_err();
    assert!(
        refusal.contains("unknown field \"spec.profile.validty\""),
        "{refusal}"
    );
}

#[tokio::test]
async fn objects_of_every_kind_in_use_are_accepted() {
    let world = World::new().await;
    let algorithms = [
        "ECDSA-P256",
        "ECDSA-P384",
        "RSA-2048",
        "RSA-3072",
        "RSA-4096",
        "Ed25519",
    ];
    let mut objects: Vec<Value> = algorithms
        .iter()
        .map(|algorithm| authority("ca", json!({ "selfSigned": {}, "keyAlgorithm": algorithm })))
        .collect();
    for validity in ["60s", "24h", "90d", "20y", "1h30m", "2160h0m0s"] {
        objects.push(authority(
            "ca",
            json!({ "selfSigned": {}, "validity": validity }),
        ));
    }
    objects.push(authority(
        &"n".repeat(63),
        json!({ "issuedBy": { "name": "a.dotted.name" }, "pathLength": 0 }),
    ));
    for threshold in ["1%", "99%", "30m", "7d"] {
        objects.push(group(
            "g",
            "ca",
            json!({ "renewal": { "threshold": threshold, "retry": "4%" } }),
        ));
    }
    objects.push(device(&"n".repeat(64), "g", json!({})));
    objects.push(device(
        "i",
        "g",
        json!({ "registrationId": "I.P-v6_addr:9" }),
    ));
    objects.push(device("r", "g", json!({ "request": REQUEST })));
    let new = REQUEST
        .replace("BEGIN ", "BEGIN NEW ")
        .replace("END ", "END NEW ");
    objects.push(device("r", "g", json!({ "request": new })));
    for object in objects {
        dry_create(&world, &object)
            .await
            .unwrap_or_else(|refusal| panic!("{object}\n{refusal}"));
    }
}

#[tokio::test]
async fn what_may_change_can_be_changed() {
    let world = World::new().await;
    world
        .create(authority("ca", json!({ "selfSigned": {} })))
        .await;
    let spec = json!({ "spec": { "suspended": true, "keyDeletion": "Delete" } });
    let ca: CertificateAuthority = world.patch("ca", spec).await;
    assert!(ca.spec.suspended && ca.spec.key_deletion == KeyDeletion::Delete);
    world.create(device("d", "g", json!({}))).await;
    for state in ["Suspended", "Active", "Suspended", "Revoked", "Revoked"] {
        let spec = json!({ "state": state, "dnsNames": ["a.example"], "renewAfter": "2030-01-01T00:00:00Z" });
        let changed: DeviceIdentity = world.patch("d", json!({ "spec": spec })).await;
        assert_eq!(serde_json::to_value(changed.spec.state).unwrap(), state);
    }
    world.create(group("g", "ca", json!({}))).await;
    let spec = json!({ "authorityRef": { "name": "other" }, "provisioningStatus": "Disabled" });
    let changed: EnrollmentGroup = world.patch("g", json!({ "spec": spec })).await;
    assert_eq!(changed.spec.authority_ref.name, "other");
}

#[tokio::test]
async fn what_is_left_out_gets_its_default() {
    let world = World::new().await;
    let ca = dry_create(&world, &authority("ca", json!({ "selfSigned": {} })))
        .await
        .unwrap();
    assert_eq!(
        ca.data["spec"],
        json!({
            "selfSigned": {}, "keyAlgorithm": "ECDSA-P256", "validity": "10y", "suspended": false, "keyDeletion": "Retain",
        })
    );
    let passwords =
        json!({ "authentication": { "passwords": { "secretRef": { "name": "users" } } } });
    let rules = dry_create(&world, &group("g", "ca", passwords))
        .await
        .unwrap();
    assert_eq!(
        rules.data["spec"],
        json!({
            "provisioningStatus": "Enabled",
            "authorityRef": { "name": "ca" },
            "authentication": {
                "passwords": { "secretRef": { "name": "users" }, "registration": "PreRegistered", "existing": "SameKey" },
                "channelBinding": "Optional",
            },
            "approval": "Automatic",
            "pending": "Poll",
            "limits": { "certificatesPerHour": 60, "pendingRequests": 1000 },
            "registrationId": {},
            "allowedNames": {},
            "profile": {
                "validity": "90d",
                "subject": "CN=${registrationId}",
                "keyUsages": ["digitalSignature"],
                "extendedKeyUsages": ["clientAuth"],
                "keyAlgorithm": "ECDSA-P256",
                "isCA": false,
                "registrationAuthority": false,
                "serverKeygen": "Disabled",
                "changeSubjectName": "Refused",
            },
            "renewal": { "threshold": "80%", "retry": "4%", "rotateKey": true },
        })
    );
    let one = dry_create(&world, &device("d", "g", json!({})))
        .await
        .unwrap();
    assert_eq!(
        one.data["spec"],
        json!({ "groupRef": { "name": "g" }, "state": "Active" })
    );
    assert_eq!(one.name_any(), "d");
}
