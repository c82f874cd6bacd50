//! What the events say, and what they never say.

use std::{fs, time::Duration};

use base64::prelude::{BASE64_STANDARD, Engine};
use devicecert::api::DeviceIdentity;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::{events, scene, until_events};
use crate::harness::{CONVERGES, Device, Est, Facts, PASSWORD, device, eventually};

/// Takes out of an event what differs each time, and checks its form.
fn without_moment(event: &Value) -> Value {
    let mut event = event.clone();
    let fields = event.as_object_mut().unwrap();
    let time = fields.remove("time").unwrap();
    let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    let age = jiff::Timestamp::now().duration_since(time).as_secs();
    assert!((0..600).contains(&age), "{time}");
    let id = fields.remove("id").unwrap();
    let id = id.as_str().unwrap();
    assert!(
        id.len() == 32 && id.bytes().all(|c| c.is_ascii_hexdigit()),
        "{id}"
    );
    event
}

#[tokio::test]
async fn a_refused_a_granted_and_a_renewed_enrolment_give_one_event_each() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.jsonl");
    let scene = scene(&["--audit-log", log.to_str().unwrap()]).await;
    let (namespace, thing) = (&scene.world.namespace, Device::new("thing"));
    let group = json!({ "namespace": namespace, "name": "g" });

    let wrong = scene.user.user("u", "mistyped-secret");
    let refused = wrong.enroll("factory", &thing.csr()).await;
    refused.refuses(401, "WrongPassword", &[]);
    let event = without_moment(&until_events(&log, 1).await[0]);
    let key = event["requested"]["keyFingerprint"].clone();
    assert_eq!(key.as_str().unwrap().len(), 64, "{event}");
    let message = refused.body.trim().split_once(": ").unwrap().1;
    let asked = json!({
        "subject": "CN=thing",
        "subjectAltNames": [],
        "keyAlgorithm": "ECDSA-P256",
        "keyFingerprint": key,
    });
    assert_eq!(
        event,
        json!({
            "door": "est", "operation": "enroll", "peer": "127.0.0.1", "label": "factory", "group": group,
            "requested": asked, "outcome": "refused", "reason": "WrongPassword", "message": message,
        })
    );

    let certificate = scene
        .user
        .enroll("factory", &thing.csr())
        .await
        .certificate();
    let event = without_moment(&until_events(&log, 2).await[1]);
    let found: DeviceIdentity = scene.world.get("thing").await;
    let recorded = found.status.unwrap().certificate.unwrap();
    let granted = json!({
        "serialNumber": recorded.serial_number,
        "fingerprint": Facts::of(&certificate).fingerprint(),
        "issuer": recorded.issuer,
        "subject": "CN=thing",
        "subjectAltNames": [],
        "notBefore": recorded.not_before,
        "notAfter": recorded.not_after,
    });
    assert_eq!(
        event,
        json!({
            "door": "est", "operation": "enroll", "peer": "127.0.0.1", "label": "factory", "group": group,
            "principal": { "type": "Password", "name": "u" }, "device": "thing", "requested": asked,
            "outcome": "granted", "reason": "Issued", "message": "the certificate is on record", "granted": granted,
        })
    );

    let anonymous = Est::of(&scene.world, &scene.operator).await;
    anonymous
        .certificate(&certificate, &thing.key)
        .reenroll("factory", &thing.csr())
        .await
        .certificate();
    let event = &until_events(&log, 3).await[2];
    let print = Facts::of(&certificate).fingerprint();
    assert_eq!(event["operation"], "reenroll");
    assert_eq!(
        event["principal"],
        json!({ "type": "Device", "fingerprint": print })
    );
    assert_eq!(
        (&event["outcome"], &event["reason"]),
        (&json!("granted"), &json!("Renewed"))
    );
}

#[tokio::test]
async fn what_the_operator_issues_for_the_cluster_is_told_too() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.jsonl");
    let scene = scene(&["--audit-log", log.to_str().unwrap()]).await;
    let secret = json!({ "secretName": "inside-tls" });
    scene.world.create(device("inside", "g", secret)).await;
    scene.world.until::<DeviceIdentity>("inside", "True").await;
    let event = without_moment(&until_events(&log, 1).await[0]);
    assert_eq!(event["door"], "operator");
    assert_eq!(event["operation"], "issue");
    assert_eq!(event["principal"], json!({ "type": "Operator" }));
    assert_eq!(event["device"], "inside");
    assert_eq!(event["outcome"], "granted");
    let record = scene.world.record("inside").await;
    assert_eq!(event["granted"]["fingerprint"], json!(record[0]));
}

