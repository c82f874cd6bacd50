//! CA keys: where they are, and that nothing ever replaces one.

use devicecert::api::CertificateAuthority;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{key_name, shown};
use crate::harness::{Facts, World, authority, condition, device};

/// Takes the key Secret away altogether, as an administrator with both hands could, and returns it.
async fn take_away(world: &World, name: &str) -> Secret {
    let secrets = world.key_secrets();
    let secret = secrets.get(name).await.unwrap();
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    secrets
        .patch(name, &PatchParams::default(), &free)
        .await
        .unwrap();
    // It is gone already if its deletion was asked for before.
    let _ = secrets.delete(name, &DeleteParams::default()).await;
    assert!(secrets.get_opt(name).await.unwrap().is_none());
    secret
}

/// The same Secret as a backup would bring it back.
async fn restore(world: &World, mut secret: Secret) {
    secret.metadata.resource_version = None;
    secret.metadata.uid = None;
    secret.metadata.deletion_timestamp = None;
    secret.metadata.deletion_grace_period_seconds = None;
    world
        .key_secrets()
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_key_is_immutable_protected_and_owned_by_nothing() {
    let world = World::new().await;
    world
        .create(authority("ca", json!({ "selfSigned": {} })))
        .await;
    let _operator = world.operator(&[]).await;
    let fingerprint = shown(&world, "ca").await;

    let name = key_name(&world, "ca");
    let secret = world.key_secrets().get(&name).await.unwrap();
    assert_eq!(secret.immutable, Some(true));
    assert_eq!(secret.finalizers(), ["devicecert.dev/in-use"]);
    assert!(secret.owner_references().is_empty());
    let data = secret.data.clone().unwrap();
    let certificate = String::from_utf8(data["tls.crt"].0.clone()).unwrap();
    assert_eq!(Facts::of_pem(&certificate).fingerprint(), fingerprint);
    let here = world
        .api::<Secret>()
        .list(&Default::default())
        .await
        .unwrap();
    assert_eq!(here.items.len(), 0, "no key is where the devices are");

    let change = Patch::Merge(json!({ "stringData": { "tls.key": "mine" } }));
    let refusal = world
        .key_secrets()
        .patch(&name, &PatchParams::default(), &change)
        .await;
    assert!(refusal.unwrap_err().to_string().contains("immutable"));

    // Deleting it does nothing yet: the finalizer holds it, and the authority goes on signing.
    world
        .key_secrets()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    let held = world.key_secrets().get(&name).await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    world
        .create(authority("child", json!({ "issuedBy": { "name": "ca" } })))
        .await;
    world.until::<CertificateAuthority>("child", "True").await;
    assert_eq!(shown(&world, "ca").await, fingerprint);
}

#[tokio::test]
async fn a_lost_key_is_never_replaced_and_counts_again_when_it_is_restored() {
    let world = World::new().await;
    world.pki(json!({})).await;
    let _operator = world.operator(&[]).await;
    world.until_pki().await;
    let (fingerprint, name) = (shown(&world, "ca").await, key_name(&world, "ca"));
    let secret = take_away(&world, &name).await;

    let lost: CertificateAuthority = world.until("ca", "KeyLost").await;
    let words = condition(&lost, "Ready").unwrap().message;
    assert!(
        words.contains(&name) && words.contains("restore it from a backup"),
        "{words}"
    );
    // Nothing new is signed, although the key may still be in the operator's memory.
    world
        .create(device("d", "g", json!({ "secretName": "d-tls" })))
        .await;
    world
        .until::<devicecert::api::DeviceIdentity>("d", "AuthorityNotReady")
        .await;
    assert!(
        world.key_secrets().get_opt(&name).await.unwrap().is_none(),
        "no new key under the old name"
    );

    restore(&world, secret).await;
    world
        .until::<devicecert::api::DeviceIdentity>("d", "True")
        .await;
    assert_eq!(shown(&world, "ca").await, fingerprint);
}

#[tokio::test]
async fn another_key_in_the_place_of_the_lost_one_is_not_taken() {
    let world = World::new().await;
    for name in ["ca", "other"] {
        world
            .create(authority(
                name,
                json!({ "selfSigned": {}, "subject": "CN=same" }),
            ))
            .await;
    }
    let _operator = world.operator(&[]).await;
    let fingerprint = shown(&world, "ca").await;
    shown(&world, "other").await;
    let mut other = world
        .key_secrets()
        .get(&key_name(&world, "other"))
        .await
        .unwrap();
    take_away(&world, &key_name(&world, "ca")).await;
    other.metadata.name = Some(key_name(&world, "ca"));
    let annotations = other.metadata.annotations.as_mut().unwrap();
    annotations.insert(
        "devicecert.dev/authority".into(),
        format!("{}/ca", world.namespace),
    );
    restore(&world, other).await;
    let refused: CertificateAuthority = world.until("ca", "KeyMismatch").await;
    assert_eq!(
        refused.status.unwrap().certificate.unwrap().fingerprint,
        fingerprint
    );
}

#[tokio::test]
async fn a_lost_status_is_adopted_from_the_key_and_nothing_is_made_anew() {
    let world = World::new().await;
    world.pki(json!({})).await;
    let mut operator = world.operator(&[]).await;
    world.until_pki().await;
    let (root, ca) = (shown(&world, "root").await, shown(&world, "ca").await);
    for name in ["root", "ca"] {
        let nothing =
            json!({ "certificate": null, "chain": null, "conditions": null, "generations": null });
        world
            .patch_status::<CertificateAuthority>(name, nothing)
            .await;
    }
    assert_eq!(
        (shown(&world, "root").await, shown(&world, "ca").await),
        (root.clone(), ca.clone())
    );

    // The same while the operator is away, as when a backup without status is restored.
    operator.kill();
    for name in ["root", "ca"] {
        let nothing =
            json!({ "certificate": null, "chain": null, "conditions": null, "generations": null });
        world
            .patch_status::<CertificateAuthority>(name, nothing)
            .await;
    }
    operator.restart().await;
    assert_eq!(
        (shown(&world, "root").await, shown(&world, "ca").await),
        (root, ca)
    );
    let keys = world.key_secrets().list(&Default::default()).await.unwrap();
    assert_eq!(keys.items.len(), 2);
}

#[tokio::test]
async fn a_suspended_authority_signs_nothing_until_it_is_resumed() {
    let world = World::new().await;
    world.pki(json!({})).await;
    let _operator = world.operator(&[]).await;
    world.until_pki().await;
    world
        .patch::<CertificateAuthority>("ca", json!({ "spec": { "suspended": true } }))
        .await;
    world.until::<CertificateAuthority>("ca", "Suspended").await;
    world
        .until::<devicecert::api::EnrollmentGroup>("g", "Suspended")
        .await;
    world
        .create(device("d", "g", json!({ "secretName": "d-tls" })))
        .await;
    let waiting: devicecert::api::DeviceIdentity = world.until("d", "Suspended").await;
    let words = condition(&waiting, "Ready").unwrap().message;
    assert!(
        words.contains("CertificateAuthority") && words.contains("is suspended"),
        "{words}"
    );
    assert!(
        world
            .api::<Secret>()
            .get_opt("d-tls")
            .await
            .unwrap()
            .is_none()
    );
    world
        .patch::<CertificateAuthority>("ca", json!({ "spec": { "suspended": false } }))
        .await;
    world
        .until::<devicecert::api::DeviceIdentity>("d", "True")
        .await;
}
