//! The EST server as a process of its own, without credentials: what works through it, and what it does not hold.

mod away;
mod enrolment;
mod rogue;
mod search;
mod secrets;
mod socket;

use serde_json::json;

use crate::harness::{Est, PASSWORD, Sidecar, World, htpasswd, password_secret};

/// A world with both processes, EST for the group `g`, and the ways to it.
struct Scene {
    world: World,
    sidecar: Sidecar,
    /// Without credentials.
    anonymous: Est,
    /// As the user `u`.
    user: Est,
    /// The password file.
    htpasswd: String,
}

async fn scene() -> Scene {
    let world = World::new().await;
    let users = htpasswd(&[("u", PASSWORD)]);
    world.create(password_secret("users", &users)).await;
    let passwords =
        json!({ "secretRef": { "name": "users" }, "registration": "Open", "existing": "Any" });
    world
        .pki(json!({ "authentication": { "passwords": passwords } }))
        .await;
    let default = format!("--est-default={}/g", world.namespace);
    let sidecar = world.sidecar(&[&default]).await;
    world.until_pki().await;
    let anonymous = Est::at(&world, sidecar.est_port).await;
    let user = anonymous.user("u", PASSWORD);
    Scene {
        world,
        sidecar,
        anonymous,
        user,
        htpasswd: users,
    }
}
