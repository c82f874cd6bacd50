//! `status`: in words for people, and as an exit code for scripts.

use serde_json::json;

use super::plugin;
use crate::{
    est::{open, scene},
    harness::device,
};

#[tokio::test]
async fn what_is_not_in_order_is_listed_and_can_be_an_exit_code() {
    let scene = scene(open(), json!({})).await;
    let fine = plugin(&scene.world, &["status", "--exit-code"]);
    assert!(fine.printed().contains("0 of 3 objects"), "{fine:?}");
    let name = json!({ "secretName": "s-tls", "dnsNames": ["evil.example"] });
    scene.world.create(device("s", "g", name)).await;
    scene
        .world
        .until::<devicecert::api::DeviceIdentity>("s", "NameNotAllowed")
        .await;
    let wrong = plugin(&scene.world, &["status"]);
    assert!(
        wrong
            .printed()
            .contains("deviceidentity/s: NameNotAllowed: "),
        "{wrong:?}"
    );
    plugin(&scene.world, &["status", "--exit-code"]).complains(&["1 of 4 objects"]);
    let all = plugin(&scene.world, &["status", "--all-namespaces"]);
    let line = format!(
        "deviceidentity/s in {}: NameNotAllowed",
        scene.world.namespace
    );
    assert!(all.printed().contains(&line), "{all:?}");
}
