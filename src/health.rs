//! `/metrics`, `/healthz` and `/readyz`, in plain HTTP for the cluster's own use.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};

use crate::{fleet::Fleet, metrics::Page, registrar::ServerIdentity};

/// Whether the process is ready: true once every watch is synced and the EST server has a certificate, and true from
/// then on, also while the API server is away, so that EST can answer 503 in words.
#[derive(Clone)]
pub struct Readiness {
    fleet: Option<Arc<Fleet>>,
    identity: Option<watch::Receiver<Option<Arc<ServerIdentity>>>>,
    was_ready: Arc<AtomicBool>,
}

impl Readiness {
    /// `fleet` is `None` in a process that knows nothing of Kubernetes, `identity` is `None` where EST is not served.
    pub fn new(
        fleet: Option<Arc<Fleet>>,
        identity: Option<watch::Receiver<Option<Arc<ServerIdentity>>>>,
    ) -> Self {
        Self {
            fleet,
            identity,
            was_ready: Arc::default(),
        }
    }

    /// Why the operator is not ready yet.
    fn hindrance(&self) -> Option<&'static str> {
        if self.was_ready.load(Ordering::Relaxed) {
            return None;
        }
        if self.fleet.as_ref().is_some_and(|fleet| !fleet.is_synced()) {
            return Some(
                "waiting for the first list of every watched kind: are the CRDs installed, and is the API server there?",
            );
        }
        if self
            .identity
            .as_ref()
            .is_some_and(|identity| identity.borrow().is_none())
        {
            return Some(
                "waiting for the EST server's certificate: is the controller there, and the CertificateAuthority of --est-authority Ready?",
            );
        }
        self.was_ready.store(true, Ordering::Relaxed);
        None
    }
}

#[derive(Clone)]
struct Parts {
    page: Arc<Page>,
    readiness: Readiness,
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, page: Arc<Page>, readiness: Readiness) {
    let router = Router::new()
        .route("/metrics", get(render))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Parts { page, readiness });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "metrics and health are no longer served");
    }
}

async fn render(State(parts): State<Parts>) -> impl IntoResponse {
    // The collector walks the whole fleet, which is no work for an async thread.
    match tokio::task::spawn_blocking(move || parts.page.render()).await {
        Ok(Ok(text)) => (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        _ => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be rendered\n",
        )
            .into_response(),
    }
}

async fn ready(State(parts): State<Parts>) -> impl IntoResponse {
    match parts.readiness.hindrance() {
        None => (StatusCode::OK, "ok\n".to_string()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
