//! The Secret of a device: what is in it, whose it is, and that it comes back.

use devicecert::api::{CertificateAuthority, ConditionStatus, DeviceIdentity};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::{ResourceExt, api::WatchParams, core::WatchEvent};
use serde_json::json;

use super::{Contents, in_order};
use crate::harness::{
    CONVERGES, RESTORED, World, authority, condition, device, eventually, group, split_pem,
};

#[tokio::test]
async fn the_secret_holds_key_and_chain_and_belongs_to_its_device() {
    let world = World::new().await;
    let names = json!({ "allowedNames": {
        "dnsNames": ["${registrationId}.example.com"], "ipAddresses": ["10.0.0.0/8"], "uris": ["urn:device:${registrationId}"],
    } });
    world.pki(names).await;
    let wanted = json!({
        "registrationId": "Cam-1", "secretName": "cam-1-tls", "dnsNames": ["cam-1.example.com"],
        "ipAddresses": ["10.1.2.3"], "uris": ["urn:device:Cam-1"],
    });
    world.create(device("cam-1", "g", wanted)).await;
    // A group right below the root: tls.crt then has nothing but the leaf.
    world
        .create(group(
            "direct",
            "root",
            json!({ "profile": { "subject": "O=Example,CN=${registrationId}" } }),
        ))
        .await;
    world
        .create(device(
            "cam-2",
            "direct",
            json!({ "secretName": "cam-2-tls" }),
        ))
        .await;
    let _operator = world.operator(&[]).await;

    let cam: DeviceIdentity = world.until("cam-1", "True").await;
    let root: CertificateAuthority = world.get("root").await;
    let contents = in_order(&world, "cam-1", "cam-1-tls").await.unwrap();
    assert_eq!(split_pem(&contents.chain).len(), 2, "leaf and intermediate");
    assert_eq!(contents.roots, root.status.unwrap().chain.unwrap());
    let leaf = contents.leaf();
    assert_eq!(leaf.subject, "CN=Cam-1");
    assert_eq!(
        leaf.names,
        [
            "DNS:cam-1.example.com",
            "IP:10.1.2.3",
            "URI:urn:device:Cam-1"
        ]
    );
    assert!(leaf.ca.is_none_or(|(ca, _)| !ca));
    let recorded = cam.status.clone().unwrap().certificate.unwrap();
    assert_eq!(recorded.serial_number, leaf.serial);
    assert_eq!(
        (
            recorded.not_before.0.as_second(),
            recorded.not_after.0.as_second()
        ),
        (leaf.not_before, leaf.not_after)
    );
    assert_eq!(recorded.pem, None, "the Secret has it");

    let secret: Secret = world.get("cam-1-tls").await;
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    assert_eq!(secret.data.as_ref().unwrap().len(), 3);
    let [owner] = secret.owner_references() else {
        panic!("{:?}", secret.owner_references())
    };
    assert_eq!(
        (owner.kind.as_str(), Some(&owner.uid), owner.controller),
        ("DeviceIdentity", cam.metadata.uid.as_ref(), Some(true))
    );
    assert_eq!(
        contents.annotations["devicecert.dev/serial-number"],
        leaf.serial
    );
    assert_eq!(
        contents.annotations["devicecert.dev/certificate-fingerprint"],
        leaf.fingerprint()
    );
    assert_eq!(
        contents.annotations["devicecert.dev/content-digest"].len(),
        64
    );

    world.until::<DeviceIdentity>("cam-2", "True").await;
    let contents = in_order(&world, "cam-2", "cam-2-tls").await.unwrap();
    assert_eq!(split_pem(&contents.chain).len(), 1);
    assert_eq!(contents.leaf().subject, "CN=cam-2, O=Example");
}

#[tokio::test]
async fn every_key_algorithm_serves_for_devices() {
    let world = World::new().await;
    world
        .create(authority("ca", json!({ "selfSigned": {} })))
        .await;
    let algorithms = [
        "ECDSA-P256",
        "ECDSA-P384",
        "RSA-2048",
        "RSA-3072",
        "Ed25519",
    ];
    for (number, algorithm) in algorithms.iter().enumerate() {
        let name = format!("d{number}");
        world
            .create(group(
                &name,
                "ca",
                json!({ "profile": { "keyAlgorithm": algorithm } }),
            ))
            .await;
        world
            .create(device(&name, &name, json!({ "secretName": name })))
            .await;
    }
    let _operator = world.operator(&[]).await;
    for number in 0..algorithms.len() {
        let name = format!("d{number}");
        world.until::<DeviceIdentity>(&name, "True").await;
        in_order(&world, &name, &name).await.unwrap();
    }
}

