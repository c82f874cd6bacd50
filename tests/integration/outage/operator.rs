//! The operator is killed at the worst moment, or runs twice.

use std::{collections::BTreeSet, time::Duration};

use devicecert::api::{ConditionStatus, DeviceIdentity};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::harness::{Facts, World, condition, device, eventually};

const DEVICES: usize = 500;

/// Waits until all devices are Ready; then every Secret must hold the newest certificate on its device's record.
async fn all_in_order(world: &World, count: usize) {
    eventually(
        "all devices are Ready",
        Duration::from_secs(240),
        async || {
            let devices = world
                .api::<DeviceIdentity>()
                .list(&Default::default())
                .await
                .unwrap();
            let ready = devices
                .iter()
                .filter(|device| {
                    condition(*device, "Ready")
                        .is_some_and(|ready| ready.status == ConditionStatus::True)
                })
                .count();
            if ready == count {
                Ok(())
            } else {
                Err(format!("{ready} of {count}"))
            }
        },
    )
    .await;
    let devices = world
        .api::<DeviceIdentity>()
        .list(&Default::default())
        .await
        .unwrap();
    let secrets = world
        .api::<Secret>()
        .list(&Default::default())
        .await
        .unwrap();
    let mut serials = BTreeSet::new();
    for device in devices {
        let name = device.metadata.name.clone().unwrap();
        let status = device.status.unwrap();
        let secret = secrets
            .iter()
            .find(|secret| secret.metadata.name.as_deref() == Some(&format!("{name}-tls")));
        let data = secret.and_then(|secret| secret.data.clone()).unwrap();
        let leaf = Facts::of_pem(std::str::from_utf8(&data["tls.crt"].0).unwrap());
        let current = status.certificate.unwrap();
        assert_eq!(current.fingerprint, leaf.fingerprint(), "{name}");
        assert!(
            status.previous.len() <= 3,
            "{name} has {} older certificates",
            status.previous.len()
        );
        assert!(
            serials.insert(current.serial_number),
            "{name} has the serial of another"
        );
    }
}

async fn create_devices(world: &World, count: usize) {
    stream::iter(0..count)
        .for_each_concurrent(16, |number| async move {
            let name = format!("d{number}");
            let secret = json!({ "secretName": format!("{name}-tls") });
            world.create(device(&name, "g", secret)).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_devices_survive_kill_9_in_the_middle() {
    let world = World::new().await;
    world.pki(json!({})).await;
    let mut operator = world.operator(&[]).await;
    world.until_pki().await;
    create_devices(&world, DEVICES).await;
    for part in [DEVICES / 10, DEVICES / 2] {
        eventually("a part is issued", Duration::from_secs(120), async || {
            let secrets = world
                .api::<Secret>()
                .list_metadata(&Default::default())
                .await
                .unwrap();
            if secrets.items.len() >= part {
                Ok(())
            } else {
                Err(secrets.items.len())
            }
        })
        .await;
        operator.kill();
        operator.restart().await;
    }
    all_in_order(&world, DEVICES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_at_once_corrupt_nothing() {
    let world = World::new().await;
    world.pki(json!({})).await;
    let one = world.operator(&[]).await;
    let two = world.operator(&[]).await;
    world.until_pki().await;
    create_devices(&world, 30).await;
    all_in_order(&world, 30).await;
    drop((one, two));
}
