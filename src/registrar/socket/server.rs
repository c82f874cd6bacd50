//! The controller's end: lets one user in, hands requests to a [`Registrar`] and answers as they are done.

use std::{
    future::Future,
    io,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use zeroize::Zeroizing;

use super::{
    IN_FLIGHT,
    frame::{self, FRAME_TIME, REQUEST_LIMIT, RESPONSE_LIMIT, VERSION},
    message::{Request, Response, identity_frame},
};
use crate::{
    policy::Reason,
    registrar::{Registrar, Rejection, ServerIdentity},
};

/// Open connections; a front end needs one. Further ones are closed at once.
pub(super) const CONNECTIONS: usize = 4;
/// How many bytes the requests of one connection may cost while they are under way: 32 MiB for all connections. That is 512
/// requests of 4 KiB, which is more than a device sends; where they are longer, fewer are read at a time.
pub(super) const ROOM: usize = 8 * 1024 * 1024;
/// For how long a connection takes its place at least, so that one who comes and goes fills no log.
pub(super) const SHORTEST: Duration = Duration::from_millis(500);
/// How long a request may take; then its future is dropped, and whether it carries on is for the registrar to say.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// How long a front end that is finishing too may go on asking once `shutdown` has resolved.
const SHUTDOWN_TIME: Duration = Duration::from_secs(10);
/// How long one that asks nothing is waited for then: a device that is just sending its request still gets its answer.
const LINGER: Duration = Duration::from_millis(500);

type Identity = watch::Receiver<Option<Arc<ServerIdentity>>>;

/// Serves `registrar` to the user `est_uid`, and tells it each new `identity`, until `shutdown` resolves and the front end
/// has gone or asks nothing more, at most 10 s later.
///
/// Nothing that is asked is believed: the registrar checks chains, passwords, CSRs and policy itself. Connections of
/// other users are closed unread. Frames that are none, or too long, or too slow, end their connection and no other. At
/// most 512 requests of a connection are under way, or as many as may cost 8 MiB; then its next frame is not read until one
/// is done.
pub async fn serve(
    listener: UnixListener,
    est_uid: u32,
    registrar: Arc<impl Registrar>,
    identity: Identity,
    shutdown: impl Future<Output = ()> + Send,
) {
    let (stop, stopping) = watch::channel(());
    let desk = Arc::new(Desk {
        registrar,
        identity,
        stopping,
        est_uid,
        refused: AtomicU64::new(0),
    });
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if desk.lets_in(&stream) && connections.len() < CONNECTIONS => {
                    connections.spawn(Arc::clone(&desk).connection(stream));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection on the registrar's socket failed");
                    sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    drop(stop);
    let finished = timeout(SHUTDOWN_TIME, async {
        while connections.join_next().await.is_some() {}
    });
    // Whoever stays longer is cut when the set is dropped.
    let _ = finished.await;
}

struct Desk<R> {
    registrar: Arc<R>,
    identity: Identity,
    /// Its sender is dropped when the controller stops.
    stopping: watch::Receiver<()>,
    est_uid: u32,
    refused: AtomicU64,
}

/// A frame to be sent, and what its request still takes.
type Answer = (Zeroizing<Vec<u8>>, Taken);

/// A place among those in flight, and room.
struct Taken {
    _place: OwnedSemaphorePermit,
    _room: OwnedSemaphorePermit,
}

/// What a request with a frame of this length makes us hold: the frame, what is read from it, and its answer, which is a
/// few certificates of our own.
pub(super) fn cost(length: usize) -> usize {
    2 * length + 8 * 1024
}

impl<R: Registrar> Desk<R> {
    /// Whether the other end may speak. The log hears of the first refusal and of every thousandth.
    fn lets_in(&self, stream: &UnixStream) -> bool {
        let uid = stream.peer_cred().map(|peer| peer.uid());
        if uid.as_ref().is_ok_and(|uid| *uid == self.est_uid) {
            return true;
        }
        let total = self.refused.fetch_add(1, Relaxed) + 1;
        if total % 1000 == 1 {
            tracing::warn!(
                ?uid,
                expected = self.est_uid,
                total,
                "somebody who is not --est-uid was turned away from the registrar's socket"
            );
        }
        false
    }

    async fn connection(self: Arc<Self>, stream: UnixStream) {
        let shortest = sleep(SHORTEST);
        tracing::info!("the EST front end has connected");
        let (reader, writer) = stream.into_split();
        let (answers, outgoing) = mpsc::channel(IN_FLIGHT);
        let mut writing = pin!(write(writer, outgoing, self.identity.clone()).fuse());
        let mut requests = JoinSet::new();
        let ended = tokio::select! {
            read = self.read(reader, answers, &mut requests) => read,
            written = &mut writing => written,
        };
        // What was understood is carried out, although perhaps nobody hears of it any more.
        let finishing = async { while requests.join_next().await.is_some() {} };
        futures::join!(finishing, async {
            if !futures::future::FusedFuture::is_terminated(&writing) {
                // What became of the answers is in `ended` if it matters.
                let _ = writing.await;
            }
        });
        match ended {
            Ok(()) => tracing::info!("the EST front end has gone"),
            Err(error) => {
                tracing::warn!(%error, "the connection with the EST front end was closed")
            }
        }
        shortest.await;
    }

    async fn read(
        &self,
        mut reader: OwnedReadHalf,
        answers: mpsc::Sender<Answer>,
        requests: &mut JoinSet<()>,
    ) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(IN_FLIGHT));
        let room = Arc::new(Semaphore::new(ROOM));
        loop {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let length = tokio::select! {
                length = frame::read_length(&mut reader, REQUEST_LIMIT, FRAME_TIME) => length?,
                () = self.stopped_and_idle(&places) => None,
            };
            let Some(length) = length else { return Ok(()) };
            // Before anything is allocated.
            let room = Arc::clone(&room).acquire_many_owned(cost(length) as u32);
            let taken = Taken {
                _place: place,
                _room: room.await.map_err(io::Error::other)?,
            };
            let frame = frame::read_rest(&mut reader, length, FRAME_TIME).await?;
            while requests.try_join_next().is_some() {}
            if frame.version != VERSION {
                let words = format!(
                    "the controller speaks version {VERSION} of the registrar's socket and was asked in version {}: run \
                     controller and est of the same release",
                    frame.version
                );
                let answer = Response::Unsupported(words.clone()).encode(frame.id);
                // The other end may have gone already.
                let _ = answers.send((answer, taken)).await;
                return Err(io::Error::new(io::ErrorKind::InvalidData, words));
            }
            let request = Request::decode(frame.kind, frame.body())
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            let (id, answers) = (frame.id, answers.clone());
            drop(frame);
            let registrar = Arc::clone(&self.registrar);
            requests.spawn(async move {
                let answer = answer(registrar.as_ref(), id, request).await;
                // The other end may have gone meanwhile.
                let _ = answers.send((answer, taken)).await;
            });
        }
    }

    /// Resolves when the controller stops, and nothing has been asked or is under way for a moment.
    async fn stopped_and_idle(&self, places: &Semaphore) {
        while self.stopping.clone().changed().await.is_ok() {}
        // All but the place of the frame that is awaited. The semaphore is never closed.
        let _ = places.acquire_many(IN_FLIGHT as u32 - 1).await;
        sleep(LINGER).await;
    }
}

