//! Puts the house together and keeps watch over its parts: controllers and registrar with the EST server in the same
//! process, or behind a socket; [`front`] is the EST server alone.

mod front;
mod front_metrics;
mod namespaces;

pub use front::front;

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
};

use crate::{
    audit::{Audit, AuditError},
    cli::{Config, Door, Est},
    cluster::{Clients, Election, Events, Leadership},
    controllers::{Context, Controllers, DeviceMemory, GroupMemory, Wake},
    est,
    fleet::Fleet,
    health,
    metrics::{Metrics, Page},
    registrar::{
        Keyring, LocalRegistrar, ServerIdentity, ToTheEnd,
        socket::{self, SocketError},
    },
};
use front_metrics::FrontMetrics;

/// How long the end of the process waits for audit events that are still to be written.
const FLUSH: Duration = Duration::from_secs(2);

/// How long enrolments that nobody waits for any more may take to finish at the end of the process.
const FINISH: Duration = Duration::from_secs(5);

/// Why the operator ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No way to an API server is configured.
    #[error(
        "no Kubernetes API server is configured ({0}): set KUBECONFIG, or run inside a cluster"
    )]
    Kubeconfig(#[source] kube::config::InferConfigError),
    /// The configuration of the API server is unusable.
    #[error("the Kubernetes client cannot be made: {0}")]
    Client(#[source] kube::Error),
    /// A namespace in the arguments does not exist.
    #[error(
        "there is no namespace {name}, which {flag} names: create it (kubectl create namespace {name}), or correct {flag}"
    )]
    Namespace {
        /// The namespace.
        name: String,
        /// The flag that names it.
        flag: &'static str,
    },
    /// A port cannot be had.
    #[error(
        "cannot listen on {address} for {what} ({source}): stop what uses that port, or choose another with {flag}"
    )]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What for.
        what: &'static str,
        /// The flag that changes it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The audit trail cannot be kept.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The registrar's socket cannot be had.
    #[error("the registrar's socket: {0}: correct --registrar-socket")]
    Socket(#[from] SocketError),
    /// Metrics cannot be set up.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The user of this process is not known.
    #[error("the user of this process cannot be found ({0}): name it with --est-uid")]
    User(#[source] io::Error),
    /// TLS cannot be set up.
    #[error("the EST server cannot be set up: {0}")]
    Est(#[source] io::Error),
    /// A part that never ends has ended.
    #[error("a part of the operator ended unexpectedly: {0}")]
    Ended(&'static str),
}

/// Runs until a signal asks to stop, or a part ends.
pub async fn run(config: Config) -> Result<(), RunError> {
    let cluster = kube::Config::infer().await.map_err(RunError::Kubeconfig)?;
    let metrics_listener = listen(
        config.metrics_listen,
        "metrics and health",
        "--metrics-listen",
    )
    .await?;
    let entrance = match &config.est {
        Some(est) => Some(Entrance::open(&est.door).await?),
        None => None,
    };
    let metrics = Metrics::new()?;
    let counters = metrics.counters.clone();
    let count_writes = counters.clone();
    let clients = Clients::new(
        &cluster,
        Arc::new(move |resource, verb| count_writes.wrote(resource, verb)),
    )
    .map_err(RunError::Client)?;
    namespaces::check(&clients.calls, &config.namespaces, &config.key_namespace).await?;
    let (events, event_writer) = Events::new(clients.calls.clone());
    let events = Arc::new(events);
    let (fleet, feeds, keys) = Fleet::watch(
        &clients.watches,
        &config.namespaces,
        &config.key_namespace,
        &events,
    );
    metrics.observe(fleet.clone(), config.metrics_soonest)?;
    let leadership = match config.election {
        Some(_) => Leadership::following(),
        None => Leadership::alone(),
    };
    metrics.observe_leadership(leadership.clone())?;
    let election = config.election.map(|times| {
        let (namespace, events) = (&config.key_namespace, events.clone());
        Election::new(&clients, namespace, times, leadership.clone(), events)
    });
    let (audit, audit_writers) = Audit::open(config.audit, &counters)?;
    let keyring = Arc::new(Keyring::new(clients.calls.clone(), &config.key_namespace));
    let registrar = Arc::new(LocalRegistrar::new(
        &clients,
        fleet.clone(),
        keyring.clone(),
        config.labels,
        counters.clone(),
        events.clone(),
        audit.clone(),
    ));
    let context = Arc::new(Context {
        clients,
        fleet: fleet.clone(),
        registrar: registrar.clone(),
        keyring,
        counters,
        events,
        leadership,
        key_namespace: config.key_namespace,
        wake: Wake::default(),
        devices: DeviceMemory::default(),
        groups: GroupMemory::default(),
    });

    let (identity_sender, identity) = watch::channel(None);
    let mut parts: JoinSet<&'static str> = JoinSet::new();
    parts.spawn(async move {
        event_writer.await;
        "events"
    });
    for writer in audit_writers {
        parts.spawn(writer);
    }
    let hangups = audit.clone().reopen_on_hangup();
    parts.spawn(async move {
        hangups.await;
        "audit log"
    });
    let ready = health::Readiness::new(
        Some(fleet.clone()),
        config.est.as_ref().map(|_| identity.clone()),
    );
    let (page, shown) = (metrics.page.clone(), metrics.page);
    parts.spawn(async move {
        health::serve(metrics_listener, shown, ready).await;
        "metrics"
    });
    let mut controllers = Controllers::start(&context, feeds, keys, config.concurrency);
    parts.spawn(async move {
        controllers.ended().await;
        "controllers"
    });
    let (stop, mut stopping) = watch::channel(());
    // What ends in its own way when a signal asks to stop.
    let mut front: JoinSet<&'static str> = JoinSet::new();
    if let Some(election) = election {
        let stopping = stop.subscribe();
        front.spawn(async move {
            election.run(fleet.wait_until_synced(), stopping).await;
            "leader election"
        });
    }
    if let (Some(Est { server, .. }), Some(entrance)) = (config.est, entrance) {
        parts.spawn(async move {
            server.run(context, identity_sender).await;
            "EST server certificate"
        });
        let stopped = async move {
            // The sender is dropped at the latest when the process ends.
            let _ = stopping.changed().await;
        };
        let registrar = Arc::new(ToTheEnd::new(registrar));
        front.spawn(async move {
            let served = entrance.serve(registrar.clone(), identity, page, stopped);
            if let Err(error) = served.await {
                tracing::error!(%error, "the way to the registrar is closed");
            }
            registrar.finish(FINISH).await;
            "the way to the registrar"
        });
    }
    let outcome = tokio::select! {
        () = stop_signal() => Ok(()),
        ended = parts.join_next() => Err(RunError::Ended(ended.and_then(Result::ok).unwrap_or("a task that panicked"))),
        Some(ended) = front.join_next() => Err(RunError::Ended(ended.unwrap_or("a task that panicked"))),
    };
    tracing::info!("stopping: requests under way are finished first");
    drop(stop);
    while front.join_next().await.is_some() {}
    audit.flush(FLUSH).await;
    outcome
}

/// How requests for certificates come in from outside.
enum Entrance {
    Est {
        listener: TcpListener,
        limits: est::Limits,
    },
    Socket {
        listener: UnixListener,
        uid: u32,
    },
}

impl Entrance {
    async fn open(door: &Door) -> Result<Self, RunError> {
        match door {
            Door::Here {
                listen: address,
                limits,
            } => {
                let listener = listen(*address, "EST", "--est-listen").await?;
                tracing::info!(%address, "serving EST");
                Ok(Self::Est {
                    listener,
                    limits: limits.clone(),
                })
            }
            Door::Behind { socket: path, uid } => {
                let listener = socket::bind(path).await?;
                let uid = match uid {
                    Some(uid) => *uid,
                    None => socket::own_uid().map_err(RunError::User)?,
                };
                tracing::info!(socket = %path.display(), uid, "serving the registrar");
                Ok(Self::Socket { listener, uid })
            }
        }
    }

    /// Serves until `stopped` resolves, and finishes what is under way.
    async fn serve(
        self,
        registrar: Arc<ToTheEnd<LocalRegistrar>>,
        identity: watch::Receiver<Option<Arc<ServerIdentity>>>,
        page: Arc<Page>,
        stopped: impl Future<Output = ()> + Send,
    ) -> Result<(), RunError> {
        match self {
            Self::Est { listener, limits } => {
                let counters = Arc::<est::Counters>::default();
                page.add(FrontMetrics::new(counters.clone(), None)?)?;
                est::serve_counted(listener, identity, registrar, limits, counters, stopped)
                    .await
                    .map_err(RunError::Est)
            }
            Self::Socket { listener, uid } => {
                socket::serve(listener, uid, registrar, identity, stopped).await;
                Ok(())
            }
        }
    }
}

async fn listen(
    address: std::net::SocketAddr,
    what: &'static str,
    flag: &'static str,
) -> Result<TcpListener, RunError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| RunError::Listen {
            address,
            what,
            flag,
            source,
        })
}

/// Returns at SIGTERM or SIGINT.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
