//! Enrolment over EST: the real server in the real operator, and clients as they are in the field.

mod approval;
mod authorities;
mod azure;
mod bootstrap;
mod channel;
mod clients;
mod existing;
mod identity;
mod passwords;
mod refusals;
mod registration;
mod renewal;
mod resumption;
mod rules;
mod server;
mod server_keygen;
mod tokens;

use serde_json::{Value, json};

use crate::harness::{Device, Est, Operator, PASSWORD, World, htpasswd, merge, password_secret};

/// A world with an operator that serves EST for the group `g`, and the ways to it.
pub(crate) struct Scene {
    pub world: World,
    pub operator: Operator,
    /// Without credentials.
    pub anonymous: Est,
    /// As the user `u`.
    pub user: Est,
}

impl Scene {
    /// Enrols a device in the group `g`, and returns a client with its certificate.
    async fn enrolled(&self, device: &Device) -> Est {
        let certificate = self.user.enroll("", &device.csr()).await.certificate();
        self.anonymous.certificate(&certificate, &device.key)
    }
}

/// With these settings for passwords, and `more` merged into the group.
pub(crate) async fn scene(passwords: Value, more: Value) -> Scene {
    scene_with(passwords, more, &[]).await
}

/// The same, with further arguments for the operator.
async fn scene_with(passwords: Value, more: Value, arguments: &[&str]) -> Scene {
    let world = World::new().await;
    let users = htpasswd(&[("u", PASSWORD), ("v", PASSWORD)]);
    world.create(password_secret("users", &users)).await;
    let mut all = json!({ "secretRef": { "name": "users" } });
    merge(&mut all, passwords);
    let mut spec = json!({ "authentication": { "passwords": all } });
    merge(&mut spec, more);
    world.pki(spec).await;
    let group = format!("{}/g", world.namespace);
    let label = format!("factory={group}");
    let labels = ["--est-default", &group, "--est-label", &label];
    let operator = world
        .operator_with_est(&[&labels, arguments].concat())
        .await;
    world.until_pki().await;
    let anonymous = Est::of(&world, &operator).await;
    let user = anonymous.user("u", PASSWORD);
    Scene {
        world,
        operator,
        anonymous,
        user,
    }
}

/// Passwords may register, and replace what is there.
pub(crate) fn open() -> Value {
    json!({ "registration": "Open", "existing": "Any" })
}
