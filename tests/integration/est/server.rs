//! The EST server's own certificate: issued by the operator, renewed in time, without a broken connection.

use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::{open, scene, scene_with};
use crate::harness::{CONVERGES, Facts, World, eventually};

#[tokio::test]
async fn the_servers_certificate_is_renewed_while_a_connection_goes_on() {
    let scene = scene_with(open(), json!({}), &["--est-validity", "60s"]).await;
    let mut kept = scene.anonymous.connect().await.unwrap();
    let first = Facts::of(&kept.server_certificate);
    assert_eq!(first.names, ["DNS:localhost", "IP:127.0.0.1"]);
    assert_eq!(first.ca, None);
    let root = scene.world.root_pem().await;
    first.verify(&root, "").unwrap();
    let second = eventually(
        "the server shows a new certificate",
        Duration::from_secs(120),
        async || {
            // The old connection is used all the time.
            let reply = kept.get("/.well-known/est/cacerts").await.unwrap();
            assert_eq!(reply.status, 200);
            let shown = scene.anonymous.connect().await?.server_certificate;
            let facts = Facts::of(&shown);
            if facts.serial == first.serial {
                Err("still the first".to_string())
            } else {
                Ok(facts)
            }
        },
    )
    .await;
    second.verify(&root, "").unwrap();
    assert!(second.not_after > first.not_after);
    assert_eq!(
        kept.get("/.well-known/est/cacerts").await.unwrap().status,
        200
    );
}

#[tokio::test]
async fn a_restart_keeps_the_server_certificate() {
    let mut scene = scene(open(), json!({})).await;
    let before = scene.anonymous.connect().await.unwrap().server_certificate;
    scene.operator.kill();
    scene.operator.restart().await;
    assert_eq!(
        scene.anonymous.connect().await.unwrap().server_certificate,
        before
    );
}

#[tokio::test]
async fn a_damaged_or_lost_server_certificate_is_replaced_at_the_next_start() {
    let mut scene = scene(open(), json!({})).await;
    let before = scene.anonymous.connect().await.unwrap().server_certificate;
    let secrets = scene.world.key_secrets();
    let damage = Patch::Merge(json!({ "stringData": { "tls.key": "garbage" } }));
    scene.operator.kill();
    secrets
        .patch("devicecert-est-server", &PatchParams::default(), &damage)
        .await
        .unwrap();
    scene.operator.restart().await;
    let after = scene.anonymous.connect().await.unwrap().server_certificate;
    assert_ne!(after, before);
    scene.operator.kill();
    secrets
        .delete("devicecert-est-server", &DeleteParams::default())
        .await
        .unwrap();
    scene.operator.restart().await;
    assert_ne!(
        scene.anonymous.connect().await.unwrap().server_certificate,
        after
    );
}

#[tokio::test]
async fn the_operator_is_not_ready_before_est_has_its_certificate() {
    let world = World::new().await;
    let pending = world.operator_unready(&[
        "--est-authority",
        &format!("{}/root", world.namespace),
        "--est-dns-name",
        "localhost",
    ]);
    let words = eventually(
        "it says what it waits for",
        Duration::from_secs(30),
        async || match pending.get("/readyz").await {
            Ok((503, words)) if words.contains("--est-authority") => Ok(words),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
    assert!(
        words.contains("the CertificateAuthority of --est-authority Ready?"),
        "{words}"
    );
    assert_eq!(pending.get("/healthz").await.unwrap().0, 200);
    world.pki(json!({})).await;
    eventually(
        "it becomes ready by itself",
        CONVERGES,
        async || match pending.get("/readyz").await {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
}
