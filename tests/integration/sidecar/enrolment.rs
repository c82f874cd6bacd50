//! Everything that a device does, through both processes.

use super::scene;
use crate::harness::{Device, fingerprint};

#[tokio::test]
async fn a_device_enrols_with_a_password_and_renews_with_its_certificate() {
    let scene = scene().await;
    let device = Device::new("d1");
    let first = scene.user.enroll("", &device.csr()).await.certificate();
    device.owns(&first);
    let own = scene.anonymous.certificate(&first, &device.key);
    let second = own.reenroll("", &device.csr()).await.certificate();
    device.owns(&second);
    assert_ne!(first, second);
    let record = scene.world.record("d1").await;
    assert_eq!(record, [fingerprint(&second), fingerprint(&first)]);

    assert_eq!(
        scene.anonymous.authorities("").await.certificates().len(),
        2
    );
    let wrong = scene.anonymous.user("u", "wrong");
    wrong
        .enroll("", &device.csr())
        .await
        .refuses(401, "WrongPassword", &[]);
    let stranger = scene
        .anonymous
        .certificate(&device.self_signed(), &device.key);
    stranger
        .enroll("", &device.csr())
        .await
        .refuses(403, "UnknownCertificate", &[]);
}

#[tokio::test]
async fn both_processes_tell_of_their_health_and_work() {
    let scene = scene().await;
    let device = Device::new("d1");
    scene.user.enroll("", &device.csr()).await.certificate();
    scene
        .anonymous
        .enroll("", &device.csr())
        .await
        .refuses(401, "CredentialsMissing", &[]);
    let (status, text) = scene.sidecar.est.get("/metrics").await.unwrap();
    assert_eq!(status, 200);
    for line in [
        "devicecert_est_answered_total 1",
        "devicecert_est_refused_total{reason=\"CredentialsMissing\"} 1",
        "devicecert_est_controller_connected 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    let (_, text) = scene.sidecar.controller.get("/metrics").await.unwrap();
    assert!(
        text.contains("devicecert_certificates_issued_total{door=\"est\""),
        "{text}"
    );
    assert!(!text.contains("devicecert_est_"), "{text}");
    for process in [&scene.sidecar.controller, &scene.sidecar.est] {
        assert_eq!(process.get("/healthz").await.unwrap().0, 200);
    }
}
