//! Fills the fleet from watches, so that one malformed object cannot stop the others.

use std::{
    collections::HashSet,
    fmt::Debug,
    future::ready,
    sync::{Arc, RwLock},
    time::Duration,
};

use futures::{
    Stream, StreamExt, TryStreamExt,
    channel::mpsc::{Receiver, Sender, channel},
    stream::BoxStream,
};
use k8s_openapi::{
    api::core::v1::{ObjectReference, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        reflector::{self, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

use super::{Fleet, Scope, index::Index, sync::Synced};
use crate::{
    api::{CertificateAuthority, DeviceIdentity, EnrollmentGroup},
    cluster::{Events, MANAGED_BY},
    policy::Reason,
};

/// Objects as they change. Polling it is what fills the store behind it.
pub type Touched<K> = BoxStream<'static, Result<K, watcher::Error>>;

/// The watches of one scope; each must be polled by a controller.
pub struct Feed {
    /// The stores that this feed fills.
    pub scope: Scope,
    /// CertificateAuthorities as they change.
    pub authorities: Touched<CertificateAuthority>,
    /// EnrollmentGroups as they change.
    pub groups: Touched<EnrollmentGroup>,
    /// DeviceIdentities as they change.
    pub devices: Touched<DeviceIdentity>,
    /// Our Secrets as they change.
    pub secrets: Touched<PartialObjectMeta<Secret>>,
    /// A list of Secrets, groups or authorities came anew: what was deleted before it shows only in what it lacks, so all
    /// devices must be looked at.
    pub relisted: Receiver<()>,
}

impl Fleet {
    /// Prepares the watches: of the whole cluster if `namespaces` is empty, else of each of them; and of the CA keys in
    /// `key_namespace`.
    pub fn watch(
        client: &Client,
        namespaces: &[String],
        key_namespace: &str,
        events: &Arc<Events>,
    ) -> (Arc<Self>, Vec<Feed>, Touched<PartialObjectMeta<Secret>>) {
        let index = Arc::new(RwLock::new(Index::default()));
        let sync = Synced::new();
        let scopes: Vec<Option<String>> = if namespaces.is_empty() {
            vec![None]
        } else {
            namespaces.iter().cloned().map(Some).collect()
        };
        let feeds: Vec<Feed> = scopes
            .into_iter()
            .map(|namespace| feed(client, namespace, &index, events, &sync))
            .collect();
        let (keys, writer) = reflector::store();
        let key_changes = secrets(
            Api::namespaced(client.clone(), key_namespace),
            |_| (),
            writer,
            &sync,
        );
        let fleet = Fleet {
            sync,
            scopes: feeds.iter().map(|feed| feed.scope.clone()).collect(),
            keys,
            index,
        };
        (Arc::new(fleet), feeds, key_changes)
    }
}

fn feed(
    client: &Client,
    namespace: Option<String>,
    index: &Arc<RwLock<Index>>,
    events: &Arc<Events>,
    sync: &Synced,
) -> Feed {
    let (authorities, authority_writer) = reflector::store();
    let (groups, group_writer) = reflector::store();
    let (devices, device_writer) = reflector::store();
    let (secret_store, secret_writer) = reflector::store();
    let index = index.clone();
    let watched = namespace.clone();
    let mut listed = HashSet::new();
    let follow = move |event: &Event<DeviceIdentity>| {
        let mut index = index
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        index.follow(watched.as_deref(), &mut listed, event);
    };
    let (bell, relisted) = channel(1);
    Feed {
        relisted,
        authorities: touched(
            api(client, namespace.as_deref()),
            slim,
            ring_when_relisted(bell.clone()),
            authority_writer,
            events.clone(),
            sync,
        ),
        groups: touched(
            api(client, namespace.as_deref()),
            slim,
            ring_when_relisted(bell.clone()),
            group_writer,
            events.clone(),
            sync,
        ),
        devices: touched(
            api(client, namespace.as_deref()),
            slim_device,
            follow,
            device_writer,
            events.clone(),
            sync,
        ),
        secrets: secrets(
            api(client, namespace.as_deref()),
            ring_when_relisted(bell),
            secret_writer,
            sync,
        ),
        scope: Scope {
            namespace,
            authorities,
            groups,
            devices,
            secrets: secret_store,
        },
    }
}

/// Rings at the end of each list. One ring that waits to be heard is enough, so a full channel is no loss.
fn ring_when_relisted<K>(mut bell: Sender<()>) -> impl FnMut(&Event<K>) + Send + 'static {
    move |event| {
        if matches!(event, Event::InitDone) {
            let _ = bell.try_send(());
        }
    }
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The bulk that nobody reads from the fleet.
fn slim<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
    if let Some(annotations) = &mut object.meta_mut().annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

fn slim_device(device: &mut DeviceIdentity) {
    slim(device);
    if let Some(certificate) = device
        .status
        .as_mut()
        .and_then(|status| status.certificate.as_mut())
    {
        certificate.pem = None;
    }
    if let Some(request) = &mut device.spec.request {
        *request = String::new();
    }
}

/// Our Secrets: their metadata only, chosen by our label.
fn secrets(
    api: Api<PartialObjectMeta<Secret>>,
    follow: impl FnMut(&Event<PartialObjectMeta<Secret>>) + Send + 'static,
    writer: Writer<PartialObjectMeta<Secret>>,
    sync: &Synced,
) -> Touched<PartialObjectMeta<Secret>> {
    let config = watcher::Config::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    reflected(
        watcher(api, config),
        |secret| secret.metadata.managed_fields = None,
        follow,
        writer,
        sync,
    )
}

fn touched<K>(
    api: Api<DeserializeGuard<K>>,
    slim: fn(&mut K),
    follow: impl FnMut(&Event<K>) + Send + 'static,
    writer: Writer<K>,
    events: Arc<Events>,
    sync: &Synced,
) -> Touched<K>
where
    K: Resource<DynamicType = ()>
        + Default
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let readable = watcher(api, watcher::Config::default()).filter_map(move |event| {
        ready(match event {
            Ok(event) => readable(event, &events).map(Ok),
            Err(error) => Some(Err(error)),
        })
    });
    reflected(readable, slim, follow, writer, sync)
}

fn reflected<K>(
    stream: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    slim: impl FnMut(&mut K) + Send + 'static,
    mut follow: impl FnMut(&Event<K>) + Send + 'static,
    writer: Writer<K>,
    sync: &Synced,
) -> Touched<K>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let mut delivered = sync.expect();
    // A fleet waits for us when the API server comes back: try every few seconds, not every half minute.
    let backoff = backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(3))
        .with_jitter()
        .without_max_times();
    stream
        .backoff(watcher::ExponentialBackoff::from(backoff))
        .modify(slim)
        .reflect(writer)
        .inspect_ok(move |event| {
            follow(event);
            if matches!(event, Event::InitDone) {
                delivered();
            }
        })
        .touched_objects()
        .filter(|result| {
            if let Err(error) = result {
                tracing::warn!(%error, kind = %K::kind(&()), "a watch was interrupted and will be resumed");
            }
            ready(result.is_ok())
        })
        .boxed()
}

