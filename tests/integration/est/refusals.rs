//! Requests that are refused: each with its status, its reason, and words that say what to change.

use devicecert::api::{CertificateAuthority, DeviceIdentity, EnrollmentGroup};
use serde_json::json;

use super::{open, scene};
use crate::harness::{Device, PASSWORD, run_in};

/// A CSR that openssl makes with these arguments, as base64 in one line.
fn openssl_csr(arguments: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "openssl req -new -nodes -keyout /dev/null {arguments} -outform der -out r.der
         openssl base64 -e -A -in r.der"
    );
    run_in(dir.path(), &script).unwrap().trim().into()
}

const P256: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";

#[tokio::test]
async fn what_may_not_be_certified_is_refused_in_words_and_leaves_no_trace() {
    let group = json!({ "registrationId": { "pattern": "ok-[0-9]+" }, "profile": { "allowedKeys": ["ECDSA-P256", "RSA-2048"] } });
    let scene = scene(open(), group).await;
    let cases = [
        (
            format!("{P256} -subj /CN=ok-1 -addext basicConstraints=critical,CA:TRUE"),
            403,
            "AuthorityNotAllowed",
            "CA:TRUE",
        ),
        (
            format!("{P256} -subj /CN=ok-1 -addext subjectAltName=DNS:a.example.com"),
            403,
            "NameNotAllowed",
            "a.example.com",
        ),
        (
            format!("{P256} -subj /CN=ok-1 -addext subjectAltName=email:a@example.com"),
            403,
            "NameNotAllowed",
            "rfc822Name",
        ),
        (
            format!("{P256} -subj /CN=other"),
            403,
            "RegistrationIdNotAllowed",
            "pattern",
        ),
        (
            format!("{P256} -subj /CN=system:admin"),
            403,
            "InvalidRegistrationId",
            "Kubernetes",
        ),
        (
            format!("{P256} -subj '/CN=iotedged workload ca x'"),
            403,
            "InvalidRegistrationId",
            "character",
        ),
        (
            format!("{P256} -subj /O=nameless"),
            403,
            "InvalidRegistrationId",
            "common name",
        ),
        (
            format!("{P256} -subj /CN=ok-1/CN=ok-2"),
            403,
            "InvalidRegistrationId",
            "exactly one",
        ),
        (
            "-newkey rsa:1024 -subj /CN=ok-1".into(),
            400,
            "InvalidCsr",
            "2048",
        ),
        (
            "-newkey rsa:3072 -subj /CN=ok-1".into(),
            403,
            "KeyNotAllowed",
            "ECDSA-P256",
        ),
        (
            format!("{P256} -sha1 -subj /CN=ok-1"),
            400,
            "InvalidCsr",
            "SHA",
        ),
    ];
    for (arguments, status, reason, word) in cases {
        let reply = scene.user.enroll("", &openssl_csr(&arguments)).await;
        assert!(
            reply.status == status || (reason == "InvalidRegistrationId" && reply.status == 400),
            "{arguments}: {}",
            reply.body
        );
        reply.refuses(reply.status, reason, &[word]);
    }
    let found = scene
        .world
        .api::<DeviceIdentity>()
        .list(&Default::default())
        .await
        .unwrap();
    assert!(found.items.is_empty(), "{:?}", found.items);
    // What may be, is.
    scene
        .user
        .enroll("", &openssl_csr(&format!("{P256} -subj /CN=OK-7")))
        .await
        .certificate();
    assert_eq!(scene.world.record("ok-7").await.len(), 1);
}

#[tokio::test]
async fn garbage_is_refused_in_words() {
    let scene = scene(open(), json!({})).await;
    for body in [
        "",
        "garbage!",
        "AAAA",
        "-----BEGIN CERTIFICATE REQUEST-----",
    ] {
        let reply = scene.user.enroll("", body).await;
        assert_eq!(reply.status, 400, "{body:?}: {}", reply.body);
        assert!(
            reply
                .header("Content-Type")
                .unwrap()
                .starts_with("text/plain")
        );
    }
}

#[tokio::test]
async fn paths_that_lead_nowhere_are_not_found() {
    let scene = scene(open(), json!({})).await;
    let csr = Device::new("d").csr();
    for label in ["nothing", "no.such", "kube-system.g"] {
        scene
            .user
            .enroll(label, &csr)
            .await
            .refuses(404, "UnknownLabel", &[]);
        assert_eq!(scene.anonymous.authorities(label).await.status, 404);
    }
}

#[tokio::test]
async fn a_disabled_group_and_a_suspended_authority_give_nothing_until_they_are_back() {
    let scene = scene(open(), json!({})).await;
    let device = Device::new("d");
    let certificate = scene.user.enroll("", &device.csr()).await.certificate();
    let client = scene.anonymous.certificate(&certificate, &device.key);

    let set = async |status: &str| {
        let patch = json!({ "spec": { "provisioningStatus": status } });
        scene.world.patch::<EnrollmentGroup>("g", patch).await;
    };
    set("Disabled").await;
    let found: EnrollmentGroup = scene.world.until("g", "GroupDisabled").await;
    let message = crate::harness::condition(&found, "Ready").unwrap().message;
    assert!(
        message.contains("first certificate expires at"),
        "{message}"
    );
    scene
        .user
        .enroll("", &device.csr())
        .await
        .refuses(403, "GroupDisabled", &[]);
    client
        .reenroll("", &device.csr())
        .await
        .refuses(403, "GroupDisabled", &["Disabled"]);
    set("Enabled").await;
    scene.world.until::<EnrollmentGroup>("g", "True").await;
    client.reenroll("", &device.csr()).await.certificate();

    let suspend = json!({ "spec": { "suspended": true } });
    scene
        .world
        .patch::<CertificateAuthority>("ca", suspend)
        .await;
    scene
        .world
        .until::<CertificateAuthority>("ca", "Suspended")
        .await;
    client
        .reenroll("", &device.csr())
        .await
        .refuses(403, "Suspended", &[]);
    let resume = json!({ "spec": { "suspended": false } });
    scene
        .world
        .patch::<CertificateAuthority>("ca", resume)
        .await;
    // Enrolment reads the authority itself; the group may hear of it a moment later.
    scene
        .world
        .until::<CertificateAuthority>("ca", "True")
        .await;
    client.reenroll("", &device.csr()).await.certificate();
}

#[tokio::test]
async fn nothing_secret_is_in_the_log_and_every_refusal_is_counted() {
    let scene = scene(open(), json!({})).await;
    scene
        .anonymous
        .user("u", "hunter2-wrong")
        .enroll("", &Device::new("d").csr())
        .await
        .refuses(401, "WrongPassword", &[]);
    let log = scene.operator.log();
    assert!(!log.contains(PASSWORD) && !log.contains("hunter2"), "{log}");
    let metrics = scene.operator.metrics().await;
    let refused = metrics.count(
        "devicecert_refusals_total",
        &[("door", "est"), ("reason", "WrongPassword")],
    );
    assert_eq!(refused, 1);
}
