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

/// The commands of Microsoft's tutorial for IoT Edge with an EST server, with host and port changed and nothing else: the second
/// certificate that `s_client` shows is the trust anchor, because the root itself issues the server's certificate.
#[tokio::test]
async fn the_commands_of_the_tutorial_pass() {
    let scene = scene(open(), json!({})).await;
    let dir = tempfile::tempdir().unwrap();
    let port = scene.operator.est_port;
    let script = format!(
        r#"openssl s_client -showcerts -verify 5 -connect localhost:{port} < /dev/null 2>/dev/null |
            awk '/BEGIN/,/END/{{ if(/BEGIN/){{a++}}; out="cert"a".pem"; print >out}}'
        test ! -e cert3.pem
        cp cert2.pem cacert.crt.pem
        openssl x509 -in cacert.crt.pem -noout -subject -issuer
        curl https://localhost:{port}/.well-known/est/cacerts -o cacerts.p7 --cacert cacert.crt.pem -sS --fail
        openssl base64 -d -A -in cacerts.p7 | openssl pkcs7 -inform DER -outform PEM -print_certs -out cacerts.pem
        openssl req -nodes -new -subj /CN=myEdgeDevice -sha256 -keyout key.pem -out csr.pem -newkey rsa:2048 2>/dev/null
        openssl req -in csr.pem -outform DER | openssl base64 -out req.p10
        curl https://localhost:{port}/.well-known/est/simpleenroll --anyauth -u u:{PASSWORD} -o cert-b64.pkcs7 \
            --cacert cacert.crt.pem --data @req.p10 -H "Content-Type: application/pkcs10" -sS --fail
        openssl base64 -d -A -in cert-b64.pkcs7 | openssl pkcs7 -inform DER -outform PEM -print_certs -out cert.pem
        openssl verify -CAfile cacert.crt.pem -untrusted cacerts.pem cert.pem
        openssl x509 -in cert.pem -noout -serial"#
    );
    let printed = run_in(dir.path(), &script).unwrap();
    assert!(
        printed.contains("subject=CN = root\nissuer=CN = root"),
        "{printed}"
    );
    assert!(printed.contains("cert.pem: OK"), "{printed}");
    let device: devicecert::api::DeviceIdentity = scene.world.get("myedgedevice").await;
    let serial = device.status.unwrap().certificate.unwrap().serial_number;
    let shown = printed
        .lines()
        .find_map(|line| line.strip_prefix("serial="))
        .unwrap();
    assert_eq!(
        shown.to_lowercase().trim_start_matches('0'),
        serial.to_lowercase().trim_start_matches('0')
    );
}
