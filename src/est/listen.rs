//! Connections: accepted, limited, served, and closed in good order.

use std::{convert::Infallible, future::Future, io, net::IpAddr, sync::Arc, time::Duration};

use futures::FutureExt;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{HandshakeKind, KeyLog, ServerConfig, server::Acceptor};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    binding::{self, MasterSecret},
    counters::{Counters, Event},
    failures::{Failures, Kind},
    header_case,
    limits::Limits,
    pace::{Pace, Paced},
    places::{Made, Place, Places},
    service::{Peer, Service},
    source::Source,
    tap::Tap,
    tls::{self, CurrentIdentity},
};
use crate::registrar::{Registrar, ServerIdentity};

/// How long requests that are under way may take to finish once `shutdown` has resolved.
const SHUTDOWN_TIME: Duration = Duration::from_secs(10);

/// How long a handshake waits for its turn while too many are under way.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(1);

/// How long a handshake may take while others wait.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(2);

/// How long a connection that leaves for another may take to say goodbye.
const GOODBYE_TIME: Duration = Duration::from_secs(1);

/// How much smaller the part of a source is whose requests and handshakes failed too often.
const PART_AFTER_FAILURES: usize = 16;

/// Serves EST (RFC 7030) on `listener` until `shutdown` resolves, then finishes what is under way, within 10 s.
///
/// The TLS certificate is always the latest one in `identity`; a change drops no connection. An identity that cannot
/// be used is logged and the one before it stays in use. While there is none, connections are accepted and every
/// handshake is refused with the alert `access_denied`; whether to send clients here at all is for readiness to say.
///
/// A request that has been understood is carried out even if its client goes away, unless it takes longer than
/// `limits.request_timeout`: then the registrar's future is dropped, and whether it carries on is for the registrar to say.
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
        failures: Failures::new(&limits),
        requests: semaphore(limits.max_requests),
        max_body_bytes: limits.max_body_bytes,
        spelling: header_case::www_authenticate().await?,
    };
    let (closing, closed) = watch::channel(false);
    let places = Places::new(limits.max_connections);
    let front = Arc::new(Front {
        tls: config,
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
                Ok((stream, address)) => {
                    let address = address.ip().to_canonical();
                    match front.place(&places, address) {
                        Some(place) => {
                            let front = Arc::clone(&front);
                            connections.spawn(front.connection(stream, address, place, closed.clone()));
                        }
                        None => drop_connection(stream, &counters),
                    }
                }
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
    tls: ServerConfig,
    handshakes: Semaphore,
    http: http1::Builder,
    service: Service<R>,
    limits: Limits,
}

/// A connection after its handshake, and who is at its other end.
type Secured = (TlsStream<Tap<TcpStream>>, Peer);

/// Why there was no handshake.
enum NoHandshake {
    Failed(io::Error),
    /// Too many were under way.
    Shed,
    /// The connection left for another, or the server closes.
    Left,
}

impl<R: Registrar> Front<R> {
    /// Room for a connection, if there is any.
    fn place(&self, places: &Arc<Places>, address: IpAddr) -> Option<Place> {
        let source = Source::from(address);
        let failed = self.failed_too_often(source);
        let per_source = match self.limits.max_connections_per_source {
            0 => 0,
            all if failed => (all / PART_AFTER_FAILURES).max(1),
            all => all,
        };
        let (place, made) = places.enter(source, per_source).ok()?;
        if made == Made::ByEviction {
            self.service.counters.count(Event::Evicted);
        }
        Some(place)
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        address: IpAddr,
        place: Place,
        mut closing: watch::Receiver<bool>,
    ) {
        let _open = CountedOpen::new(&self.service.counters);
        let source = Source::from(address);
        // Boxed, so that the connection is no larger afterwards than what remains of it.
        let handshake = self.handshake_in_time(stream, address, &place, &mut closing);
        let (stream, peer) = match Box::pin(handshake).await {
            Ok(secured) => secured,
            Err(no_handshake) => return self.report(no_handshake, address),
        };
        let peer = Arc::new(peer);
        let pace = Arc::new(Pace::new(&self.limits, place));
        let stream = TokioIo::new(Paced::new(stream, Arc::clone(&pace)));
        let service = service_fn(|request: Request<Incoming>| {
            let (front, peer, pace) = (Arc::clone(&self), Arc::clone(&peer), Arc::clone(&pace));
            // Boxed, because hyper keeps the room for it also while there is no request.
            async move {
                let answer_by = pace.request_begins();
                let answer = front.service.answer(request, &peer, answer_by).await;
                pace.answer_begins();
                Ok::<_, Infallible>(answer)
            }
            .boxed()
        });
        let connection = self.http.serve_connection(stream, service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = &mut connection => result,
            () = begins_closing(&mut closing) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = pace.evicted() => {
                connection.as_mut().graceful_shutdown();
                timeout(GOODBYE_TIME, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = result {
            if error.is_parse() {
                self.note_failure(source);
            }
            tracing::debug!(peer = %address, %error, "EST connection broke off");
        }
    }

    /// The handshake, unless it takes too long or the connection must leave.
    async fn handshake_in_time(
        &self,
        stream: TcpStream,
        address: IpAddr,
        place: &Place,
        closing: &mut watch::Receiver<bool>,
    ) -> Result<Secured, NoHandshake> {
        tokio::select! {
            result = self.handshake(stream, address) => result,
            () = self.handshake_time() => Err(NoHandshake::Failed(io::ErrorKind::TimedOut.into())),
            () = place.evicted() => Err(NoHandshake::Left),
            () = begins_closing(closing) => Err(NoHandshake::Left),
        }
    }

    async fn handshake(&self, stream: TcpStream, address: IpAddr) -> Result<Secured, NoHandshake> {
        // A client that is silent takes no turn.
        let silent = stream.peek(&mut [0]).await.map(|bytes| bytes == 0);
        if silent.map_err(NoHandshake::Failed)? {
            return Err(NoHandshake::Left);
        }
        let Ok(Ok(_turn)) = timeout(HANDSHAKE_WAIT, self.handshakes.acquire()).await else {
            return Err(NoHandshake::Shed);
        };
        self.tls_handshake(stream, address)
            .await
            .map_err(NoHandshake::Failed)
    }

    async fn tls_handshake(&self, stream: TcpStream, address: IpAddr) -> io::Result<Secured> {
        // Without it the small writes of TLS and HTTP wait for each other's acknowledgements.
        stream.set_nodelay(true)?;
        // A configuration of its own, so that no other handshake's secret can be taken for this one's.
        let secret = Arc::new(MasterSecret::default());
        let mut config = self.tls.clone();
        config.key_log = Arc::clone(&secret) as Arc<dyn KeyLog>;
        let start = LazyConfigAcceptor::new(Acceptor::default(), Tap::new(stream)).await?;
        config.ignore_client_order = tls::our_order_holds(start.client_hello().cipher_suites());
        let mut stream = start.into_stream(Arc::new(config)).await?;
        let heard = stream.get_mut().0.close();

        let session = stream.get_ref().1;
        self.service.counters.count(match session.handshake_kind() {
            Some(HandshakeKind::Resumed) => Event::HandshakeResumed,
            _ => Event::HandshakeFull,
        });
        let bindings = heard.map(|heard| binding::of(session, &heard, &secret));
        let presented = session.peer_certificates().unwrap_or_default();
        let peer = Peer {
            address,
            source: Source::from(address),
            bindings: bindings.unwrap_or_default(),
            chain: presented.iter().map(|der| der.to_vec()).collect(),
        };
        Ok((stream, peer))
    }

    /// Resolves when a handshake has had its time, which is shorter while others wait for their turn.
    async fn handshake_time(&self) {
        let end = Instant::now() + self.limits.handshake_timeout;
        while Instant::now() < end {
            sleep_until(end.min(Instant::now() + HANDSHAKE_PATIENCE)).await;
            if self.handshakes.available_permits() == 0 {
                return;
            }
        }
    }

    fn report(&self, no_handshake: NoHandshake, address: IpAddr) {
        match no_handshake {
            NoHandshake::Failed(error) => {
                self.service.counters.count(Event::HandshakeFailed);
                self.note_failure(Source::from(address));
                tracing::debug!(peer = %address, %error, "TLS handshake failed");
            }
            NoHandshake::Shed => {
                self.service.counters.count(Event::HandshakeShed);
            }
            NoHandshake::Left => {}
        }
    }

    fn note_failure(&self, source: Source) {
        let now = std::time::Instant::now();
        self.service.failures.note(source, Kind::Wire, now);
    }

    fn failed_too_often(&self, source: Source) -> bool {
        let now = std::time::Instant::now();
        self.service
            .failures
            .wait(source, Kind::Wire, now)
            .is_some()
    }
}

/// Counts a connection as open for as long as it lives.
struct CountedOpen(Arc<Counters>);

impl CountedOpen {
    fn new(counters: &Arc<Counters>) -> Self {
        counters.count(Event::Opened);
        Self(Arc::clone(counters))
    }
}

impl Drop for CountedOpen {
    fn drop(&mut self) {
        self.0.count(Event::Closed);
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
    let total = counters.count(Event::Dropped);
    if total % 1000 == 1 {
        tracing::warn!(total, "EST connection dropped: there is no room for it");
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
