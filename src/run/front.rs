//! The EST server alone: TLS and HTTP here, the registrar at the other end of a socket. No Kubernetes client, no CA key, no
//! password file; the TLS key comes over the socket and stays in memory.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use super::{RunError, front_metrics::FrontMetrics, listen, stop_signal};
use crate::{
    cli::FrontConfig,
    est, health,
    metrics::Page,
    policy::Reason,
    registrar::{Registrar, ServerIdentity, socket::RemoteRegistrar},
};

/// Where Kubernetes puts a pod's credentials, unless it is told not to.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// How long to wait before what is served without a label is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Serves EST until a signal asks to stop, or a part ends.
///
/// # Errors
/// If a port cannot be had, or a part ends.
pub async fn front(config: FrontConfig) -> Result<(), RunError> {
    let metrics_listener = listen(
        config.metrics_listen,
        "metrics and health",
        "--metrics-listen",
    )
    .await?;
    let listener = listen(config.listen, "EST", "--est-listen").await?;
    if Path::new(TOKEN).exists() {
        tracing::warn!(
            file = TOKEN,
            "Kubernetes credentials are mounted here, where nothing needs them: take them away from this container"
        );
    }
    let (registrar, line, identity) = RemoteRegistrar::new(config.socket, config.controller_uid);
    let registrar = Arc::new(registrar);
    let counters = Arc::<est::Counters>::default();
    let page = Arc::new(Page::new()?);
    page.add(FrontMetrics::new(
        counters.clone(),
        Some(registrar.clone()),
    )?)?;
    let ready = health::Readiness::new(None, Some(identity.clone()));

    let mut parts: JoinSet<&'static str> = JoinSet::new();
    parts.spawn(async move {
        line.keep().await;
        "the line to the controller"
    });
    let (asking, known) = (registrar.clone(), identity.clone());
    parts.spawn(async move {
        learn_default(asking.as_ref(), known).await;
        // There is nothing more to learn, and that is not the end of a part.
        std::future::pending().await
    });
    parts.spawn(async move {
        health::serve(metrics_listener, page, ready).await;
        "metrics"
    });
    tracing::info!(listen = %config.listen, "serving EST");
    let (stop, mut stopping) = watch::channel(());
    let stopped = async move {
        // The sender is dropped at the latest when the process ends.
        let _ = stopping.changed().await;
    };
    let mut front = JoinSet::new();
    front.spawn(est::serve_counted(
        listener,
        identity,
        registrar,
        config.limits,
        counters,
        stopped,
    ));
    let outcome = tokio::select! {
        () = stop_signal() => Ok(()),
        ended = parts.join_next() => Err(RunError::Ended(ended.and_then(Result::ok).unwrap_or("a task that panicked"))),
        Some(_) = front.join_next() => Err(RunError::Ended("EST")),
    };
    tracing::info!("stopping: requests under way are finished first");
    drop(stop);
    while front.join_next().await.is_some() {}
    outcome
}

/// Asks for what is served without a label once the controller is there, so that devices get it while the controller is away
/// although none has asked before. Under labels, the first device that asks does this.
async fn learn_default(
    registrar: &impl Registrar,
    mut identity: watch::Receiver<Option<Arc<ServerIdentity>>>,
) {
    // The end of the line is the end of the process.
    let _ = identity.wait_for(Option::is_some).await;
    loop {
        let answers = (
            registrar.authorities(None).await.map(drop),
            registrar.attributes(None).await.map(drop),
        );
        match answers {
            (Ok(()), Ok(())) => return,
            // Nothing is served there.
            (Err(refusal), _) if refusal.reason == Reason::UnknownLabel => return,
            _ => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}
