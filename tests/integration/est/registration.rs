//! Unknown devices: when they are registered, under which names, and what they may ask for.

use std::fs;

use devicecert::api::{DeviceIdentity, EnrollmentGroup};
use futures::{StreamExt, TryStreamExt};
use kube::{ResourceExt, api::WatchParams, core::WatchEvent};
use serde_json::json;

use super::{open, scene};
use crate::harness::{
    CONVERGES, Device, Est, Facts, PASSWORD, World, condition, device, group, htpasswd,
    password_secret, run_in,
};

async fn devices(world: &World) -> Vec<String> {
    let list = world
        .api::<DeviceIdentity>()
        .list(&Default::default())
        .await
        .unwrap();
    list.items.iter().map(ResourceExt::name_any).collect()
}

#[tokio::test]
async fn an_enrolment_is_two_writes_the_identity_and_then_its_certificate() {
    let scene = scene(json!({ "registration": "Open" }), json!({})).await;
    let events = scene
        .world
        .api::<DeviceIdentity>()
        .watch(&WatchParams::default(), "0")
        .await
        .unwrap();
    let mut events = events.boxed();
    for number in 0..5 {
        let device = Device::new(&format!("Pump-{number}"));
        let certificate = scene.user.enroll("", &device.csr()).await.certificate();
        // No waiting: what the client holds now must be on record now.
        let recorded: DeviceIdentity = scene.world.get(&format!("pump-{number}")).await;
        let facts = Facts::of(&certificate);
        let status = recorded.status.clone().unwrap();
        let current = status.certificate.clone().unwrap();
        assert_eq!(
            (current.fingerprint, current.serial_number),
            (facts.fingerprint(), facts.serial)
        );
        assert_eq!(
            recorded.spec.registration_id.as_deref(),
            Some(&*device.id),
            "the spelling is kept"
        );
        assert_eq!(recorded.spec.group_ref.name, "g");
        assert_eq!(recorded.labels()["devicecert.dev/group"], "g");
        assert!(
            condition(&recorded, "Ready").is_some_and(|ready| ready.reason == "CertificateReady")
        );
    }
    // Seen from outside: the identity comes without a certificate first, and then with it; nothing else is written.
    let mut seen: Vec<(String, bool)> = Vec::new();
    let watching = async {
        while seen.len() < 10 {
            match events.try_next().await.unwrap().expect("the watch goes on") {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let has = object
                        .status
                        .as_ref()
                        .is_some_and(|status| status.certificate.is_some());
                    seen.push((object.name_any(), has));
                }
                WatchEvent::Bookmark(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(CONVERGES, watching).await.unwrap();
    for number in 0..5 {
        let name = format!("pump-{number}");
        let of: Vec<bool> = seen
            .iter()
            .filter(|(seen, _)| *seen == name)
            .map(|(_, has)| *has)
            .collect();
        assert_eq!(of, [false, true], "{seen:?}");
    }
}

#[tokio::test]
async fn ids_that_cannot_be_are_refused_and_leave_no_trace() {
    let scene = scene(open(), json!({})).await;
    let long = "x".repeat(65);
    for (id, words) in [
        (&*long, "at most 64, it is never cut"),
        ("ends-badly-", "begin and end"),
        ("System:masters", "kept for Kubernetes"),
        ("pümpe", "letters, digits"),
        ("a/b", "letters, digits"),
        ("a*b", "letters, digits"),
    ] {
        let reply = scene.user.enroll("", &Device::new(id).csr()).await;
        reply.refuses(400, "InvalidRegistrationId", &[words]);
    }
    assert_eq!(devices(&scene.world).await, [""; 0]);
    // The longest that can be, and one that is no DNS name.
    for id in [&"x".repeat(64), "00:1B:44:11"] {
        let device = Device::new(id);
        device.owns(&scene.user.enroll("", &device.csr()).await.certificate());
    }
    let names = devices(&scene.world).await;
    assert!(names[0].starts_with("00-1b-44-11--x"), "{names:?}");
}

#[tokio::test]
async fn upper_and_lower_case_are_one_device() {
    let scene = scene(json!({ "registration": "Open" }), json!({})).await;
    let (upper, lower) = (Device::new("PUMP-7"), Device::new("pump-7"));
    upper.owns(&scene.user.enroll("", &upper.csr()).await.certificate());
    let reply = scene
        .anonymous
        .user("v", PASSWORD)
        .enroll("", &lower.csr())
        .await;
    reply.refuses(403, "SameKeyRequired", &["PUMP-7"]);
    assert_eq!(devices(&scene.world).await, ["pump-7"]);
}

#[tokio::test]
async fn labels_lead_where_the_operator_was_told_and_nowhere_else() {
    let world = World::new().await;
    let users = htpasswd(&[("u", PASSWORD)]);
    world.create(password_secret("users", &users)).await;
    let rules = json!({ "authentication": { "passwords": {
        "secretRef": { "name": "users" }, "registration": "Open",
    } } });
    world.pki(rules.clone()).await;
    world.create(group("h", "ca", rules)).await;
    let label = format!("factory={}/h", world.namespace);
    let operator = world.operator_with_est(&["--est-label", &label]).await;
    world.until::<EnrollmentGroup>("h", "True").await;
    let est = Est::of(&world, &operator).await.user("u", PASSWORD);
    let csr = Device::new("d").csr();
    for (label, words) in [
        ("g", "names no group"),
        (
            &*format!("{}.missing", world.namespace),
            "there is no enrolment group",
        ),
        (&*format!("{}.g", world.keys), "there is no enrolment group"),
        ("", "no group is served without a label"),
    ] {
        let reply = est.enroll(label, &csr).await;
        reply.refuses(404, "UnknownLabel", &[words]);
    }
    assert_eq!(est.enroll("factory", &csr).await.status, 200);
    let device: DeviceIdentity = world.get("d").await;
    assert_eq!(device.spec.group_ref.name, "h");
}

#[tokio::test]
async fn what_a_csr_asks_beyond_names_is_ignored() {
    let names = json!({ "allowedNames": {
        "dnsNames": ["${registrationId}.example.com"], "ipAddresses": ["10.0.0.0/8"],
    } });
    let scene = scene(open(), names).await;
    let dir = tempfile::tempdir().unwrap();
    let greedy = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -subj /CN=pump-1/O=Bank \
        -addext subjectAltName=DNS:pump-1.example.com,IP:10.1.2.3 -addext keyUsage=keyCertSign,cRLSign \
        -addext extendedKeyUsage=serverAuth,codeSigning -addext basicConstraints=CA:FALSE 2>/dev/null";
    let csr = run_in(dir.path(), greedy).unwrap();
    let certificate = scene.user.enroll("", &csr).await.certificate();
    let facts = Facts::of(&certificate);
    assert_eq!(facts.names, ["DNS:pump-1.example.com", "IP:10.1.2.3"]);
    assert_eq!(facts.subject, "CN=pump-1");
    assert!(facts.ca.is_none_or(|(ca, _)| !ca));
    fs::write(dir.path().join("c.der"), &certificate).unwrap();
    let script = "openssl x509 -inform DER -in c.der -noout -ext keyUsage,extendedKeyUsage";
    let usages = run_in(dir.path(), script).unwrap();
    let lines: Vec<&str> = usages.lines().map(str::trim).collect();
    let expected = [
        "X509v3 Key Usage: critical",
        "Digital Signature",
        "X509v3 Extended Key Usage:",
        "TLS Web Client Authentication",
    ];
    assert_eq!(lines, expected);

    // The name of another device is nobody's to ask for.
    let other = Device::new("pump-2").csr_with(&["pump-1.example.com"]);
    let reply = scene.user.enroll("", &other).await;
    reply.refuses(403, "NameNotAllowed", &["pump-1.example.com"]);
    assert_eq!(devices(&scene.world).await, ["pump-1"]);
}

#[tokio::test]
async fn a_device_that_was_registered_a_moment_ago_may_enrol() {
    let scene = scene(json!({}), json!({})).await;
    for number in 0..5 {
        let new = Device::new(&format!("new-{number}"));
        scene.world.create(device(&new.id, "g", json!({}))).await;
        new.owns(&scene.user.enroll("", &new.csr()).await.certificate());
    }
}
