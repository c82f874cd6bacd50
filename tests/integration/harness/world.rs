//! The world of one test: two namespaces, an account for the operator, and what is in them.

use std::fmt::Debug;

use devicecert::api::{
    CertificateAuthority, Condition, ConditionStatus, DeviceIdentity, EnrollmentGroup,
};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{CONVERGES, Cluster, Operator, Sidecar, authority, eventually, group, permissions};

/// Two fresh namespaces, one for devices and one for CA keys, and the means to look into them.
pub struct World {
    /// Where it is.
    pub cluster: &'static Cluster,
    /// The administrator.
    pub client: Client,
    /// The watched namespace.
    pub namespace: String,
    /// The namespace of the CA keys.
    pub keys: String,
    kubeconfig: String,
}

impl World {
    /// In the cluster that all tests share.
    pub async fn new() -> Self {
        Self::within(Cluster::shared()).await
    }

    /// In a cluster of the test's own.
    pub async fn within(cluster: &'static Cluster) -> Self {
        let client = cluster.client().await;
        let namespace = format!("t{:08x}", rand());
        let keys = format!("{namespace}-keys");
        for name in [&namespace, &keys] {
            let object =
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            create(&client, object).await;
        }
        let kubeconfig = permissions::grant(cluster, &client, &namespace, &keys).await;
        Self {
            cluster,
            client,
            namespace,
            keys,
            kubeconfig,
        }
    }

    /// Starts the operator without EST.
    pub async fn operator(&self, arguments: &[&str]) -> Operator {
        let operator = self.operator_unready(arguments);
        operator.until_ready().await;
        operator
    }

    /// The same, without waiting until it is ready.
    pub fn operator_unready(&self, arguments: &[&str]) -> Operator {
        Operator::start(self, &self.kubeconfig, arguments)
    }

    /// Starts the operator with EST, its certificate being of the authority `root`, and returns the client side too.
    pub async fn operator_with_est(&self, arguments: &[&str]) -> Operator {
        let root = format!("{}/root", self.namespace);
        let est = [
            "--est-authority",
            &root,
            "--est-dns-name",
            "localhost,127.0.0.1",
        ];
        self.operator(&[&est, arguments].concat()).await
    }

    /// Starts controller and EST server as processes of two users, with further arguments for the controller.
    pub async fn sidecar(&self, arguments: &[&str]) -> Sidecar {
        Sidecar::start(self, &self.kubeconfig, arguments).await
    }

    /// A root `root`, an intermediate `ca` below it and a group `g` that it signs for; `more` is merged into the group.
    pub async fn pki(&self, more: Value) {
        self.create(authority("root", json!({ "selfSigned": {} })))
            .await;
        let issued = json!({ "issuedBy": { "name": "root" }, "validity": "5y", "pathLength": 0 });
        self.create(authority("ca", issued)).await;
        self.create(group("g", "ca", more)).await;
    }

    /// Creates an object in the watched namespace.
    pub async fn create(&self, mut object: Value) -> DynamicObject {
        object["metadata"]["namespace"] = json!(self.namespace);
        create(&self.client, object).await
    }

    /// Creates a group under the authority `ca`, and waits until the operator serves it: a watch tells of it a little later.
    /// Returns its EST label.
    pub async fn served_group(&self, name: &str, more: Value) -> String {
        self.create(group(name, "ca", more)).await;
        self.until::<EnrollmentGroup>(name, "True").await;
        format!("{}.{name}", self.namespace)
    }

    /// Merges into an object of the watched namespace.
    pub async fn patch<K: Namespaced>(&self, name: &str, patch: Value) -> K {
        let patch = Patch::Merge(patch);
        self.api()
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap()
    }

    /// Merges into the status of an object of the watched namespace.
    pub async fn patch_status<K: Namespaced>(&self, name: &str, status: Value) -> K {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api()
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap()
    }

    /// Asks for a device's certificate to be renewed now.
    pub async fn renew(&self, name: &str) {
        let now = jiff::Timestamp::now().to_string();
        self.patch::<DeviceIdentity>(name, json!({ "spec": { "renewAfter": now } }))
            .await;
    }

