//! `status`: in words for people, and as an exit code for scripts.

use devicecert::api::DeviceIdentity;
use serde_json::json;

use super::{plugin, with_nobody_reading};
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
        .until::<DeviceIdentity>("s", "NameNotAllowed")
        .await;
    let wrong = plugin(&scene.world, &["status"]);
    assert!(
        wrong
            .printed()
            .contains("deviceidentity/s: NameNotAllowed: "),
        "{wrong:?}"
    );
    plugin(&scene.world, &["status", "--exit-code"]).complains(&["1 of 4 objects"]);
    for command in ["status", "pending"] {
        let nowhere = plugin(&scene.world, &[command, "--namespace", "nowhere"]);
        nowhere.complains(&["there is no namespace nowhere: correct --namespace"]);
    }
    let (code, complaint) = with_nobody_reading(&scene.world, &["status"]);
    assert_eq!((code, &*complaint), (0, ""));
    let (code, complaint) =
        with_nobody_reading(&scene.world, &["token", "--group", "g", "--id", "t"]);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("so nobody has it: kubectl"),
        "{complaint}"
    );
    let all = plugin(&scene.world, &["status", "--all-namespaces"]);
    let line = format!(
        "deviceidentity/s in {}: NameNotAllowed",
        scene.world.namespace
    );
    assert!(all.printed().contains(&line), "{all:?}");
}

#[tokio::test]
async fn a_device_that_may_have_no_certificate_is_not_renewed() {
    let scene = scene(open(), json!({})).await;
    let world = &scene.world;
    world
        .create(device("s", "g", json!({ "secretName": "s-tls" })))
        .await;
    world.until::<DeviceIdentity>("s", "True").await;
    let renewed = plugin(world, &["renew", "s"]);
    assert!(renewed.printed().contains("will be renewed now"));
    for (state, words) in [
        (
            "Suspended",
            "s is not renewed: it is Suspended, and gets no certificate until its spec.state is Active",
        ),
        ("Revoked", "s is not renewed: it is Revoked, which is final"),
    ] {
        let patch = json!({ "spec": { "state": state } });
        world.patch::<DeviceIdentity>("s", patch).await;
        plugin(world, &["renew", "s"]).complains(&[words]);
    }
}
