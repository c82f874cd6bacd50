//! One replica reconciles; another takes over when that one dies, leaves, or is cut off.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use devicecert::api::DeviceIdentity;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use serde_json::json;

use super::{
    holder, leader_and_standby, leads, reconciled, replica, until_leading, until_restored, world,
};
use crate::harness::{CONVERGES, Cluster, World, device, eventually};

async fn inside(world: &World) {
    let secret = json!({ "secretName": "inside-tls" });
    world.create(device("inside", "g", secret)).await;
    world.until::<DeviceIdentity>("inside", "True").await;
}

#[tokio::test]
async fn exactly_one_of_two_reconciles_and_both_are_ready() {
    let world = world(Cluster::shared(), json!({})).await;
    let (leader, standby) = leader_and_standby(&world).await;
    inside(&world).await;
    until_restored(&world, "inside", "inside-tls").await;
    assert!(leads(&leader).await && !leads(&standby).await);
    assert!(reconciled(&leader).await > 0);
    assert_eq!(reconciled(&standby).await, 0);
    let written = standby
        .metrics()
        .await
        .count("devicecert_api_writes_total", &[]);
    assert_eq!(written, 0, "a standby writes nothing");
    assert_eq!(standby.get("/readyz").await.unwrap().0, 200);
    let (name, transitions) = holder(&world).await;
    assert!(leader.log().contains(&name), "{name}");
    assert_eq!(transitions, 0);
    let events: Api<Event> = Api::namespaced(world.client.clone(), &world.keys);
    eventually("an Event tells of the election", CONVERGES, async || {
        let events = events.list(&Default::default()).await.unwrap();
        let told = events.iter().find(|event| {
            event.reason.as_deref() == Some("LeaderElection")
                && event.involved_object.kind.as_deref() == Some("Lease")
        });
        let note = told.and_then(|event| event.message.clone());
        match note {
            Some(note) if note == format!("{name} became the leader") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn after_kill_9_the_standby_takes_over_and_certificates_stay_valid() {
    let profile = json!({ "profile": { "validity": "60s" } });
    let world = world(Cluster::shared(), profile).await;
    let (mut leader, standby) = leader_and_standby(&world).await;
    inside(&world).await;
    let first = holder(&world).await.0;
    leader.kill();
    let killed = Instant::now();
    until_leading(&standby).await;
    let took = killed.elapsed();
    // It cannot know earlier than that; one attempt was up to 1.2 s before.
    assert!(took > Duration::from_secs(3), "{took:?}");
    let (second, transitions) = holder(&world).await;
    assert_ne!(first, second);
    assert_eq!(transitions, 1);
    until_restored(&world, "inside", "inside-tls").await;
    // What the dead leader issued is renewed by the new one before it expires.
    let record = world.record("inside").await;
    eventually(
        "the new leader renews",
        Duration::from_secs(90),
        async || {
            let device: DeviceIdentity = world.get("inside").await;
            let certificate = device.status.unwrap().certificate.unwrap();
            assert!(certificate.not_after.0 > jiff::Timestamp::now(), "expired");
            match record.contains(&certificate.fingerprint) {
                false => Ok(()),
                true => Err("still the old one"),
            }
        },
    )
    .await;
    // The dead one comes back as a standby.
    leader.restart().await;
    assert!(!leads(&leader).await && leads(&standby).await);
    assert_eq!(holder(&world).await, (second, 1));
}

#[tokio::test]
async fn a_leader_that_is_asked_to_stop_hands_over_at_once() {
    let world = world(Cluster::shared(), json!({})).await;
    let (mut leader, standby) = leader_and_standby(&world).await;
    inside(&world).await;
    let asked = Instant::now();
    leader.stop().await;
    let ended = asked.elapsed();
    until_leading(&standby).await;
    let took = asked.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "{took:?}, of which {ended:?} to the end of the process"
    );
    assert!(leader.log().contains("the Lease is given back"));
    assert_eq!(holder(&world).await.1, 1);
    until_restored(&world, "inside", "inside-tls").await;
    // And back again, also while nobody else is there to lead.
    leader.restart().await;
    drop(standby);
    until_leading(&leader).await;
    until_restored(&world, "inside", "inside-tls").await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_steps_down_and_only_one_leads_afterwards() {
    static OWN: OnceLock<Cluster> = OnceLock::new();
    let cluster = OWN.get_or_init(|| Cluster::start("replicas"));
    let world = world(cluster, json!({})).await;
    let (mut leader, mut standby) = leader_and_standby(&world).await;
    for operator in [&mut leader, &mut standby] {
        // An API server that is starting refuses everybody until it knows the roles.
        operator.forgive("is forbidden");
    }
    inside(&world).await;
    cluster.stop_apiserver();
    let cut = Instant::now();
    eventually("the leader steps down", CONVERGES, async || {
        assert!(!leads(&standby).await, "nobody can take over now");
        match leads(&leader).await {
            false => Ok(()),
            true => Err("still leading"),
        }
    })
    .await;
    // The renewal deadline is 4 s.
    assert!(
        cut.elapsed() < Duration::from_secs(7),
        "{:?}",
        cut.elapsed()
    );
    assert_eq!(leader.get("/readyz").await.unwrap().0, 200, "it lives on");
    tokio::task::spawn_blocking(|| cluster.start_apiserver())
        .await
        .unwrap();
    eventually("one leads again", CONVERGES, async || {
        match (leads(&leader).await, leads(&standby).await) {
            (true, true) => panic!("two lead"),
            (false, false) => Err("none"),
            _ => Ok(()),
        }
    })
    .await;
    let secrets = world.api::<Secret>();
    eventually("the API server lets us in", CONVERGES, async || {
        secrets.get("inside-tls").await.map(|_| ())
    })
    .await;
    until_restored(&world, "inside", "inside-tls").await;
    assert!(leads(&leader).await != leads(&standby).await);
}

#[tokio::test]
async fn a_replica_that_was_paused_does_not_go_on_as_leader() {
    let world = world(Cluster::shared(), json!({})).await;
    let (leader, standby) = leader_and_standby(&world).await;
    inside(&world).await;
    leader.signal("STOP");
    until_leading(&standby).await;
    leader.signal("CONT");
    assert!(!leads(&leader).await, "it leads at no moment");
    until_restored(&world, "inside", "inside-tls").await;
    assert!(!leads(&leader).await && leads(&standby).await);
}

#[tokio::test]
async fn a_lease_that_was_deleted_is_made_anew() {
    let world = world(Cluster::shared(), json!({})).await;
    let leader = replica(&world).await;
    until_leading(&leader).await;
    let delete = ["-n", &world.keys, "delete", "lease", "devicecert-operator"];
    world.cluster.kubectl(&delete, "").unwrap();
    world.until_pki().await;
    eventually("there is a Lease again", CONVERGES, async || {
        let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
            Api::namespaced(world.client.clone(), &world.keys);
        let lease = leases.get_opt("devicecert-operator").await.unwrap();
        lease.map(|_| ()).ok_or("none")
    })
    .await;
    until_leading(&leader).await;
    inside(&world).await;
}
