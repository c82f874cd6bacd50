//! What a password may do to a device that has a live certificate, beyond the plain cases in `passwords`.

use serde_json::json;

use super::scene;
use crate::harness::{Device, PASSWORD, fingerprint};

#[tokio::test]
async fn same_key_renews_with_a_key_on_record_and_no_other() {
    let scene = scene(json!({ "registration": "Open" }), json!({})).await;
    let v = scene.anonymous.user("v", PASSWORD);
    let device = Device::new("pump-1");
    let first = scene.user.enroll("", &device.csr()).await.certificate();
    // The same key, whoever of the users asks.
    let second = scene.user.enroll("", &device.csr()).await.certificate();
    let third = v.enroll("", &device.csr()).await.certificate();
    let expected = [&third, &second, &first].map(|der| fingerprint(der));
    assert_eq!(scene.world.record("pump-1").await, expected);
    // Another key, from another user than the last one: refused. (The last certificate was v's.)
    let reply = scene.user.enroll("", &Device::new("pump-1").csr()).await;
    reply.refuses(
        403,
        "SameKeyRequired",
        &["use that key, or renew with the certificate"],
    );
    assert_eq!(scene.world.record("pump-1").await, expected);
}

#[tokio::test]
async fn whose_answer_was_lost_may_try_again_with_another_key_for_a_while() {
    let scene = scene(json!({ "registration": "Open" }), json!({})).await;
    let (first, second) = (Device::new("pump-1"), Device::new("pump-1"));
    let lost = scene.user.enroll("", &first.csr()).await.certificate();
    let kept = scene.user.enroll("", &second.csr()).await.certificate();
    second.owns(&kept);
    assert_eq!(
        scene.world.record("pump-1").await,
        [fingerprint(&kept), fingerprint(&lost)]
    );
    // Not for somebody else.
    let v = scene.anonymous.user("v", PASSWORD);
    v.enroll("", &Device::new("pump-1").csr())
        .await
        .refuses(403, "SameKeyRequired", &[]);
    // Nor once the device has used its certificate: its newest one was not asked for with the password.
    let renewed = scene
        .anonymous
        .certificate(&kept, &second.key)
        .reenroll("", &second.csr())
        .await
        .certificate();
    second.owns(&renewed);
    scene
        .user
        .enroll("", &Device::new("pump-1").csr())
        .await
        .refuses(403, "SameKeyRequired", &[]);
    // A key that is on record is welcome, also the one whose answer was lost.
    first.owns(&scene.user.enroll("", &first.csr()).await.certificate());
}
