//! The control plane: what the bench creates there.

use std::{future::Future, path::Path, time::Duration};

use devicecert::{
    api::{
        CertificateAuthority, ConditionStatus, DeviceIdentity, EnrollmentGroup, ProvisioningStatus,
    },
    cluster::Clients,
    pki::{Certificate, parse_pem_chain},
};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, Config, Resource,
    api::{Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::NamespaceResourceScope,
    runtime::wait::await_condition,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{Failure, args::patience, sightings::Sightings};

/// The namespace in which the operator is measured.
pub const BENCH: &str = "bench";
/// The namespace of the bare client, which the operator does not watch.
pub const BARE: &str = "bare";
/// The namespace for the memory measurement.
pub const MEMORY: &str = "memory";
/// The operator's own namespace.
pub const KEYS: &str = "devicecert-system";
/// The group of Secret-backed devices.
pub const GROUP: &str = "factory";
/// The group of devices that enrol over EST.
pub const EST_GROUP: &str = "field";
/// The user and password of that group.
pub const USER: (&str, &str) = ("estuser", "estpwd");

/// The control plane.
pub struct Cluster {
    /// The client: the same library, with the same settings, as the operator's.
    pub client: Client,
    /// What a watch sees of all devices.
    pub sightings: Sightings,
}

impl Cluster {
    /// Connects, and makes the operator's own namespace.
    pub async fn connect(kubeconfig: &Path) -> Result<Self, Failure> {
        let options = KubeConfigOptions::default();
        let config =
            Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options).await?;
        let host = config.cluster_url.host().unwrap_or_default();
        if !["127.0.0.1", "localhost", "[::1]"].contains(&host) {
            return Err(format!("the API server is {host}: the bench fills a cluster with objects, so it takes only one on a loopback address").into());
        }
        let clients = Clients::new(&config, std::sync::Arc::new(|_, _| ()))?;
        let cluster = Self {
            sightings: Sightings::begin(clients.watches),
            client: clients.calls,
        };
        cluster.create_namespace(KEYS).await?;
        Ok(cluster)
    }

    /// The API of one kind in one namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Makes a namespace.
    pub async fn create_namespace(&self, name: &str) -> Result<(), Failure> {
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
        Api::all(self.client.clone())
            .create(&PostParams::default(), &namespace)
            .await?;
        Ok(())
    }

    /// A root, and an intermediate that signs the devices, as in the quickstart.
    pub async fn create_authorities(&self, namespace: &str) -> Result<(), Failure> {
        let root =
            json!({ "selfSigned": {}, "subject": "CN=Bench Root,O=Example", "validity": "20y" });
        let intermediate = json!({
            "issuedBy": { "name": "root" }, "subject": "CN=Bench Intermediate,O=Example", "validity": "10y", "pathLength": 0
        });
        for (name, spec) in [("root", root), ("intermediate", intermediate)] {
            let _: CertificateAuthority = self.create(namespace, name, spec).await?;
        }
        Ok(())
    }

    /// The two groups. Certificates live for a day, so that none comes up for renewal by itself.
    pub async fn create_groups(&self, namespace: &str) -> Result<(), Failure> {
        // The lowest cost that bcrypt has: what a password costs to check is the choice of whoever runs the operator.
        let hash = bcrypt::hash(USER.1, 4).map_err(|e| e.to_string())?;
        let line = format!("{}:{hash}", USER.0);
        let users: Secret = serde_json::from_value(json!({
            "metadata": { "name": "est-users" }, "stringData": { "auth": line }
        }))?;
        self.api(namespace)
            .create(&PostParams::default(), &users)
            .await?;
        let common =
            json!({ "authorityRef": { "name": "intermediate" }, "profile": { "validity": "24h" } });
        let _: EnrollmentGroup = self.create(namespace, GROUP, common.clone()).await?;
        let mut field = common;
        field["authentication"] = json!({ "passwords": { "secretRef": { "name": "est-users" }, "registration": "Open" } });
        let _: EnrollmentGroup = self.create(namespace, EST_GROUP, field).await?;
        self.await_group(namespace, GROUP, "GroupReady").await?;
        self.await_group(namespace, EST_GROUP, "GroupReady").await
    }

    /// Turns the group of Secret-backed devices on or off, without waiting for anybody to take note.
    pub async fn provision(
        &self,
        namespace: &str,
        status: ProvisioningStatus,
    ) -> Result<(), Failure> {
        let patch = json!({ "spec": { "provisioningStatus": status } });
        let groups: Api<EnrollmentGroup> = self.api(namespace);
        groups
            .patch(GROUP, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(())
    }

    /// Turns the group off and waits until the operator knows.
    pub async fn disable(&self, namespace: &str) -> Result<(), Failure> {
        self.provision(namespace, ProvisioningStatus::Disabled)
            .await?;
        self.await_group(namespace, GROUP, "GroupDisabled").await
    }

    /// Turns the group on and waits until the operator knows.
    pub async fn enable(&self, namespace: &str) -> Result<(), Failure> {
        self.provision(namespace, ProvisioningStatus::Enabled)
            .await?;
        self.await_group(namespace, GROUP, "GroupReady").await
    }

    async fn await_group(&self, namespace: &str, name: &str, reason: &str) -> Result<(), Failure> {
        let says = |group: Option<&EnrollmentGroup>| {
            let conditions = group
                .and_then(|group| group.status.as_ref())
                .map(|s| &s.conditions);
            conditions
                .is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.reason == reason))
        };
        let wait = await_condition(self.api(namespace), name, says);
        timeout(patience(0), wait)
            .await
            .map_err(|_| format!("group {namespace}/{name} does not become {reason}"))??;
        Ok(())
    }

    /// Creates Secret-backed devices, and waits until they exist.
    pub async fn create_devices(
        &self,
        namespace: &str,
        names: &[String],
        writers: usize,
    ) -> Result<Vec<DeviceIdentity>, Failure> {
        let api: Api<DeviceIdentity> = self.api(namespace);
        let create = |name: &String| {
            let (api, device) = (api.clone(), secret_backed(name));
            async move { Ok(api.create(&PostParams::default(), &device?).await?) }
        };
        concurrently(writers, names.iter().map(create)).await
    }

    /// The root that the EST server's certificate chains to.
    pub async fn root(&self, namespace: &str) -> Result<Certificate, Failure> {
        let ready = |root: Option<&CertificateAuthority>| {
            let status = root.and_then(|root| root.status.as_ref());
            status.is_some_and(|s| {
                s.conditions
                    .iter()
                    .any(|c| c.type_ == "Ready" && c.status == ConditionStatus::True)
            })
        };
        let wait = timeout(
            patience(0),
            await_condition(self.api(namespace), "root", ready),
        );
        let chain = wait
            .await??
            .and_then(|root: CertificateAuthority| root.status?.chain);
        let chain = parse_pem_chain(&chain.unwrap_or_default())?;
        Ok(chain
            .into_iter()
            .next_back()
            .ok_or("the root has no certificate")?)
    }

    async fn create<K>(&self, namespace: &str, name: &str, spec: Value) -> Result<K, Failure>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Serialize
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let object = serde_json::from_value(json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": { "name": name }, "spec": spec
        }))?;
        Ok(self
            .api::<K>(namespace)
            .create(&PostParams::default(), &object)
            .await?)
    }
}

/// Names of equal length: `a0-00017` is the eighteenth device of the first round of experiment `a`.
pub fn names(experiment: char, round: u32, count: usize) -> Vec<String> {
    (0..count)
        .map(|i| format!("{experiment}{round}-{i:05}"))
        .collect()
}

fn secret_backed(name: &str) -> Result<DeviceIdentity, Failure> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "devicecert.dev/v1alpha1", "kind": "DeviceIdentity", "metadata": { "name": name },
        "spec": { "groupRef": { "name": GROUP }, "secretName": format!("{name}-tls") }
    }))?)
}

/// Runs jobs on all cores, `limit` at a time. Ends at the first failure.
pub async fn concurrently<T, J>(
    limit: usize,
    jobs: impl Iterator<Item = J>,
) -> Result<Vec<T>, Failure>
where
    T: Send + 'static,
    J: Future<Output = Result<T, Failure>> + Send + 'static,
{
    stream::iter(jobs.map(tokio::spawn))
        .buffer_unordered(limit)
        .map(|ended| ended.map_err(Failure::from).and_then(|result| result))
        .try_collect()
        .await
}

/// A pause between two looks at something that nothing announces.
pub async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
