//! The election of the leader, on one `coordination.k8s.io/v1` Lease in the operator's namespace.

mod elector;

pub use elector::ElectionTimes;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, future};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Resource, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{sleep, sleep_until, timeout},
};

use super::{ApiError, Clients, Events, Leadership, now, random};
use crate::policy::Reason;
use elector::{Attempt, Elector};

/// The Lease.
const LEASE: &str = "devicecert-operator";
/// How long a graceful end waits for work that has begun, and then for the Lease to be given back.
const FAREWELL: Duration = Duration::from_secs(5);

/// One replica's candidacy.
pub struct Election {
    leases: Api<Lease>,
    watched: Api<Lease>,
    identity: String,
    times: ElectionTimes,
    leadership: Leadership,
    events: Arc<Events>,
}

impl Election {
    /// On the Lease of a namespace; `leadership` will say how it stands.
    pub fn new(
        clients: &Clients,
        namespace: &str,
        times: ElectionTimes,
        leadership: Leadership,
        events: Arc<Events>,
    ) -> Self {
        Self {
            leases: Api::namespaced(clients.calls.clone(), namespace),
            watched: Api::namespaced(clients.watches.clone(), namespace),
            identity: identity(),
            times,
            leadership,
            events,
        }
    }

    /// Stands for election from when this replica is `able` to lead until `stopping` changes or closes; then lets work end
    /// and gives the Lease back.
    pub async fn run(self, able: impl Future<Output = ()>, mut stopping: watch::Receiver<()>) {
        let mut elector = Elector::new(self.identity.clone(), self.times);
        tokio::select! {
            _ = stopping.changed() => {}
            () = async { able.await; self.stand(&mut elector).await } => {}
        }
        self.leadership.finish(FAREWELL).await;
        // A renewal may have been cut off.
        elector.failed();
        match timeout(FAREWELL, self.release(&mut elector)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the Lease could not be given back"),
            Err(_) => tracing::warn!("the Lease could not be given back in time"),
        }
    }

