//! Status is the record of what was issued: nobody but the operator writes it, whatever their role says.

use devicecert::api::DeviceIdentity;
use serde_json::{Value, json};

use crate::harness::{CONVERGES, World, device, eventually};

const WORDS: &str = "is written by the operator only";

/// A world in which mallory may do everything with our kinds, status among it.
async fn world_with_mallory() -> World {
    let world = World::new().await;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "all" },
        "rules": [{ "apiGroups": ["devicecert.dev"], "resources": ["*"], "verbs": ["*"] }],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "all" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all" },
        "subjects": [{ "kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io" }],
    });
    for object in [role, binding] {
        world.create(object).await;
    }
    world
}

/// What kubectl says to mallory.
fn as_mallory(world: &World, arguments: &[&str], manifest: &Value) -> Result<String, String> {
    let who = ["--as", "mallory", "--namespace", &world.namespace];
    let manifest = manifest.to_string();
    world
        .cluster
        .kubectl(&[arguments, &who].concat(), &manifest)
}

#[tokio::test]
async fn whoever_has_all_rights_on_our_kinds_still_cannot_forge_what_the_operator_believes() {
    let world = world_with_mallory().await;
    world.pki(json!({})).await;
    let token = json!({
        "apiVersion": "devicecert.dev/v1alpha1", "kind": "EnrollmentToken", "metadata": { "name": "t" },
        "spec": { "groupRef": { "name": "g" }, "registrationId": "d", "expiresAt": "2100-01-01T00:00:00Z",
                  "tokenHash": "ab".repeat(32) },
    });
    let victim = device("d", "g", json!({ "secretName": "d-tls" }));
    for object in [token, victim] {
        world.create(object).await;
    }

    let forge = |kind: &str, name: &str, status: &Value| {
        let patch = json!({ "status": status }).to_string();
        let arguments = ["patch", kind, name, "--subresource=status", "--type=merge"];
        let arguments = [&arguments[..], &["-p", &patch]].concat();
        as_mallory(&world, &arguments, &Value::Null)
    };
    // The API server learns of new roles and policies a moment later, so mallory tries until she hears of the policy.
    let anything = json!({});
    eventually("the policy holds", CONVERGES, async || {
        match forge("did", "d", &anything) {
            Err(refusal) if refusal.contains(WORDS) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let compromised = json!({ "phase": "Active", "previous": [] });
    let consumed = json!({ "consumed": {
        "at": "2020-01-01T00:00:00Z", "registrationId": "d", "keyFingerprint": "ab".repeat(32) } });
    for (kind, name, status) in [
        ("did", "d", &compromised),
        ("det", "t", &consumed),
        ("dca", "root", &anything),
        ("deg", "g", &anything),
    ] {
        let refusal = forge(kind, name, status).unwrap_err();
        for words in [WORDS, "the status of", "mallory", "statusPolicy.users"] {
            assert!(refusal.contains(words), "{kind}: {words}: {refusal}");
        }
    }
    let claim = json!({
        "apiVersion": "devicecert.dev/v1alpha1", "kind": "BootstrapClaim",
        "metadata": { "name": "ab".repeat(32), "namespace": world.namespace },
        "spec": { "groupRef": { "name": "g" }, "registrationId": "d", "fingerprint": "ab".repeat(32) },
    });
    let refusal = as_mallory(&world, &["create", "-f", "-"], &claim).unwrap_err();
    assert!(
        refusal.contains("bootstrapclaims is written by"),
        "{refusal}"
    );

    // The operator works under the same policy.
    let _operator = world.operator(&[]).await;
    world.until::<DeviceIdentity>("d", "True").await;
}

#[tokio::test]
async fn status_does_not_come_in_with_the_object() {
    let world = world_with_mallory().await;
    let mut forged = device("d", "g", json!({}));
    forged["metadata"]["namespace"] = json!(world.namespace);
    forged["status"] = json!({ "phase": "Active" });
    let create = ["create", "--validate=false", "-f", "-"];
    eventually("mallory may create", CONVERGES, async || {
        as_mallory(&world, &create, &forged)
    })
    .await;
    let created: DeviceIdentity = world.get("d").await;
    assert_eq!(created.status, None);

    forged["metadata"]["labels"] = json!({ "seen": "yes" });
    as_mallory(&world, &["replace", "-f", "-"], &forged).unwrap();
    let replaced: DeviceIdentity = world.get("d").await;
    assert_eq!(replaced.metadata.labels.unwrap()["seen"], "yes");
    assert_eq!(replaced.status, None);
}