/// What can be read of an event. An object that cannot be read counts as deleted, so that nothing acts on an older
/// version of it; its owner is told.
fn readable<K>(event: Event<DeserializeGuard<K>>, events: &Events) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()> + Default,
{
    Some(match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::InitApply(DeserializeGuard(Ok(object))) => Event::InitApply(object),
        Event::Apply(DeserializeGuard(Ok(object))) => Event::Apply(object),
        Event::Delete(DeserializeGuard(Ok(object))) => Event::Delete(object),
        Event::InitApply(DeserializeGuard(Err(broken))) => {
            report::<K>(&broken.metadata, &broken.error, events);
            return None;
        }
        Event::Apply(DeserializeGuard(Err(broken))) => {
            report::<K>(&broken.metadata, &broken.error, events);
            Event::Delete(stub(broken.metadata))
        }
        Event::Delete(DeserializeGuard(Err(broken))) => Event::Delete(stub(broken.metadata)),
    })
}

fn stub<K: Resource + Default>(metadata: ObjectMeta) -> K {
    let mut object = K::default();
    *object.meta_mut() = metadata;
    object
}

fn report<K: Resource<DynamicType = ()>>(metadata: &ObjectMeta, error: &str, events: &Events) {
    tracing::warn!(kind = %K::kind(&()), namespace = metadata.namespace, name = metadata.name, error, "an object cannot be read");
    let object = ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    };
    let note = format!(
        "the object cannot be read and is passed over ({error}): correct that field, then apply it again"
    );
    events.warning(object, Reason::InvalidSpec, &note);
}