    async fn stand(&self, elector: &mut Elector) {
        tracing::info!(
            identity = self.identity,
            "this replica stands for election as the leader"
        );
        let mut freed = Box::pin(self.freed());
        let mut led = false;
        loop {
            let end = elector.lead_until(Instant::now());
            let patience = self.times.patience();
            // A leader whose time runs out in the middle of a call stops leading then.
            let until = end.map_or_else(
                || Instant::now() + patience,
                |end| end.min(Instant::now() + patience),
            );
            match timeout(
                until.saturating_duration_since(Instant::now()),
                self.attempt(elector),
            )
            .await
            {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    elector.failed();
                    tracing::debug!(%error, "an attempt at the Lease failed");
                }
                Err(_) => {
                    elector.failed();
                    tracing::debug!("an attempt at the Lease had no answer in time");
                }
            }
            led = self.publish(elector, led);
            let pause = sleep(self.times.pause(chance()));
            match elector.lead_until(Instant::now()) {
                Some(until) => {
                    tokio::select! {
                        () = pause => {}
                        () = sleep_until(until.into()) => {}
                    }
                    led = self.publish(elector, led);
                }
                None => {
                    tokio::select! {
                        () = pause => {}
                        () = next(&mut freed) => {}
                    }
                }
            }
        }
    }

    /// Tells how this replica stands; returns whether it leads.
    fn publish(&self, elector: &Elector, led: bool) -> bool {
        let until = elector.lead_until(Instant::now());
        match until {
            Some(until) => self.leadership.lead(until),
            None => self.leadership.follow(),
        }
        let lease = elector.seen();
        let transitions = lease.and_then(|lease| lease.spec.as_ref()?.lease_transitions);
        match (led, until.is_some()) {
            (false, true) => {
                tracing::info!(
                    identity = self.identity,
                    transitions,
                    "this replica leads now"
                );
                self.tell(lease, "became the leader");
            }
            (true, false) => {
                let holder =
                    lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref());
                tracing::warn!(
                    identity = self.identity,
                    holder,
                    "this replica leads no longer: it could not renew the Lease in time, or another has it"
                );
            }
            _ => {}
        }
        until.is_some()
    }

    async fn attempt(&self, elector: &mut Elector) -> Result<(), ApiError> {
        if elector.must_read(Instant::now()) {
            let lease = self.read().await?;
            elector.saw(lease, Instant::now());
        }
        let sent = Instant::now();
        let written = match elector.decide(sent, now()) {
            Attempt::StandBy => return Ok(()),
            Attempt::Create(spec) => self.create(spec).await?,
            Attempt::Write(spec) => self.write(elector.seen(), spec).await?,
        };
        elector.wrote(written, sent);
        Ok(())
    }

    async fn release(&self, elector: &mut Elector) -> Result<(), ApiError> {
        let lease = self.read().await?;
        elector.saw(lease, Instant::now());
        if let Some(spec) = elector.release(now()) {
            let lease = self.write(elector.seen(), spec).await?;
            tracing::info!(identity = self.identity, "the Lease is given back");
            self.tell(Some(&lease), "stopped leading");
        }
        Ok(())
    }

    async fn read(&self) -> Result<Option<Lease>, ApiError> {
        let lease = self.leases.get_opt(LEASE).await;
        lease.map_err(|e| ApiError::new("read Lease", LEASE, e))
    }

    async fn create(&self, spec: LeaseSpec) -> Result<Lease, ApiError> {
        let metadata = ObjectMeta {
            name: Some(LEASE.into()),
            ..ObjectMeta::default()
        };
        let lease = Lease {
            metadata,
            spec: Some(spec),
        };
        let created = self.leases.create(&PostParams::default(), &lease).await;
        created.map_err(|e| ApiError::new("create Lease", LEASE, e))
    }

    /// Under the version that was seen: another replica's write in between makes this one fail.
    async fn write(&self, seen: Option<&Lease>, spec: LeaseSpec) -> Result<Lease, ApiError> {
        let metadata = seen.map(
            |lease| json!({ "uid": lease.uid(), "resourceVersion": lease.resource_version() }),
        );
        let body = Patch::Merge(json!({ "metadata": metadata, "spec": spec }));
        let parameters = PatchParams::default();
        let written = self.leases.patch(LEASE, &parameters, &body).await;
        written.map_err(|e| ApiError::new("write Lease", LEASE, e))
    }

    fn tell(&self, lease: Option<&Lease>, what: &str) {
        if let Some(lease) = lease {
            let note = format!("{} {what}", self.identity);
            self.events
                .normal(lease.object_ref(&()), Reason::LeaderElection, &note);
        }
    }

    /// Yields when the Lease is given back or deleted, so that nobody has to wait for its end. Only a hint: what counts is
    /// read.
    fn freed(&self) -> impl Stream<Item = ()> + Send + use<> {
        let one = watcher::Config::default().fields(&format!("metadata.name={LEASE}"));
        watcher(self.watched.clone(), one)
            .default_backoff()
            .filter_map(|event| future::ready(event.ok().filter(is_free).map(|_| ())))
    }
}

fn is_free(event: &watcher::Event<Lease>) -> bool {
    match event {
        watcher::Event::Apply(lease) | watcher::Event::InitApply(lease) => {
            let holder = lease
                .spec
                .as_ref()
                .and_then(|spec| spec.holder_identity.as_deref());
            holder.unwrap_or_default().is_empty()
        }
        watcher::Event::Delete(_) => true,
        watcher::Event::Init | watcher::Event::InitDone => false,
    }
}

async fn next(hints: &mut (impl Stream<Item = ()> + Unpin)) {
    if hints.next().await.is_none() {
        // Does not happen: a watcher goes on for ever. If it did, only the pause would be left.
        future::pending::<()>().await;
    }
}

/// A name that no other process has, and none after a restart: the pod's, or the machine's, and something random.
fn identity() -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = std::env::var("POD_NAME").ok().or_else(host);
    let name = name.as_deref().map_or("devicecert-operator", str::trim);
    format!("{name}_{:016x}", random())
}

/// From 0 to 1.
fn chance() -> f64 {
    random() as f64 / u64::MAX as f64
}
