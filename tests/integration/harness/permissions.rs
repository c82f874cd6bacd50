//! The operator's account: exactly the permissions that the Helm chart gives it, so that a missing one fails a test, and the
//! chart's policy that lets nobody but it and the tests write status.

use std::{path::Path, sync::OnceLock, time::Duration};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams, config::Kubeconfig};
use serde_json::{Value, json};

use super::{
    Cluster,
    shell::{run, tool},
    wait::eventually,
    world,
};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/devicecert-operator");
/// What stands for the namespaces while the chart is rendered; they differ from test to test.
const DEVICES: &str = "devices-placeholder";
const KEYS: &str = "keys-placeholder";
const ACCOUNT: &str = "operator-devicecert-operator";

/// Creates the account with its roles, and returns a kubeconfig for it.
pub(super) async fn grant(cluster: &Cluster, client: &Client, devices: &str, keys: &str) -> String {
    for object in rendered() {
        let text = object
            .to_string()
            .replace(DEVICES, devices)
            .replace(KEYS, keys);
        world::create(client, serde_json::from_str(&text).unwrap()).await;
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), keys);
    let request = TokenRequest {
        spec: TokenRequestSpec::default(),
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(ACCOUNT, &PostParams::default(), &request)
        .await
        .unwrap();
    until_effective(client, devices, keys).await;
    kubeconfig(&cluster.kubeconfig, &answer.status.unwrap().token)
}

/// The authorizer of the API server learns of new roles a moment after they were created.
async fn until_effective(client: &Client, devices: &str, keys: &str) {
    for namespace in [devices, keys] {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": format!("system:serviceaccount:{keys}:{ACCOUNT}"),
                "resourceAttributes": { "namespace": namespace, "resource": "secrets", "verb": "watch" },
            },
        });
        eventually(
            "the permissions take effect",
            Duration::from_secs(30),
            async || {
                let answer = world::post(client, review.clone()).await;
                match answer.data["status"]["allowed"].as_bool() {
                    Some(true) => Ok(()),
                    _ => Err(answer.data["status"].to_string()),
                }
            },
        )
        .await;
    }
}

/// The account and its roles as Helm renders them.
fn rendered() -> &'static [Value] {
    static RENDERED: OnceLock<Vec<Value>> = OnceLock::new();
    RENDERED.get_or_init(|| {
        let values = format!(
            "watchNamespaces={{{DEVICES}}},keyNamespace={KEYS},crds.enabled=false,statusPolicy.users={{admin}}"
        );
        let arguments = [
            "template",
            "operator",
            CHART,
            "--namespace",
            KEYS,
            "--set",
            &values,
        ];
        let only = ["serviceaccount", "rbac", "statuspolicy"]
            .map(|name| format!("--show-only=templates/{name}.yaml"));
        let yaml = run(
            tool("helm"),
            arguments.into_iter().chain(only.iter().map(String::as_str)),
        );
        let objects: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
        assert_eq!(
            objects.len(),
            9,
            "an account, three roles and three bindings, a policy and its binding"
        );
        objects
    })
}

fn kubeconfig(administrators: &Path, token: &str) -> String {
    let file = Kubeconfig::read_from(administrators).unwrap();
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": file.clusters,
        "users": [{ "name": "operator", "user": { "token": token } }],
        "contexts": [{ "name": "test", "context": { "cluster": file.clusters[0].name, "user": "operator" } }],
        "current-context": "test",
    })
    .to_string()
}
