//! Runs the controllers over the fleet's watches, once everything is known. They follow the watches on every replica, and
//! act on the one that leads.

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::select};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        Controller,
        controller::{Action, Config},
        reflector::{ObjectRef, Store},
    },
};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::{authority, device, group, wake::Wake};
use crate::{
    cluster::{Clients, Events, Leadership},
    fleet::{Feed, Fleet, Touched},
    metrics::Counters,
    policy::{GroupKey, Reason},
    registrar::{Keyring, LocalRegistrar, Rejection},
};

/// Changes that arrive together are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// How often memories of deleted devices are dropped.
const FORGET: Duration = Duration::from_secs(600);

/// What every reconciliation has at hand.
pub struct Context {
    /// Kubernetes.
    pub clients: Clients,
    /// What is known.
    pub fleet: Arc<Fleet>,
    /// The door to certificates.
    pub registrar: Arc<LocalRegistrar>,
    /// The CA keys.
    pub keyring: Arc<Keyring>,
    /// Counters.
    pub counters: Counters,
    /// Events.
    pub events: Arc<Events>,
    /// Whether this replica reconciles.
    pub leadership: Leadership,
    /// The namespace of the CA keys.
    pub key_namespace: String,
    /// Wakes dependents.
    pub wake: Wake,
    /// What is remembered about devices.
    pub devices: device::Memory,
    /// What is remembered about groups.
    pub groups: group::Memory,
}

/// The controllers of one process.
pub struct Controllers {
    tasks: JoinSet<()>,
}

impl Controllers {
    /// Starts them; `concurrency` bounds the devices that are reconciled at the same time.
    pub fn start(
        context: &Arc<Context>,
        feeds: Vec<Feed>,
        keys: Touched<PartialObjectMeta<Secret>>,
        concurrency: u16,
    ) -> Self {
        let mut tasks = JoinSet::new();
        for feed in feeds {
            start_scope(&mut tasks, context, feed, concurrency);
        }
        let (watching, ticking) = (context.clone(), context.clone());
        tasks.spawn(async move {
            let mut keys = keys;
            while let Some(Ok(secret)) = keys.next().await {
                if let Some((namespace, name)) = authority::owner_of_key(&secret.metadata) {
                    watching.wake.authority(namespace, name).await;
                }
            }
        });
        let sweeping = context.clone();
        tasks.spawn(async move { forget_deleted(&sweeping).await });
        tasks.spawn(async move { ticking.wake.tell_groups(&ticking.fleet).await });
        Self { tasks }
    }

    /// Returns when any controller has ended, which none does of itself.
    pub async fn ended(&mut self) {
        let _ = self.tasks.join_next().await;
    }
}

fn start_scope(tasks: &mut JoinSet<()>, context: &Arc<Context>, feed: Feed, concurrency: u16) {
    let Feed {
        scope,
        authorities,
        groups,
        devices,
        secrets,
        relisted,
    } = feed;
    let ears = context.wake.connect(scope.namespace.clone());
    let authorities =
        telling_of_deletions(authorities, &scope.authorities, context, |gone, context| {
            async move {
                let (namespace, name) = (gone.namespace().unwrap_or_default(), gone.name_any());
                let wake = &context.wake;
                wake.dependents_of_authority(&context.fleet, &namespace, &name)
                    .await;
            }
            .boxed()
        });
    let groups = telling_of_deletions(groups, &scope.groups, context, |gone, context| {
        async move {
            let key = GroupKey {
                namespace: gone.namespace().unwrap_or_default(),
                name: gone.name_any(),
            };
            context.wake.devices_of_group(&context.fleet, &key).await;
        }
        .boxed()
    });
    let controller = Controller::for_stream(authorities, scope.authorities)
        .reconcile_all_on(context.leadership.terms())
        .reconcile_on(ears.authorities);
    tasks.spawn(drive(
        controller,
        context.clone(),
        "authority",
        2,
        authority::reconcile,
    ));
    let controller = Controller::for_stream(groups, scope.groups)
        .reconcile_all_on(context.leadership.terms())
        .reconcile_on(ears.groups);
    tasks.spawn(drive(
        controller,
        context.clone(),
        "group",
        4,
        group::reconcile,
    ));
    let controller = Controller::for_stream(devices, scope.devices)
        .owns_stream(secrets)
        .reconcile_all_on(select(relisted, context.leadership.terms()))
        .reconcile_on(ears.devices);
    tasks.spawn(drive(
        controller,
        context.clone(),
        "device",
        concurrency,
        device::reconcile,
    ));
}

/// The same objects; for each that has just left the store, `tell` is called first. A controller looks only at objects
/// that exist, so those that depend on a deleted one must be woken here.
fn telling_of_deletions<K>(
    objects: Touched<K>,
    store: &Store<K>,
    context: &Arc<Context>,
    tell: fn(K, Arc<Context>) -> BoxFuture<'static, ()>,
) -> Touched<K>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let (store, context) = (store.clone(), context.clone());
    objects
        .then(move |touched| {
            let gone = touched
                .as_ref()
                .ok()
                .filter(|object| store.get(&ObjectRef::from_obj(*object)).is_none())
                .map(|object| tell(object.clone(), context.clone()));
            async move {
                if let Some(told) = gone {
                    told.await;
                }
                touched
            }
        })
        .boxed()
}

/// Forgets, now and then, what was remembered about devices that are gone.
async fn forget_deleted(context: &Context) {
    let mut tick = tokio::time::interval(FORGET);
    loop {
        tick.tick().await;
        let devices = context.fleet.devices();
        let uids = devices
            .iter()
            .filter_map(|device| device.metadata.uid.as_deref())
            .collect();
        context.devices.retain(&uids);
    }
}

type Reconcile<K> = fn(Arc<K>, Arc<Context>) -> BoxFuture<'static, Result<Action, Rejection>>;

async fn drive<K>(
    controller: Controller<K>,
    context: Arc<Context>,
    name: &'static str,
    concurrency: u16,
    reconcile: Reconcile<K>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let outcomes = controller
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(concurrency))
        .run(
            move |object, context: Arc<Context>| async move {
                // Nobody signs, and nobody judges, before everything is known.
                context.fleet.wait_until_synced().await;
                let started = Instant::now();
                let work = reconcile(object, context.clone());
                // A new leader looks at everything, so what a standby passes over is not lost.
                let Some(result) = context.leadership.while_leading(work).await else {
                    return Ok(Action::await_change());
                };
                context.counters.reconciled(name, started.elapsed());
                result
            },
            move |object, rejection: &Rejection, context| {
                context.counters.failed(name, rejection.reason);
                let metadata = object.meta();
                tracing::warn!(
                    controller = name, namespace = metadata.namespace, name = metadata.name,
                    reason = %rejection.reason, message = rejection.message, "reconciliation failed and will be tried again"
                );
                Action::requeue(pause(rejection.reason, metadata.uid.as_deref().unwrap_or_default()))
            },
            context,
        );
    exhaust(outcomes).await;
}

async fn exhaust(outcomes: impl Stream) {
    let mut outcomes = std::pin::pin!(outcomes);
    while outcomes.next().await.is_some() {}
}

/// How long to wait after a failure: soon after a conflict, a few seconds otherwise, not all objects at one moment.
fn pause(reason: Reason, uid: &str) -> Duration {
    let spread = uid.bytes().map(u64::from).sum::<u64>() % 2000;
    match reason {
        Reason::Conflict => Duration::from_millis(50 + spread / 20),
        _ => Duration::from_millis(2000 + spread),
    }
}