#[tokio::test]
async fn no_event_holds_a_secret_or_breaks_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.jsonl");
    let scene = scene(&["--audit-log", log.to_str().unwrap()]).await;
    let hostile = Device::new("evil\r\n{\"outcome\":\"granted\"}\u{1b}[2J");
    let reply = scene.user.enroll("factory", &hostile.csr()).await;
    assert_ne!(reply.status, 200);
    // A password where the user name belongs happens to the best.
    let swapped = scene.user.user(PASSWORD, "u");
    swapped
        .enroll("factory", &Device::new("d").csr())
        .await
        .refuses(401, "WrongPassword", &[]);
    scene
        .user
        .enroll("nowhere", &Device::new("d").csr())
        .await
        .refuses(404, "UnknownLabel", &[]);
    scene
        .user
        .enroll("factory", &Device::new("d").csr())
        .await
        .certificate();
    let found = until_events(&log, 4).await;
    let outcomes: Vec<_> = found.iter().map(|event| event["outcome"].clone()).collect();
    assert_eq!(outcomes[..3], ["refused"; 3], "{found:#?}");
    assert_eq!(outcomes[3], "granted");
    let text = fs::read_to_string(&log).unwrap();
    let basic = BASE64_STANDARD.encode(format!("u:{PASSWORD}"));
    for never in [PASSWORD, &basic, "PRIVATE KEY", "\u{1b}", "\r"] {
        assert!(!text.contains(never), "{never:?}");
    }
}

#[tokio::test]
async fn without_a_choice_events_are_on_stdout() {
    let scene = scene(&[]).await;
    let device = Device::new("d");
    scene
        .user
        .enroll("factory", &device.csr())
        .await
        .certificate();
    // The harness lets the log of the operator and its standard output run together.
    let line = eventually("the event is there", CONVERGES, async || {
        let log = scene.operator.log();
        let line = log.lines().find(|line| line.starts_with("{\"time\""));
        line.map(str::to_string).ok_or(log)
    })
    .await;
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["outcome"], "granted");
}

#[tokio::test]
async fn a_rotated_log_goes_on_in_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let (log, old) = (dir.path().join("audit.jsonl"), dir.path().join("audit.1"));
    let scene = scene(&["--audit-log", log.to_str().unwrap()]).await;
    let enroll = async |id: &str| {
        let reply = scene.user.enroll("factory", &Device::new(id).csr()).await;
        reply.certificate();
    };
    enroll("a").await;
    until_events(&log, 1).await;
    fs::rename(&log, &old).unwrap();
    enroll("b").await;
    until_events(&log, 1).await;
    assert_eq!(events(&old).len(), 1);
    // logrotate's own way.
    fs::rename(&log, &old).unwrap();
    scene.operator.signal("HUP");
    until_events(&log, 0).await;
    eventually("the signal makes a new file", CONVERGES, async || {
        log.exists().then_some(()).ok_or("none")
    })
    .await;
    enroll("c").await;
    assert_eq!(until_events(&log, 1).await[0]["device"], "c");
}

#[tokio::test]
async fn clients_that_hang_up_leave_no_certificate_without_its_event() {
    const CLIENTS: u64 = 24;
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.jsonl");
    let mut scene = scene(&["--audit-log", log.to_str().unwrap()]).await;
    // Each hangs up at another moment, and an enrolment takes some hundred milliseconds.
    let clients = (0..CLIENTS).map(|number| {
        let user = &scene.user;
        async move {
            let csr = Device::new(&format!("d{number}")).csr();
            let patience = Duration::from_millis(5 + number * 30);
            let _ = tokio::time::timeout(patience, user.try_enroll("factory", &csr)).await;
        }
    });
    futures::future::join_all(clients).await;
    scene.operator.stop().await;

    let mut recorded: Vec<String> = scene
        .world
        .api::<DeviceIdentity>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .into_iter()
        .filter_map(|device| Some(device.status?.certificate?.serial_number))
        .collect();
    let mut told: Vec<String> = events(&log)
        .iter()
        .filter_map(|event| Some(event["granted"]["serialNumber"].as_str()?.to_string()))
        .collect();
    recorded.sort();
    told.sort();
    assert_eq!(recorded, told);
}
