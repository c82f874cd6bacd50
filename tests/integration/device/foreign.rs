//! Secrets that belong to somebody else: never touched, and told.

use devicecert::api::DeviceIdentity;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::in_order;
use crate::harness::{RESTORED, World, condition, device};

#[tokio::test]
async fn a_secret_of_somebody_else_is_never_touched() {
    let world = World::new().await;
    world.pki(json!({})).await;
    let foreign = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "stringData": { "tls.crt": "mine" },
    });
    world.create(foreign).await;
    let owned = |owner: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "stringData": { "x": "theirs" },
            "metadata": { "name": "owned", "labels": { "app.kubernetes.io/managed-by": "devicecert-operator" }, "ownerReferences": [{
                "apiVersion": "devicecert.dev/v1alpha1", "kind": "DeviceIdentity", "name": "d", "uid": owner,
            }] },
        })
    };
    // A DeviceIdentity that is not there yet; its owner reference names another.
    let holder = world.create(device("holder", "g", json!({}))).await;
    let mut theirs = owned(&holder.uid().unwrap());
    theirs["metadata"]["ownerReferences"][0]["name"] = json!("holder");
    world.create(theirs).await;
    let raw = |name: &'static str| {
        let api: Api<Secret> = world.api();
        async move { serde_json::to_value(api.get(name).await.unwrap()).unwrap() }
    };
    let before: [Value; 2] = [raw("s").await, raw("owned").await];

    world
        .create(device("d", "g", json!({ "secretName": "s" })))
        .await;
    world
        .create(device("e", "g", json!({ "secretName": "owned" })))
        .await;
    let mut operator = world.operator(&[]).await;
    for (device, owner) in [
        ("d", "nobody that Kubernetes knows of"),
        ("e", "DeviceIdentity holder"),
    ] {
        let waiting: DeviceIdentity = world.until(device, "SecretNotOwned").await;
        let words = condition(&waiting, "Ready").unwrap().message;
        assert!(
            words.contains(owner) && words.contains("left alone"),
            "{words}"
        );
        assert_eq!(
            world.record(device).await,
            [""; 0],
            "nothing is signed for it"
        );
    }
    operator.kill();
    operator.restart().await;
    world
        .create(device("after", "g", json!({ "secretName": "after" })))
        .await;
    world.until::<DeviceIdentity>("after", "True").await;
    assert_eq!(
        [raw("s").await, raw("owned").await],
        before,
        "not a byte differs, resourceVersion included"
    );

    world.delete::<Secret>("s").await;
    let began = std::time::Instant::now();
    world.until::<DeviceIdentity>("d", "True").await;
    assert!(began.elapsed() < RESTORED, "it took {:?}", began.elapsed());
    in_order(&world, "d", "s").await.unwrap();
}

#[tokio::test]
async fn a_secret_that_lost_its_owner_is_not_taken_over_again() {
    let world = World::new().await;
    world.pki(json!({})).await;
    world
        .create(device("d", "g", json!({ "secretName": "s" })))
        .await;
    let mut operator = world.operator(&[]).await;
    world.until::<DeviceIdentity>("d", "True").await;
    operator.kill();
    // It has our label and our annotations, and belongs to nobody.
    world
        .patch::<Secret>("s", json!({ "metadata": { "ownerReferences": null } }))
        .await;
    operator.restart().await;
    world.until::<DeviceIdentity>("d", "SecretNotOwned").await;
    world.delete::<Secret>("s").await;
    world.until::<DeviceIdentity>("d", "True").await;
}