/// Sends the welcome, the identity and each new one, and the answers until there can be no more.
async fn write(
    mut writer: OwnedWriteHalf,
    mut answers: mpsc::Receiver<Answer>,
    mut identity: Identity,
) -> io::Result<()> {
    frame::write(&mut writer, &Response::Welcome.encode(0)).await?;
    identity.mark_changed();
    let mut identity_may_change = true;
    loop {
        tokio::select! {
            biased;
            changed = identity.changed(), if identity_may_change => {
                let latest = identity.borrow_and_update().clone();
                identity_may_change = changed.is_ok();
                if let Some(latest) = latest.filter(|_| identity_may_change) {
                    frame::write(&mut writer, &identity_frame(&latest)).await?;
                }
            }
            answer = answers.recv() => match answer {
                Some((frame, _taken)) => frame::write(&mut writer, &frame).await?,
                None => return Ok(()),
            },
        }
    }
}

/// The frame that answers a request, whatever happens.
async fn answer(registrar: &impl Registrar, id: u64, request: Request) -> Zeroizing<Vec<u8>> {
    let work = async {
        match request {
            Request::Authorities(label) => registrar
                .authorities(label.as_deref())
                .await
                .map(Response::Authorities),
            Request::Attributes(label) => registrar
                .attributes(label.as_deref())
                .await
                .map(Response::Attributes),
            Request::Enroll(request) => registrar.enroll(*request).await.map(Response::Enrolled),
        }
    };
    let internal = |words: &str| rejection(Reason::Internal, words);
    let result = match timeout(REQUEST_TIME, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(internal("the handler of this request panicked")),
        Err(_) => Err(rejection(
            Reason::Overloaded,
            "the request could not be answered in time: try again",
        )),
    };
    let frame = result.unwrap_or_else(Response::Rejected).encode(id);
    if frame::fits(&frame, RESPONSE_LIMIT) {
        return frame;
    }
    let words = "the answer is longer than the registrar's socket lets through";
    tracing::error!(bytes = frame.len(), "{words}");
    Response::Rejected(internal(words)).encode(id)
}

fn rejection(reason: Reason, words: &str) -> Rejection {
    Rejection {
        reason,
        message: words.into(),
        retry_after: None,
    }
}
