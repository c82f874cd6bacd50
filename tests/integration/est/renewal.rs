//! Renewal by certificate: every certificate on record may, names stay, repetitions are known, and the number is bounded.

use devicecert::api::EnrollmentGroup;
use serde_json::{Value, json};

use super::scene;
use crate::harness::{Device, Facts, fingerprint};

#[tokio::test]
async fn any_certificate_on_record_renews_its_device() {
    let scene = scene(json!({ "registration": "Open" }), json!({})).await;
    let mut device = Device::new("pump-1");
    let mut known = vec![(
        scene.user.enroll("", &device.csr()).await.certificate(),
        device,
    )];
    for operation in ["simpleenroll", "simplereenroll", "simpleenroll"] {
        let (certificate, old) = known.last().unwrap();
        let client = scene.anonymous.certificate(certificate, &old.key);
        device = Device::new("pump-1");
        let reply = match operation {
            "simpleenroll" => client.enroll("", &device.csr()).await,
            _ => client.reenroll("", &device.csr()).await,
        };
        known.push((reply.certificate(), device));
    }
    // The answer to the last renewals was lost, say, and the device still has its first certificate.
    let (first, old) = &known[0];
    let client = scene.anonymous.certificate(first, &old.key);
    let renewed = client.reenroll("", &old.csr()).await.certificate();
    old.owns(&renewed);
    let mut expected = vec![fingerprint(&renewed)];
    expected.extend(known.iter().rev().map(|(der, _)| fingerprint(der)));
    assert_eq!(scene.world.record("pump-1").await, expected);
}

#[tokio::test]
async fn a_renewal_keeps_subject_and_names_whatever_the_group_says_by_then() {
    let rules = json!({
        "allowedNames": { "dnsNames": ["${registrationId}.example.com"] },
        "profile": { "subject": "O=Example,CN=${registrationId}" },
    });
    let scene = scene(json!({ "registration": "Open" }), rules).await;
    let set = async |spec: Value| {
        let patch = json!({ "spec": spec });
        scene.world.patch::<EnrollmentGroup>("g", patch).await;
        scene.world.until_pki().await;
    };
    let device = Device::new("pump-1");
    let csr = device.csr_with(&["pump-1.example.com"]);
    let first = Facts::of(&scene.user.enroll("", &csr).await.certificate());
    assert!(first.subject.contains("O=Example") && first.subject.contains("CN=pump-1"));
    assert_eq!(first.names, ["DNS:pump-1.example.com"]);

    set(json!({ "profile": { "subject": "O=Other,CN=${registrationId}" } })).await;
    let client = scene.anonymous.certificate(&first.der, &device.key);
    // Asked with the subject of the first CSR, which is not the one that was granted; with names and without.
    for csr in [csr, device.csr()] {
        let renewed = Facts::of(&client.reenroll("", &csr).await.certificate());
        assert_eq!(
            (&renewed.subject_der, &renewed.names),
            (&first.subject_der, &first.names)
        );
    }
    // A name that is not allowed any more is not renewed.
    set(json!({ "allowedNames": { "dnsNames": null } })).await;
    let reply = client.reenroll("", &device.csr()).await;
    reply.refuses(403, "NameNotAllowed", &["pump-1.example.com"]);
}

#[tokio::test]
async fn a_request_in_another_armour_is_still_the_same_request() {
    let scene = scene(json!({ "registration": "Open" }), json!({})).await;
    let csr = Device::new("pump-1").csr();
    let first = scene.user.enroll("", &csr).await.certificate();
    let lines: Vec<&[u8]> = csr.as_bytes().chunks(64).collect();
    let wrapped = String::from_utf8(lines.join(&b"\r\n"[..])).unwrap();
    let armoured = format!(
        "-----BEGIN CERTIFICATE REQUEST-----\n{wrapped}\n-----END CERTIFICATE REQUEST-----\n"
    );
    for repeated in [wrapped, armoured] {
        let again = scene.user.enroll("", &repeated).await.certificate();
        assert_eq!(again, first);
    }
    assert_eq!(scene.world.record("pump-1").await, [fingerprint(&first)]);
}

#[tokio::test]
async fn the_number_of_live_certificates_is_bounded() {
    let scene = scene(json!({ "registration": "Open" }), json!({})).await;
    let device = Device::new("pump-1");
    let certificate = scene.user.enroll("", &device.csr()).await.certificate();
    let client = scene.anonymous.certificate(&certificate, &device.key);
    for _ in 0..16 {
        device.owns(&client.reenroll("", &device.csr()).await.certificate());
    }
    let record = scene.world.record("pump-1").await;
    assert_eq!(
        (record.len(), record.last()),
        (17, Some(&fingerprint(&certificate)))
    );
    let reply = client.reenroll("", &device.csr()).await;
    reply.refuses(
        429,
        "TooManyCertificates",
        &["16 older certificates", "wait until one expires"],
    );
    assert!(reply.header("retry-after").is_some());
    assert_eq!(scene.world.record("pump-1").await, record);
}
