//! The EST server's own certificate: issued by the operator, renewed in time, without a broken connection.

use std::time::Duration;

use serde_json::json;

use super::{open, scene_with};
use crate::harness::{Facts, eventually};

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
