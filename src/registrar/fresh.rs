//! Reads that are at most a second old: one GET serves all decisions that wait for it. A watch is never proof of
//! freshness, so whatever opens a door is read here.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{ClusterResourceScope, NamespaceResourceScope},
};
use serde::de::DeserializeOwned;

use crate::cluster::ApiError;

/// How old a read may be, counted from the moment it was sent.
const FRESH: Duration = Duration::from_secs(1);
/// How many objects are remembered before old ones are cleared out.
const REMEMBERED: usize = 1024;

type Answer<T> = Result<Option<Arc<Version<T>>>, Arc<ApiError>>;
type Read<T> = Shared<BoxFuture<'static, Answer<T>>>;

/// By namespace and name: when the read was sent, and the read.
type Reads<T> = HashMap<(String, String), (Instant, Read<T>)>;

struct Version<T> {
    resource_version: Option<String>,
    prepared: T,
}

/// Fresh reads of one kind, each turned into what decisions need.
pub(super) struct Fresh<K, T> {
    client: Client,
    api: fn(Client, &str) -> Api<K>,
    what: &'static str,
    prepare: fn(K) -> T,
    reads: Mutex<Reads<T>>,
}

impl<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>, T> Fresh<K, T> {
    /// `what` completes the sentence "could not read …".
    pub(super) fn new(client: Client, what: &'static str, prepare: fn(K) -> T) -> Self {
        Self {
            client,
            api: Api::namespaced,
            what,
            prepare,
            reads: Mutex::default(),
        }
    }
}

impl<K: Resource<Scope = ClusterResourceScope, DynamicType = ()>, T> Fresh<K, T> {
    /// For a kind that lives in no namespace; [`Self::get`] wants an empty one.
    pub(super) fn of_cluster(client: Client, what: &'static str, prepare: fn(K) -> T) -> Self {
        Self {
            client,
            api: |client, _| Api::all(client),
            what,
            prepare,
            reads: Mutex::default(),
        }
    }
}

impl<K, T> Fresh<K, T>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// The object as it was at most a second ago; `None` if there was none. A read that differs from the version that a
    /// watch has seen (`known`) is repeated, so that nobody waits for what has already happened.
    pub(super) async fn get(
        &self,
        namespace: &str,
        name: &str,
        known: Option<String>,
    ) -> Result<Option<T>, Arc<ApiError>> {
        let read = self.read(namespace, name, known);
        Ok(read.await?.map(|version| version.prepared.clone()))
    }

    fn read(&self, namespace: &str, name: &str, known: Option<String>) -> Read<T> {
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_string(), name.to_string());
        if let Some((sent, read)) = reads.get(&key)
            && sent.elapsed() < FRESH
            && !is_superseded(read.peek(), known)
        {
            return read.clone();
        }
        // What has not changed since the last read is not prepared again.
        let before = reads.get(&key).and_then(|(_, read)| match read.peek() {
            Some(Ok(Some(version))) => Some(version.clone()),
            _ => None,
        });
        if reads.len() >= REMEMBERED {
            reads.retain(|_, (sent, _)| sent.elapsed() < FRESH);
        }
        let api = (self.api)(self.client.clone(), namespace);
        let (what, prepare, name) = (self.what, self.prepare, name.to_string());
        let read = async move {
            match api.get_opt(&name).await {
                Ok(object) => Ok(object.map(|object| {
                    let resource_version = object.resource_version();
                    match before {
                        Some(before)
                            if resource_version.is_some()
                                && before.resource_version == resource_version =>
                        {
                            before
                        }
                        _ => Arc::new(Version {
                            resource_version,
                            prepared: prepare(object),
                        }),
                    }
                })),
                Err(error) => Err(Arc::new(ApiError::new(what, name, error))),
            }
        }
        .boxed()
        .shared();
        reads.insert(key, (Instant::now(), read.clone()));
        read
    }
}

/// Whether a finished read is not of the version that a watch has seen.
fn is_superseded<T>(read: Option<&Answer<T>>, known: Option<String>) -> bool {
    match (read, known) {
        (Some(Ok(Some(version))), Some(known)) => version.resource_version != Some(known),
        (Some(Ok(None)), Some(_)) => true,
        _ => false,
    }
}
