//! Connections: accepted, limited, served, and closed in good order.

use std::{convert::Infallible, future::Future, io, net::IpAddr, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    counters::Counters,
    header_case,
    limits::Limits,
    pace::{Pace, Paced},
    service::{Peer, Service},
    tls::{self, CurrentIdentity},
};
use crate::registrar::{Registrar, ServerIdentity};

/// How long requests that are under way may take to finish once `shutdown` has resolved.
const SHUTDOWN_TIME: Duration = Duration::from_secs(10);

/// Serves EST (RFC 7030) on `listener` until `shutdown` resolves, then finishes what is under way, within 10 s.
///
/// The TLS certificate is always the latest one in `identity`; a change drops no connection. An identity that cannot
/// be used is logged and the one before it stays in use. While there is none, connections are accepted and every
/// handshake is refused with the alert `access_denied`; whether to send clients here at all is for readiness to say.
///
/// A request that has been understood is carried out even if its client goes away, unless it takes longer than
/// `limits.request_timeout`: then the registrar's future is dropped wherever it stands.
///
/// # Errors
/// Only if TLS cannot be set up. Nothing that a client does ends the server.
pub async fn serve(
    listener: TcpListener,
    identity: watch::Receiver<Option<Arc<ServerIdentity>>>,
    registrar: Arc<impl Registrar>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    serve_counted(
        listener,
        identity,
        registrar,
        limits,
        Arc::default(),
        shutdown,
    )
    .await
}

/// Does the same as [`serve`], and counts in `counters`.
///
/// # Errors
/// As [`serve`].
pub async fn serve_counted(
    listener: TcpListener,
    mut identity: watch::Receiver<Option<Arc<ServerIdentity>>>,
    registrar: Arc<impl Registrar>,
    limits: Limits,
    counters: Arc<Counters>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let current = Arc::new(CurrentIdentity::default());
    let config = tls::server_config(Arc::clone(&current)).map_err(io::Error::other)?;
    let service = Service {
        registrar,
        counters: Arc::clone(&counters),
        max_body_bytes: limits.max_body_bytes,
        spelling: header_case::www_authenticate().await?,
    };
    let (closing, closed) = watch::channel(false);
    let places = Arc::new(semaphore(limits.max_connections));
    let front = Arc::new(Front {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        handshakes: semaphore(limits.max_handshakes),
        http: http(&limits),
        service,
        limits,
    });
    let mut connections = JoinSet::new();

    adopt(&current, &mut identity);
    let mut identity_may_change = true;
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            changed = identity.changed(), if identity_may_change => match changed {
                Ok(()) => adopt(&current, &mut identity),
                Err(_) => identity_may_change = false,
            },
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        let address = address.ip().to_canonical();
                        let front = Arc::clone(&front);
                        connections.spawn(front.connection(stream, address, place, closed.clone()));
                    }
                    Err(_) => drop_connection(stream, &counters),
                },
                Err(error) => pause(error).await,
            },
        }
    }

    drop(listener);
    closing.send_replace(true);
    let finished = timeout(SHUTDOWN_TIME, async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    });
    if finished.await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "EST connections cut at shutdown"
        );
        connections.shutdown().await;
    }
    Ok(())
}

/// What all connections share.
struct Front<R> {
    acceptor: TlsAcceptor,
    handshakes: Semaphore,
    http: http1::Builder,
    service: Service<R>,
    limits: Limits,
}

impl<R: Registrar> Front<R> {
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        address: IpAddr,
        _place: OwnedSemaphorePermit,
        mut closing: watch::Receiver<bool>,
    ) {
        let handshake = timeout(self.limits.handshake_timeout, self.handshake(stream));
        let stream = tokio::select! {
            result = handshake => match result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => stream,
                Err(error) => {
                    self.service.counters.count_failed_handshake();
                    tracing::debug!(peer = %address, %error, "TLS handshake failed");
                    return;
                }
            },
            () = begins_closing(&mut closing) => return,
        };

        let presented = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain = presented.iter().map(|der| der.to_vec()).collect();
        let peer = Arc::new(Peer { address, chain });
        let pace = Arc::new(Pace::new(&self.limits));
        let stream = TokioIo::new(Paced::new(stream, Arc::clone(&pace)));
        let service = service_fn(|request: Request<Incoming>| {
            let (front, peer, pace) = (Arc::clone(&self), Arc::clone(&peer), Arc::clone(&pace));
            async move {
                let answer_by = pace.request_begins();
                let answer = front.service.answer(request, &peer, answer_by).await;
                pace.answer_begins();
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = self.http.serve_connection(stream, service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = &mut connection => result,
            () = begins_closing(&mut closing) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(peer = %address, %error, "EST connection broke off");
        }
    }

    async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let _permit = self.handshakes.acquire().await.map_err(io::Error::other)?;
        // Without it the small writes of TLS and HTTP wait for each other's acknowledgements.
        stream.set_nodelay(true)?;
        self.acceptor.accept(stream).await
    }
}

/// Waits until the server closes. A server that was dropped is closing too.
async fn begins_closing(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

fn semaphore(permits: usize) -> Semaphore {
    Semaphore::new(permits.min(Semaphore::MAX_PERMITS))
}

fn http(limits: &Limits) -> http1::Builder {
    /// hyper panics below this.
    const MIN_BUFFER: usize = 8192;
    let mut http = http1::Builder::new();
    http.title_case_headers(true)
        // A client may close its half once it has sent its request.
        .half_close(true)
        .max_buf_size(limits.max_header_bytes.max(MIN_BUFFER))
        .max_header_size(limits.max_header_bytes.max(MIN_BUFFER))
        // `pace` keeps all the times.
        .header_read_timeout(None);
    http
}

fn adopt(current: &CurrentIdentity, identity: &mut watch::Receiver<Option<Arc<ServerIdentity>>>) {
    let latest = identity.borrow_and_update().clone();
    match current.set(latest.as_deref()) {
        Ok(()) => tracing::info!(present = latest.is_some(), "EST server certificate changed"),
        Err(error) => {
            tracing::error!(%error, "new EST server certificate is unusable; keeping the old one")
        }
    }
}

/// Closes a connection for which there is no room. The log hears of the first and of every thousandth.
fn drop_connection(stream: TcpStream, counters: &Counters) {
    drop(stream);
    let total = counters.count_dropped_connection();
    if total % 1000 == 1 {
        tracing::warn!(
            total,
            "EST connection dropped: the limit of open connections is reached"
        );
    }
}

/// A failure to accept concerns one connection, or the process is out of file descriptors for a while.
async fn pause(error: io::Error) {
    tracing::warn!(%error, "accepting an EST connection failed");
    sleep(Duration::from_millis(50)).await;
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of an EST connection failed");
    }
}
