//! Deleting authorities: what waits, what stays, what goes.

use std::time::Instant;

use devicecert::api::{CertificateAuthority, DeviceIdentity, EnrollmentGroup};
use kube::ResourceExt;
use serde_json::json;

use super::{key_name, shown};
use crate::harness::{CONVERGES, RESTORED, World, authority, condition, device, eventually};

#[tokio::test]
async fn a_recreated_authority_takes_up_the_key_that_was_retained() {
    let world = World::new().await;
    let spec =
        json!({ "selfSigned": {}, "subject": "CN=Root,O=Example", "keyAlgorithm": "ECDSA-P384" });
    world.create(authority("ca", spec.clone())).await;
    let _operator = world.operator(&[]).await;
    let fingerprint = shown(&world, "ca").await;
    world.delete::<CertificateAuthority>("ca").await;
    world.until_gone::<CertificateAuthority>("ca").await;
    assert!(
        world
            .key_secrets()
            .get_opt(&key_name(&world, "ca"))
            .await
            .unwrap()
            .is_some()
    );

    // Another subject does not fit the key, and the key is not replaced by one that would.
    world
        .create(authority(
            "ca",
            json!({ "selfSigned": {}, "subject": "CN=Other" }),
        ))
        .await;
    let refused: CertificateAuthority = world.until("ca", "KeyMismatch").await;
    let words = condition(&refused, "Ready").unwrap().message;
    assert!(words.contains("was made for this name earlier"), "{words}");
    world.delete::<CertificateAuthority>("ca").await;
    world.until_gone::<CertificateAuthority>("ca").await;

    world.create(authority("ca", spec)).await;
    assert_eq!(shown(&world, "ca").await, fingerprint);
    eventually("an Event tells of it", CONVERGES, async || {
        let described = world.kubectl(&["describe", "dca", "ca"]);
        match described.contains("Adopted") && described.contains("took up the existing key") {
            true => Ok(()),
            false => Err(described),
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_goes_only_where_its_owner_said_so() {
    let world = World::new().await;
    world
        .create(authority(
            "ca",
            json!({ "selfSigned": {}, "keyDeletion": "Delete" }),
        ))
        .await;
    let _operator = world.operator(&[]).await;
    let old = shown(&world, "ca").await;
    world.delete::<CertificateAuthority>("ca").await;
    world.until_gone::<CertificateAuthority>("ca").await;
    let secrets = world.key_secrets();
    assert!(
        secrets
            .get_opt(&key_name(&world, "ca"))
            .await
            .unwrap()
            .is_none()
    );
    world
        .create(authority("ca", json!({ "selfSigned": {} })))
        .await;
    assert_ne!(shown(&world, "ca").await, old);
}

#[tokio::test]
async fn an_authority_in_use_waits_and_says_for_what() {
    let world = World::new().await;
    world.pki(json!({})).await;
    world
        .create(device("d", "g", json!({ "secretName": "d-tls" })))
        .await;
    let _operator = world.operator(&[]).await;
    world.until::<DeviceIdentity>("d", "True").await;

    world.delete::<CertificateAuthority>("root").await;
    world.delete::<CertificateAuthority>("ca").await;
    terminating(
        &world,
        "root",
        "0 valid device certificates and 1 child authorities",
    )
    .await;
    let words = terminating(&world, "ca", "1 valid device certificates (the last until ").await;
    assert!(words.contains("Delete those DeviceIdentities"), "{words}");

    // What is alive is renewed, and nobody new is taken.
    world
        .create(device("new", "g", json!({ "secretName": "new-tls" })))
        .await;
    world.until::<DeviceIdentity>("new", "InUse").await;
    let before = world.record("d").await;
    world.renew("d").await;
    eventually("d is renewed", CONVERGES, async || {
        match world.record("d").await {
            record if record.len() == 2 && record[1..] == before => Ok(()),
            record => Err(format!("{record:?}")),
        }
    })
    .await;
    let ca: CertificateAuthority = world.get("ca").await;
    assert_eq!(ca.finalizers(), ["devicecert.dev/in-use"]);

    // The user does what the words say, and the deletion finishes by itself: child first, then parent.
    world.delete::<DeviceIdentity>("d").await;
    world.until_gone::<CertificateAuthority>("ca").await;
    world.until_gone::<CertificateAuthority>("root").await;
    let began = Instant::now();
    world
        .until::<EnrollmentGroup>("g", "AuthorityNotFound")
        .await;
    assert!(began.elapsed() < RESTORED, "the group hears of it at once");
}

async fn terminating(world: &World, name: &str, words: &str) -> String {
    eventually(format!("{name} says why it stays"), CONVERGES, async || {
        let ca: CertificateAuthority = world.get(name).await;
        match condition(&ca, "Terminating") {
            Some(found) if found.reason == "InUse" && found.message.contains(words) => {
                Ok(found.message)
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await
}