#[tokio::test]
async fn a_deleted_or_corrupted_secret_is_issued_anew_within_moments() {
    let world = World::new().await;
    world.pki(json!({})).await;
    world
        .create(device("d", "g", json!({ "secretName": "s" })))
        .await;
    let _operator = world.operator(&[]).await;
    world.until::<DeviceIdentity>("d", "True").await;
    let other = json!({ "secretName": "other" });
    world.create(device("other", "g", other)).await;
    world.until::<DeviceIdentity>("other", "True").await;
    let foreign = Contents::of(&world, "other").await;

    let damages = [
        ("deleted", None),
        (
            "certificate emptied",
            Some(json!({ "stringData": { "tls.crt": "" } })),
        ),
        (
            "certificate of another device",
            Some(json!({ "stringData": { "tls.crt": foreign.chain } })),
        ),
        (
            "key of another device",
            Some(json!({ "stringData": { "tls.key": foreign.key } })),
        ),
        (
            "key garbled",
            Some(json!({ "stringData": { "tls.key": "garbage" } })),
        ),
        (
            "root taken away",
            Some(json!({ "data": { "ca.crt": null } })),
        ),
        (
            "label taken away",
            Some(json!({ "metadata": { "labels": null } })),
        ),
        (
            "annotations taken away",
            Some(json!({ "metadata": { "annotations": null } })),
        ),
    ];
    let mut serials = vec![Contents::of(&world, "s").await.leaf().serial];
    for (what, damage) in damages {
        match damage {
            None => world.delete::<Secret>("s").await,
            Some(damage) => drop(world.patch::<Secret>("s", damage).await),
        }
        let contents = eventually(
            format!("the Secret is as it should be after: {what}"),
            RESTORED,
            async || {
                let contents = in_order(&world, "d", "s").await?;
                let secret: Secret = world.get("s").await;
                let labelled = secret.labels().contains_key("app.kubernetes.io/managed-by");
                let marked = contents
                    .annotations
                    .contains_key("devicecert.dev/content-digest");
                if labelled && marked {
                    Ok(contents)
                } else {
                    Err("not marked".to_string())
                }
            },
        )
        .await;
        let serial = contents.leaf().serial;
        assert!(
            !serials.contains(&serial),
            "a new certificate after: {what}"
        );
        serials.push(serial);
        let device: DeviceIdentity = world.get("d").await;
        assert_eq!(
            condition(&device, "Ready").unwrap().status,
            ConditionStatus::True
        );
    }
    // What others add beside our fields is not ours to judge.
    let before = Contents::of(&world, "s").await;
    world
        .patch::<Secret>("s", json!({ "metadata": { "labels": { "team": "blue" } } }))
        .await;
    world
        .create(device("last", "g", json!({ "secretName": "last" })))
        .await;
    world.until::<DeviceIdentity>("last", "True").await;
    let after = Contents::of(&world, "s").await;
    assert_eq!(
        (before.leaf().serial, before.key),
        (after.leaf().serial, after.key)
    );
}

#[tokio::test]
async fn damage_done_while_the_operator_was_away_is_repaired_when_it_shows() {
    let world = World::new().await;
    world.pki(json!({})).await;
    world
        .create(device("d", "g", json!({ "secretName": "s" })))
        .await;
    let mut operator = world.operator(&[]).await;
    world.until::<DeviceIdentity>("d", "True").await;
    operator.kill();
    world.delete::<Secret>("s").await;
    operator.restart().await;
    eventually("the Secret is back", RESTORED, async || {
        in_order(&world, "d", "s").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn ready_is_never_true_before_the_secret_is_there() {
    let world = World::new().await;
    world
        .pki(json!({ "renewal": { "threshold": "80%" } }))
        .await;
    let api = world.api::<DeviceIdentity>();
    let events = api.watch(&WatchParams::default(), "0").await.unwrap();
    let mut events = events.boxed();
    let _operator = world.operator(&[]).await;
    const DEVICES: usize = 12;
    for number in 0..DEVICES {
        world
            .create(device(
                &format!("d{number}"),
                "g",
                json!({ "secretName": format!("d{number}") }),
            ))
            .await;
    }
    let mut ready = std::collections::BTreeSet::new();
    let watching = async {
        while ready.len() < DEVICES {
            let Some(event) = events.try_next().await.unwrap() else {
                panic!("the watch ended")
            };
            let (WatchEvent::Added(device) | WatchEvent::Modified(device)) = event else {
                continue;
            };
            if condition(&device, "Ready")
                .is_some_and(|ready| ready.status == ConditionStatus::True)
            {
                let recorded = device.status.clone().unwrap().certificate.unwrap();
                let secret = world.api::<Secret>().get(&device.name_any()).await.unwrap();
                let shown = Contents::read(&secret).unwrap().leaf().fingerprint();
                assert_eq!(shown, recorded.fingerprint);
                ready.insert(device.name_any());
            }
        }
    };
    tokio::time::timeout(CONVERGES, watching)
        .await
        .expect("all become Ready in time");
}

#[tokio::test]
async fn a_device_that_is_deleted_takes_its_secret_along() {
    let world = World::new().await;
    world.pki(json!({})).await;
    world
        .create(device("d", "g", json!({ "secretName": "s" })))
        .await;
    let _operator = world.operator(&[]).await;
    world.until::<DeviceIdentity>("d", "True").await;
    world.delete::<DeviceIdentity>("d").await;
    world.until_gone::<Secret>("s").await;
    assert!(
        world
            .api::<DeviceIdentity>()
            .get_opt("d")
            .await
            .unwrap()
            .is_none()
    );
    // The same name again begins anew: no record, another Secret.
    world
        .create(device("d", "g", json!({ "secretName": "s" })))
        .await;
    world.until::<DeviceIdentity>("d", "True").await;
    assert_eq!(world.record("d").await.len(), 1);
    in_order(&world, "d", "s").await.unwrap();
}
