//! The API server takes the record, but not the Secret: a policy, or a quota, forbids it.

use std::time::Duration;

use devicecert::api::DeviceIdentity;
use serde_json::json;

use crate::harness::{CONVERGES, World, condition, device, eventually};

#[tokio::test]
async fn a_secret_that_may_not_be_written_is_explained_and_does_not_fill_the_record() {
    let world = World::new().await;
    world.pki(json!({})).await;
    let operator = world.operator(&[]).await;
    world.until_pki().await;
    let namespace = &world.namespace;
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": namespace },
        "spec": {
            "matchConstraints": {
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                "resourceRules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"] }],
            },
            "validations": [{ "expression": "false", "message": "no more Secrets here" }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": namespace },
        "spec": { "policyName": namespace, "validationActions": ["Deny"] },
    });
    let apply = format!("{policy}\n---\n{binding}");
    world
        .cluster
        .kubectl(&["apply", "-f", "-"], &apply)
        .unwrap();
    let probe = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "probe", "namespace": namespace } });
    eventually("the policy holds", CONVERGES, async || {
        match world.cluster.kubectl(
            &["create", "--dry-run=server", "-f", "-"],
            &probe.to_string(),
        ) {
            Err(refusal) if refusal.contains("no more Secrets") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    world
        .create(device("d", "g", json!({ "secretName": "d-tls" })))
        .await;
    let found: DeviceIdentity = world.until("d", "SecretRefused").await;
    let message = condition(&found, "Ready").unwrap().message;
    assert!(message.contains("no more Secrets here"), "{message}");
    // A few attempts later: each waits longer than the one before.
    eventually(
        "there were several attempts",
        Duration::from_secs(60),
        async || {
            let metrics = operator.metrics().await;
            match metrics.count("devicecert_certificates_issued_total", &[]) {
                attempts @ 2.. => Ok(attempts),
                attempts => Err(attempts),
            }
        },
    )
    .await;
    assert!(world.record("d").await.len() <= 4);
    world
        .cluster
        .kubectl(&["delete", "-f", "-"], &apply)
        .unwrap();
    world.until::<DeviceIdentity>("d", "True").await;
}
