//! Several replicas on one API server: all serve EST and sign, one reconciles, and whichever is lost, the others go on.

mod credentials;
mod enrolment;
mod takeover;

use devicecert::api::DeviceIdentity;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::Api;
use serde_json::json;

use crate::harness::{
    CONVERGES, Cluster, Operator, PASSWORD, World, eventually, htpasswd, merge, password_secret,
};

/// Times that a test has the patience for, on a machine that others use too.
const TIMES: [&str; 4] = [
    "--leader-election",
    "--lease-duration=6s",
    "--renew-deadline=4s",
    "--retry-period=1s",
];

/// A world for replicas: the group `g` without an EST label, open to the user `u`.
async fn world(cluster: &'static Cluster, more: serde_json::Value) -> World {
    let world = World::within(cluster).await;
    world
        .create(password_secret("users", &htpasswd(&[("u", PASSWORD)])))
        .await;
    let passwords =
        json!({ "secretRef": { "name": "users" }, "registration": "Open", "existing": "Any" });
    let mut spec = json!({ "authentication": { "passwords": passwords } });
    merge(&mut spec, more);
    world.pki(spec).await;
    world
}

/// Starts one of the replicas.
async fn replica(world: &World) -> Operator {
    let group = format!("{}/g", world.namespace);
    world
        .operator_with_est(&[TIMES.as_slice(), &["--est-default", &group]].concat())
        .await
}

/// Two replicas, of which the first leads.
async fn leader_and_standby(world: &World) -> (Operator, Operator) {
    let leader = replica(world).await;
    until_leading(&leader).await;
    let standby = replica(world).await;
    world.until_pki().await;
    assert!(!leads(&standby).await);
    (leader, standby)
}

/// Whether it says of itself that it leads.
async fn leads(operator: &Operator) -> bool {
    operator.metrics().await.count("devicecert_leader", &[]) == 1
}

async fn until_leading(operator: &Operator) {
    eventually("the replica leads", CONVERGES, async || {
        match leads(operator).await {
            true => Ok(()),
            false => Err(operator.log()),
        }
    })
    .await;
}

/// How many objects it has reconciled.
async fn reconciled(operator: &Operator) -> u64 {
    let metrics = operator.metrics().await;
    metrics.count("devicecert_reconcile_duration_seconds_count", &[])
}

async fn lease(world: &World) -> Lease {
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), &world.keys);
    leases.get("devicecert-operator").await.unwrap()
}

/// Who holds the Lease, and how often it has changed hands.
async fn holder(world: &World) -> (String, i32) {
    let spec = lease(world).await.spec.unwrap();
    (
        spec.holder_identity.unwrap_or_default(),
        spec.lease_transitions.unwrap_or(-1),
    )
}

/// Deletes a device's Secret and waits until there is another, with the newest certificate on record.
async fn until_restored(world: &World, device: &str, secret: &str) {
    let before = world.get::<Secret>(secret).await.metadata.uid;
    world.delete::<Secret>(secret).await;
    eventually("the Secret is restored", CONVERGES, async || {
        let found = world.api::<Secret>().get_opt(secret).await.unwrap();
        match found {
            Some(found) if found.metadata.uid != before => Ok(()),
            _ => Err("not there"),
        }
    })
    .await;
    world.until::<DeviceIdentity>(device, "True").await;
}
