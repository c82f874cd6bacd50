//! A log that cannot be written, under both choices.

use std::{fs, os::unix::fs::symlink};

use devicecert::api::DeviceIdentity;
use serde_json::json;

use super::{events, lost, scene};
use crate::harness::{CONVERGES, Device, device, eventually};

#[tokio::test]
async fn with_continue_a_full_disk_costs_events_and_no_certificates() {
    let scene = scene(&["--audit-log", "/dev/full"]).await;
    assert_eq!(lost(&scene.operator, "log").await, 0);
    for number in 1..=3 {
        let device = Device::new(&format!("d{number}"));
        scene
            .user
            .enroll("factory", &device.csr())
            .await
            .certificate();
        eventually("the loss is counted", CONVERGES, async || {
            match lost(&scene.operator, "log").await {
                count if count == number => Ok(()),
                count => Err(count),
            }
        })
        .await;
    }
    let log = scene.operator.log();
    assert_eq!(
        log.matches("the audit log cannot be written").count(),
        1,
        "said once"
    );
}

#[tokio::test]
async fn with_refuse_a_full_disk_stops_everything_until_it_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let (log, real) = (dir.path().join("audit"), dir.path().join("real"));
    symlink("/dev/full", &log).unwrap();
    let path = log.to_str().unwrap();
    let scene = scene(&["--audit-log", path, "--audit-failure", "Refuse"]).await;
    let thing = Device::new("thing");
    for _ in 0..5 {
        let reply = scene.user.enroll("factory", &thing.csr()).await;
        reply.refuses(503, "AuditUnavailable", &["audit log"]);
        assert!(reply.header("Retry-After").is_some());
    }
    // The first was found out only after it was on record; the record does not fill up further.
    assert_eq!(scene.world.record("thing").await.len(), 1);
    let secret = json!({ "secretName": "inside-tls" });
    scene.world.create(device("inside", "g", secret)).await;
    eventually("the operator is refused too", CONVERGES, async || {
        let refused = [("controller", "device"), ("reason", "AuditUnavailable")];
        let metrics = scene.operator.metrics().await;
        match metrics.count("devicecert_reconcile_errors_total", &refused) {
            0 => Err("not yet"),
            _ => Ok(()),
        }
    })
    .await;
    assert!(lost(&scene.operator, "log").await >= 6);

    fs::write(&real, "").unwrap();
    fs::remove_file(&log).unwrap();
    symlink(&real, &log).unwrap();
    eventually("devices enrol again", CONVERGES, async || {
        let reply = scene.user.enroll("factory", &thing.csr()).await;
        match reply.status {
            200 => Ok(()),
            _ => Err(reply.body),
        }
    })
    .await;
    scene.world.until::<DeviceIdentity>("inside", "True").await;
    // An answer that was given has its event in the file already.
    let devices: Vec<_> = events(&real)
        .into_iter()
        .filter(|event| event["outcome"] == "granted")
        .map(|event| event["device"].as_str().unwrap().to_string())
        .collect();
    assert!(
        devices.contains(&"thing".into()) && devices.contains(&"inside".into()),
        "{devices:?}"
    );
}

#[tokio::test]
async fn with_refuse_every_answer_is_on_the_log_before_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit");
    let path = log.to_str().unwrap();
    let mut scene = scene(&["--audit-log", path, "--audit-failure", "refuse"]).await;
    let asking = (0..8).map(async |number| {
        let device = Device::new(&format!("d{number}"));
        let certificate = scene
            .user
            .enroll("factory", &device.csr())
            .await
            .certificate();
        let print = crate::harness::fingerprint(&certificate);
        let told = events(&log);
        let told = told
            .iter()
            .any(|event| event["granted"]["fingerprint"] == print);
        assert!(told, "d{number}");
    });
    futures::future::join_all(asking).await;
    scene.operator.kill();
    assert_eq!(events(&log).len(), 8);
}