    /// Asks for an object's deletion.
    pub async fn delete<K: Namespaced>(&self, name: &str) {
        self.api::<K>()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// Waits until an object is gone.
    pub async fn until_gone<K: Namespaced>(&self, name: &str) {
        let api = self.api::<K>();
        eventually(format!("{name} is gone"), CONVERGES, async || {
            match api.get_opt(name).await.unwrap() {
                None => Ok(()),
                Some(object) => Err(format!("{:?}", object.meta())),
            }
        })
        .await;
    }

    /// The objects of a kind in the watched namespace.
    pub fn api<K: Namespaced>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The Secrets of the CA keys.
    pub fn key_secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.keys)
    }

    /// An object of the watched namespace, as it is now.
    pub async fn get<K: Namespaced>(&self, name: &str) -> K {
        self.api().get(name).await.unwrap()
    }

    /// Waits until an object's condition Ready is this, and returns the object: "True", or the reason why it is not.
    pub async fn until<K: Namespaced + Ready>(&self, name: &str, wanted: &str) -> K {
        let api = self.api::<K>();
        let what = format!("{} {name} is {wanted}", K::kind(&()));
        eventually(what, CONVERGES, async || {
            let object = api.get(name).await.unwrap();
            let found = condition(&object, "Ready");
            let fits = found.as_ref().is_some_and(|ready| {
                let holds = ready.status == ConditionStatus::True;
                let current = ready.observed_generation == object.meta().generation;
                current
                    && if holds {
                        wanted == "True"
                    } else {
                        wanted == ready.reason
                    }
            });
            if fits {
                Ok(object)
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await
    }

    /// Waits until all three of [`Self::pki`] are Ready.
    pub async fn until_pki(&self) {
        self.until::<EnrollmentGroup>("g", "True").await;
    }

    /// The root certificate of the authority `root`, PEM.
    pub async fn root_pem(&self) -> String {
        let root: CertificateAuthority = self.until("root", "True").await;
        root.status.unwrap().chain.unwrap()
    }

    /// The fingerprints of all certificates on a device's record, the newest first.
    pub async fn record(&self, name: &str) -> Vec<String> {
        on_record(&self.get::<DeviceIdentity>(name).await)
    }

    /// What kubectl prints in the watched namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let namespace = ["--namespace", &self.namespace];
        let arguments = [&namespace, arguments].concat();
        self.cluster.kubectl(&arguments, "").unwrap()
    }
}

/// The fingerprints of all certificates on a device's record, the newest first.
fn on_record(device: &DeviceIdentity) -> Vec<String> {
    let status = device.status.clone().unwrap_or_default();
    let current = status
        .certificate
        .map(|certificate| certificate.fingerprint);
    let previous = status.previous.into_iter().map(|past| past.fingerprint);
    current.into_iter().chain(previous).collect()
}

/// A kind that lives in namespaces.
pub trait Namespaced:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned
{
}

impl<K> Namespaced for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
{
}

/// A kind whose status has conditions.
pub trait Ready: Resource<DynamicType = ()> {
    /// The conditions.
    fn conditions(&self) -> &[Condition];
}

macro_rules! ready {
    ($($kind:ty),+) => { $(impl Ready for $kind {
        fn conditions(&self) -> &[Condition] {
            self.status.as_ref().map_or(&[], |status| &status.conditions)
        }
    })+ };
}

ready!(CertificateAuthority, EnrollmentGroup, DeviceIdentity);

/// The condition of this type.
pub fn condition(object: &impl Ready, type_: &str) -> Option<Condition> {
    object
        .conditions()
        .iter()
        .find(|condition| condition.type_ == type_)
        .cloned()
}

/// Creates any object; it must be accepted.
pub(super) async fn create(client: &Client, object: Value) -> DynamicObject {
    post(client, object).await
}

/// The same, for what is not kept.
pub(super) async fn post(client: &Client, object: Value) -> DynamicObject {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let types = object.types.clone().unwrap();
    let kind = GroupVersionKind::try_from(&types).unwrap();
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let result = api.create(&PostParams::default(), &object).await;
    result.unwrap_or_else(|e| panic!("{} {}: {e}", types.kind, object.name_any()))
}

fn rand() -> u32 {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}
