//! CSRs in the spec: signed into the status, renewed for the same key.

use devicecert::api::DeviceIdentity;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::harness::{CONVERGES, Device, Facts, World, condition, device, eventually, run_in};

#[tokio::test]
async fn a_request_is_signed_into_the_status_and_renewed_for_the_same_key() {
    let world = World::new().await;
    world
        .pki(json!({ "allowedNames": { "dnsNames": ["*.example.com"] } }))
        .await;
    let requester = Device::new("plc-7");
    world
        .create(device(
            "plc-7",
            "g",
            json!({ "request": requester.csr_pem() }),
        ))
        .await;
    let _operator = world.operator(&[]).await;
    let first: DeviceIdentity = world.until("plc-7", "True").await;
    let pem = first.status.unwrap().certificate.unwrap().pem.unwrap();
    let leaf = Facts::of_pem(&pem);
    requester.owns(&leaf.der);
    let ca: devicecert::api::CertificateAuthority = world.get("ca").await;
    leaf.verify(&world.root_pem().await, &ca.status.unwrap().chain.unwrap())
        .unwrap();
    let secrets = world
        .api::<Secret>()
        .list(&Default::default())
        .await
        .unwrap();
    assert_eq!(secrets.items.len(), 0);

    world.renew("plc-7").await;
    let renewed = eventually(
        "a new certificate is in the status",
        CONVERGES,
        async || {
            let status = world.get::<DeviceIdentity>("plc-7").await.status.unwrap();
            let pem = status.certificate.unwrap().pem.unwrap();
            let facts = Facts::of_pem(&pem);
            if facts.serial == leaf.serial {
                Err(facts.serial)
            } else {
                Ok(facts)
            }
        },
    )
    .await;
    requester.owns(&renewed.der);
    assert_eq!(
        world.record("plc-7").await,
        [renewed.fingerprint(), leaf.fingerprint()]
    );
}

#[tokio::test]
async fn a_request_that_cannot_be_granted_is_explained() {
    let world = World::new().await;
    world
        .pki(json!({ "profile": { "allowedKeys": ["ECDSA-P256", "RSA-2048"] } }))
        .await;
    let dir = tempfile::tempdir().unwrap();
    let openssl = |key: &str, arguments: &str| {
        let script = format!(
            "openssl req -new -newkey {key} -nodes -keyout key.pem {arguments} 2>/dev/null"
        );
        run_in(dir.path(), &script).unwrap()
    };
    let ec = "ec -pkeyopt ec_paramgen_curve:P-256";
    let good = openssl(ec, "-subj /CN=tampered");
    // One character in the middle of the base64 is another one: the signature does not fit.
    let middle = good.len() / 2;
    let tampered = format!(
        "{}{}{}",
        &good[..middle],
        if &good[middle..=middle] == "A" {
            "B"
        } else {
            "A"
        },
        &good[middle + 1..]
    );
    let requests = [
        (
            "ca-true",
            openssl(
                ec,
                "-subj /CN=ca-true -addext basicConstraints=critical,CA:TRUE",
            ),
            "AuthorityNotAllowed",
            "CA:TRUE",
        ),
        (
            "other-name",
            openssl(ec, "-subj /CN=somebody-else"),
            "SubjectMismatch",
            "somebody-else",
        ),
        (
            "san",
            openssl(
                ec,
                "-subj /CN=san -addext subjectAltName=DNS:www.example.com",
            ),
            "NameNotAllowed",
            "www.example.com",
        ),
        (
            "ed",
            openssl("ed25519", "-subj /CN=ed"),
            "KeyNotAllowed",
            "ECDSA",
        ),
        (
            "weak",
            openssl("rsa:1024", "-subj /CN=weak"),
            "InvalidCsr",
            "spec.request",
        ),
        ("tampered", tampered, "InvalidCsr", "spec.request"),
    ];
    for (name, csr, _, _) in &requests {
        world
            .create(device(name, "g", json!({ "request": csr })))
            .await;
    }
    let good = Device::new("good");
    world
        .create(device("good", "g", json!({ "request": good.csr_pem() })))
        .await;
    let _operator = world.operator(&[]).await;
    for (name, _, reason, words) in requests {
        let refused: DeviceIdentity = world.until(name, reason).await;
        for aspect in ["Ready", "Issued"] {
            let found = condition(&refused, aspect).unwrap();
            assert_eq!(found.reason, reason);
            assert!(found.message.contains(words), "{name}: {}", found.message);
        }
        assert_eq!(world.record(name).await, [""; 0]);
    }
    world.until::<DeviceIdentity>("good", "True").await;
}
