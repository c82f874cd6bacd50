//! EST on every replica: the same server, the same record.

use std::time::Duration;

use devicecert::api::DeviceIdentity;
use futures::future::join_all;
use serde_json::json;

use super::{holder, leader_and_standby, leads, until_leading, world};
use crate::harness::{CONVERGES, Cluster, Device, Est, Facts, PASSWORD, eventually, fingerprint};

#[tokio::test]
async fn both_replicas_enrol_the_same_devices_and_every_certificate_is_on_record() {
    let world = world(Cluster::shared(), json!({})).await;
    let (leader, standby) = leader_and_standby(&world).await;
    let ways = [
        Est::of(&world, &leader).await.user("u", PASSWORD),
        Est::of(&world, &standby).await.user("u", PASSWORD),
    ];
    let devices: Vec<Device> = (0..4)
        .map(|n| Device::new(&format!("shared-{n}")))
        .collect();
    // Each device asks both replicas at the same time, three times over.
    let asking = devices.iter().map(async |device| {
        let mut received = Vec::new();
        for _ in 0..3 {
            let (one, two) = (device.csr(), device.csr());
            let replies = tokio::join!(ways[0].enroll("", &one), ways[1].enroll("", &two));
            for reply in [replies.0, replies.1] {
                match reply.status {
                    200 => received.push(fingerprint(&reply.certificate())),
                    _ => reply.refuses(503, "Conflict", &["try again"]),
                }
            }
        }
        let record = world.record(&device.id).await;
        assert!(!received.is_empty(), "{}", device.id);
        for known in received {
            assert!(
                record.contains(&known),
                "{}: {known} is not on record",
                device.id
            );
        }
    });
    join_all(asking).await;
    for device in &devices {
        world.until::<DeviceIdentity>(&device.id, "True").await;
    }
    // What one has issued, the other renews at once.
    let fresh = Device::new("roaming");
    let certificate = ways[0].enroll("", &fresh.csr()).await.certificate();
    let renewed = eventually("the standby knows the certificate", CONVERGES, async || {
        let renewing = ways[1].certificate(&certificate, &fresh.key);
        let reply = renewing.reenroll("", &fresh.csr()).await;
        match reply.status {
            200 => Ok(reply.certificate()),
            _ => Err(reply.body),
        }
    })
    .await;
    assert_eq!(world.record("roaming").await[0], fingerprint(&renewed));
}

#[tokio::test]
async fn both_replicas_show_the_same_server_certificate_and_its_renewal() {
    let world = world(Cluster::shared(), json!({})).await;
    let group = format!("{}/g", world.namespace);
    let arguments = [
        super::TIMES.as_slice(),
        &["--est-default", &group, "--est-validity", "60s"],
    ]
    .concat();
    let (one, two) = tokio::join!(
        world.operator_with_est(&arguments),
        world.operator_with_est(&arguments)
    );
    let shown = async || {
        let mut shown = Vec::new();
        for operator in [&one, &two] {
            let est = Est::of(&world, operator).await;
            let facts = Facts::of(&est.connect().await.unwrap().server_certificate);
            assert!(
                facts.not_after > jiff::Timestamp::now().as_second(),
                "expired"
            );
            shown.push(facts.serial);
        }
        shown
    };
    let first = shown().await;
    assert_eq!(first[0], first[1]);
    eventually("both show a new one", Duration::from_secs(90), async || {
        let now = shown().await;
        if now[0] == now[1] && now[0] != first[0] {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn while_no_one_leads_devices_enrol_all_the_same() {
    let world = world(Cluster::shared(), json!({})).await;
    let (mut leader, standby) = leader_and_standby(&world).await;
    let user = Est::of(&world, &standby).await.user("u", PASSWORD);
    let before = holder(&world).await;
    leader.kill();
    let device = Device::new("orphan");
    let certificate = user.enroll("", &device.csr()).await.certificate();
    assert!(!leads(&standby).await, "the Lease has not run out yet");
    assert_eq!(holder(&world).await, before);
    assert_eq!(world.record("orphan").await, [fingerprint(&certificate)]);
    until_leading(&standby).await;
}
