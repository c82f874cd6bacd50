//! The audit trail: one event for each decision, and what happens when it cannot be written.

mod events;
mod failure;
mod webhook;

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::harness::{Est, Operator, PASSWORD, World, eventually, htpasswd, password_secret};

/// A world with an operator that serves EST for the group `g`, and the way to it as the user `u`.
struct Scene {
    world: World,
    operator: Operator,
    user: Est,
}

async fn scene(arguments: &[&str]) -> Scene {
    let world = World::new().await;
    world
        .create(password_secret("users", &htpasswd(&[("u", PASSWORD)])))
        .await;
    let passwords =
        json!({ "secretRef": { "name": "users" }, "registration": "Open", "existing": "Any" });
    world
        .pki(json!({ "authentication": { "passwords": passwords } }))
        .await;
    let label = format!("factory={}/g", world.namespace);
    let operator = world
        .operator_with_est(&[&["--est-label", &label], arguments].concat())
        .await;
    world.until_pki().await;
    let user = Est::of(&world, &operator).await.user("u", PASSWORD);
    Scene {
        world,
        operator,
        user,
    }
}

/// The events of a log, each of which must be a line of JSON.
fn events(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// Waits until a log has so many events; it must not get more.
async fn until_events(log: &Path, count: usize) -> Vec<Value> {
    eventually(
        format!("there are {count} events"),
        Duration::from_secs(20),
        async || {
            let found = events(log);
            assert!(found.len() <= count, "too many: {found:#?}");
            match found.len() == count {
                true => Ok(found),
                false => Err(format!("{found:#?}")),
            }
        },
    )
    .await
}

async fn lost(operator: &Operator, sink: &str) -> u64 {
    let metrics = operator.metrics().await;
    let name = "devicecert_audit_lost_total";
    metrics
        .sum(name, &[("sink", sink)])
        .expect("there from the start") as u64
}
