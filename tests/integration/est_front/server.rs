//! A running front end, and patience.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use devicecert::{
    est::{Counters, Limits, serve_counted},
    registrar::ServerIdentity,
};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{certificates::server_identity, registrar::FakeRegistrar};

/// How long anything may take before a test gives up.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// A front end on a port of its own.
pub struct Server {
    pub address: SocketAddr,
    pub registrar: Arc<FakeRegistrar>,
    pub identity: watch::Sender<Option<Arc<ServerIdentity>>>,
    pub counters: Arc<Counters>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Self {
        let registrar = FakeRegistrar::new();
        let identity = server_identity(&registrar);
        Self::launch(registrar, Some(identity), limits).await
    }

    pub async fn without_identity() -> Self {
        Self::launch(FakeRegistrar::new(), None, Limits::default()).await
    }

    async fn launch(
        registrar: Arc<FakeRegistrar>,
        identity: Option<Arc<ServerIdentity>>,
        limits: Limits,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (identity, receiver) = watch::channel(identity);
        let (stop, stopped) = oneshot::channel();
        let counters = Arc::new(Counters::default());
        let task = tokio::spawn(serve_counted(
            listener,
            receiver,
            Arc::clone(&registrar),
            limits,
            Arc::clone(&counters),
            async {
                // A test that drops its server stops it as well.
                let _ = stopped.await;
            },
        ));
        Self {
            address,
            registrar,
            identity,
            counters,
            stop,
            task,
        }
    }

    /// Asks the server to stop. The handle resolves when it has.
    pub fn stop(self) -> JoinHandle<io::Result<()>> {
        self.stop.send(()).unwrap();
        self.task
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }
}

/// Awaits something that must happen before the deadline.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what)
        .await
        .expect("did not happen in time")
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(POLL).await;
    }
}
