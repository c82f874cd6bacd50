//! The way to the API server, and the namespace in which a command works.

use std::fmt::Debug;

use k8s_openapi::{NamespaceResourceScope, api::core::v1::Namespace};
use kube::{
    Api, Client, Resource,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;

use super::{Plugin, PluginError};
use crate::cluster::ApiError;

/// How many objects are asked for at a time.
const PAGE: u32 = 500;

/// A kind that lives in namespaces.
pub(super) trait Namespaced:
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

/// The way to the API server, and the namespace in which a command works.
#[derive(Clone)]
pub(super) struct Connection {
    pub client: Client,
    pub namespace: String,
}

impl Connection {
    pub async fn open(plugin: &Plugin) -> Result<Self, PluginError> {
        let options = KubeConfigOptions {
            context: plugin.context.clone(),
            ..Default::default()
        };
        let mut config =
            kube::Config::from_custom_kubeconfig(Kubeconfig::read()?, &options).await?;
        if let Some(user) = &plugin.impersonate {
            config.auth_info.impersonate = Some(user.clone());
        }
        let namespace = plugin
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config)
            .map_err(|e| ApiError::new("make a client for", "the API server", e))?;
        Ok(Self { client, namespace })
    }

    /// The objects of a kind in the namespace.
    pub fn here<K: Namespaced>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The objects of a kind in all namespaces.
    pub fn everywhere<K: Namespaced>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// Says so if the namespace does not exist: its lists are as empty as those of one that does. A user who may not read
    /// namespaces is believed.
    pub async fn check_namespace(&self) -> Result<(), PluginError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        match namespaces.get_opt(&self.namespace).await {
            Ok(None) => Err(PluginError::No(format!(
                "there is no namespace {}: correct --namespace (kubectl get namespaces lists them)",
                self.namespace
            ))),
            _ => Ok(()),
        }
    }

    /// An object that must be there.
    pub async fn get<K: Namespaced>(&self, name: &str) -> Result<K, PluginError> {
        self.find(name).await?.ok_or_else(|| {
            PluginError::No(format!(
                "there is no {} {name} in namespace {1}: correct the name (kubectl -n {1} get {2} lists them), or --namespace",
                K::kind(&()),
                self.namespace,
                K::plural(&())
            ))
        })
    }

    pub async fn find<K: Namespaced>(&self, name: &str) -> Result<Option<K>, ApiError> {
        let what = read::<K>();
        self.here()
            .get_opt(name)
            .await
            .map_err(|e| ApiError::new(what, name, e))
    }
}

/// Reads all objects, some at a time, and keeps what `keep` makes of them: a fleet need not fit into memory.
pub(super) async fn list<K: Namespaced, T>(
    api: &Api<K>,
    mut keep: impl FnMut(K) -> Option<T>,
) -> Result<Vec<T>, ApiError> {
    let mut kept = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let objects = api
            .list(&page)
            .await
            .map_err(|e| ApiError::new("list", K::plural(&()), e))?;
        let next = objects.metadata.continue_.clone();
        kept.extend(objects.items.into_iter().filter_map(&mut keep));
        match next.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(kept),
        }
    }
}

fn read<K: Namespaced>() -> &'static str {
    match &*K::kind(&()) {
        "EnrollmentGroup" => "read EnrollmentGroup",
        "DeviceIdentity" => "read DeviceIdentity",
        "CertificateAuthority" => "read CertificateAuthority",
        "EnrollmentToken" => "read EnrollmentToken",
        _ => "read",
    }
}
