//! Azure IoT Edge, whose tutorial enrols the same device again and again with a password.

use serde_json::json;

use super::{open, scene};
use crate::harness::{Device, PASSWORD, run_in};

/// certd sends `simpleenroll` and `cacerts` at the same time, throws both answers away if one fails, and tries again,
/// perhaps with another key.
#[tokio::test]
async fn answers_that_are_thrown_away_do_not_lock_the_device_out() {
    let scene = scene(open(), json!({})).await;
    for _ in 0..4 {
        let device = Device::new("edge-1");
        let csr = device.csr();
        let (enrolled, authorities) =
            tokio::join!(scene.user.enroll("", &csr), scene.user.authorities(""));
        device.owns(&enrolled.certificate());
        assert_eq!(authorities.certificates().len(), 2);
    }
    assert_eq!(scene.world.record("edge-1").await.len(), 4);
    // Its Edge CA is not for a group of devices to have.
    let dir = tempfile::tempdir().unwrap();
    let script = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -subj /CN=edge-1 \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 2>/dev/null";
    let edge_ca = run_in(dir.path(), script).unwrap();
    let reply = scene.user.enroll("", &edge_ca).await;
    reply.refuses(403, "AuthorityNotAllowed", &["CA:TRUE"]);
}

/// certd sends its password on every request, beside the certificate that it renews.
#[tokio::test]
async fn a_password_beside_a_good_certificate_does_no_harm() {
    let scene = scene(json!({ "registration": "Open" }), json!({})).await;
    let device = Device::new("edge-1");
    let first = scene.user.enroll("", &device.csr()).await.certificate();
    let client = scene.user.certificate(&first, &device.key);
    // The certificate decides: with the password alone another user's retry with a new key would be refused.
    let renewed = client.enroll("", &device.csr()).await.certificate();
    let both = scene
        .anonymous
        .user("v", PASSWORD)
        .certificate(&renewed, &device.key);
    let new_key = Device::new("edge-1");
    new_key.owns(&both.enroll("", &new_key.csr()).await.certificate());
}
