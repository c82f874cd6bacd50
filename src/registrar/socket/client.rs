//! The front end's end: a registrar that is another process, which may go away and come back.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use zeroize::Zeroizing;

use super::{
    IN_FLIGHT,
    frame::{self, REQUEST_LIMIT, RESPONSE_LIMIT, VERSION},
    last_good::{LastGood, valid_now},
    message::{self, Request, Response},
};
use crate::{
    policy::Reason,
    registrar::{Enrolled, EnrollmentRequest, Registrar, Rejection, ServerIdentity},
};

/// How long the controller may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(45);
/// How long the controller may take to let us in.
const WELCOME_TIME: Duration = Duration::from_secs(5);
/// How long to wait before the second attempt to connect; each further one waits twice as long.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// The longest wait between two attempts.
const LAST_RETRY: Duration = Duration::from_secs(1);
/// When a client may try again while the controller is away.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The registrar of the controller at the other end of a socket.
///
/// While it is away, [`Registrar::authorities`] and [`Registrar::attributes`] give the last good answer for the label, and
/// all else is refused with [`Reason::NotReady`]. At most 512 requests are under way; more are refused with
/// [`Reason::Overloaded`].
pub struct RemoteRegistrar {
    pub(super) shared: Arc<Shared>,
    pub(super) places: Semaphore,
    next_id: AtomicU64,
    authorities: LastGood<Vec<Vec<u8>>>,
    attributes: LastGood<Vec<u8>>,
}

/// The connection behind a [`RemoteRegistrar`], which somebody must keep.
pub struct Line {
    path: PathBuf,
    controller_uid: Option<u32>,
    shared: Arc<Shared>,
    identity: watch::Sender<Option<Arc<ServerIdentity>>>,
}

#[derive(Default)]
pub(super) struct Shared {
    /// `None` while the controller is away.
    conversation: Mutex<Option<Conversation>>,
}

pub(super) struct Conversation {
    outgoing: mpsc::Sender<Zeroizing<Vec<u8>>>,
    pub(super) waiting: HashMap<u64, oneshot::Sender<Response>>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Conversation>> {
        self.conversation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, id: u64) -> Option<oneshot::Sender<Response>> {
        self.lock().as_mut()?.waiting.remove(&id)
    }
}

impl RemoteRegistrar {
    /// A registrar behind the socket `path`, whose server must be the user `controller_uid` if that is given. Nothing
    /// happens until [`Line::keep`] runs.
    ///
    /// The receiver has what the EST server proves itself with: nothing until the controller has said it for the first
    /// time, and from then on the last that it said, also while it is away.
    pub fn new(
        path: PathBuf,
        controller_uid: Option<u32>,
    ) -> (Self, Line, watch::Receiver<Option<Arc<ServerIdentity>>>) {
        let shared = Arc::new(Shared::default());
        let (identity, receiver) = watch::channel(None);
        let line = Line {
            path,
            controller_uid,
            shared: Arc::clone(&shared),
            identity,
        };
        let registrar = Self {
            shared,
            places: Semaphore::new(IN_FLIGHT),
            next_id: AtomicU64::new(1),
            authorities: LastGood::default(),
            attributes: LastGood::default(),
        };
        (registrar, line, receiver)
    }

    /// Whether the controller is there.
    pub fn is_connected(&self) -> bool {
        self.shared.lock().is_some()
    }

    /// For how many labels `/cacerts` could be answered if the controller were away now.
    pub fn authorities_kept(&self) -> usize {
        self.authorities.len()
    }

    async fn call(&self, request: Request) -> Result<Response, Rejection> {
        let overloaded = || {
            let words = "too many requests wait for the controller: try again";
            rejection(Reason::Overloaded, words)
        };
        let _place = self.places.try_acquire().map_err(|_| overloaded())?;
        let id = self.next_id.fetch_add(1, Relaxed);
        let frame = request.encode(id);
        drop(request);
        if !frame::fits(&frame, REQUEST_LIMIT) {
            let words = "the request with its CSR and certificates is too large";
            return Err(rejection(Reason::TooLarge, words));
        }
        let (sender, answer) = oneshot::channel();
        {
            let mut conversation = self.shared.lock();
            let conversation = conversation.as_mut().ok_or_else(away)?;
            // Frames of requests that were given up may still be waiting in there.
            let sent = conversation.outgoing.try_send(frame);
            sent.map_err(|_| overloaded())?;
            conversation.waiting.insert(id, sender);
        }
        let _forgets = Forgets {
            shared: &self.shared,
            id,
        };
        match timeout(ANSWER_TIME, answer).await {
            Ok(Ok(Response::Rejected(rejection))) => Err(rejection),
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(away()),
            Err(_) => Err(rejection(
                Reason::NotReady,
                "the controller did not answer in time: try again",
            )),
        }
    }

    /// The answer of the controller, or the last good one while that can give none.
    async fn slow_changing<T: Clone + PartialEq>(
        &self,
        label: Option<&str>,
        request: Request,
        kept: &LastGood<T>,
        read: impl FnOnce(Response) -> Option<T>,
        still_good: impl FnOnce(T) -> Option<T>,
    ) -> Result<T, Rejection> {
        match self.call(request).await {
            Ok(response) => {
                let answer = read(response).ok_or_else(astray)?;
                kept.keep(label, &answer);
                Ok(answer)
            }
            Err(rejection) => match rejection.reason {
                Reason::NotReady | Reason::ApiUnavailable | Reason::Overloaded => {
                    kept.get(label).and_then(still_good).ok_or(rejection)
                }
                _ => {
                    kept.forget(label);
                    Err(rejection)
                }
            },
        }
    }
}

impl Registrar for RemoteRegistrar {
    async fn authorities(&self, label: Option<&str>) -> Result<Vec<Vec<u8>>, Rejection> {
        let request = Request::Authorities(label.map(str::to_owned));
        let read = |response| match response {
            Response::Authorities(chain) => Some(chain),
            _ => None,
        };
        self.slow_changing(label, request, &self.authorities, read, valid_now)
            .await
    }

    async fn attributes(&self, label: Option<&str>) -> Result<Vec<u8>, Rejection> {
        let request = Request::Attributes(label.map(str::to_owned));
        let read = |response| match response {
            Response::Attributes(der) => Some(der),
            _ => None,
        };
        self.slow_changing(label, request, &self.attributes, read, Some)
            .await
    }

    async fn enroll(&self, request: EnrollmentRequest) -> Result<Enrolled, Rejection> {
        match self.call(Request::Enroll(Box::new(request))).await? {
            Response::Enrolled(enrolled) => Ok(enrolled),
            _ => Err(astray()),
        }
    }
}

/// Takes a request off the list, also when its caller has lost patience.
struct Forgets<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        self.shared.forget(self.id);
    }
}

impl Line {
    /// Connects, and connects anew whenever the connection ends. Never returns.
    pub async fn keep(self) {
        let mut retry = FIRST_RETRY;
        let mut told = String::new();
        loop {
            let stream = match self.connect().await {
                Ok(stream) => {
                    tracing::info!(socket = %self.path.display(), "connected with the controller");
                    (retry, told) = (FIRST_RETRY, String::new());
                    stream
                }
                Err(error) => {
                    // Once for each cause, not for each attempt.
                    let cause = error.to_string();
                    if cause != told {
                        tracing::warn!(socket = %self.path.display(), %error, "the controller cannot be reached");
                        told = cause;
                    }
                    sleep(retry).await;
                    retry = (retry * 2).min(LAST_RETRY);
                    continue;
                }
            };
            let ended = self.converse(stream).await;
            // Whoever waits for an answer hears that none will come.
            *self.shared.lock() = None;
            tracing::warn!(socket = %self.path.display(), error = %ended, "the connection with the controller ended");
            sleep(FIRST_RETRY).await;
        }
    }

    /// Connects, and is let in.
    pub(super) async fn connect(&self) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.path).await?;
        let uid = stream.peer_cred()?.uid();
        if self.controller_uid.is_some_and(|expected| expected != uid) {
            let words = format!("the socket belongs to user {uid}, who is not --controller-uid");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
        }
        let welcome = timeout(WELCOME_TIME, frame::read(&mut stream, RESPONSE_LIMIT)).await??;
        let frame = welcome.ok_or_else(|| {
            let words = "the controller closed the connection at once: does its --est-uid name the user of this process?";
            io::Error::new(io::ErrorKind::PermissionDenied, words)
        })?;
        match understand(&frame)? {
            Response::Welcome => Ok(stream),
            _ => Err(invalid("the controller did not begin with a welcome")),
        }
    }

    /// Returns why the conversation ended.
    async fn converse(&self, stream: UnixStream) -> io::Error {
        let (reader, writer) = stream.into_split();
        let (outgoing, frames) = mpsc::channel(IN_FLIGHT);
        *self.shared.lock() = Some(Conversation {
            outgoing,
            waiting: HashMap::new(),
        });
        tokio::select! {
            ended = self.listen(reader) => ended,
            ended = speak(writer, frames) => ended,
        }
    }

    async fn listen(&self, mut reader: OwnedReadHalf) -> io::Error {
        loop {
            let frame = match frame::read(&mut reader, RESPONSE_LIMIT).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return io::ErrorKind::UnexpectedEof.into(),
                Err(error) => return error,
            };
            match understand(&frame) {
                Ok(Response::Identity(identity)) => {
                    self.identity.send_replace(Some(Arc::new(identity)));
                }
                Ok(response) => {
                    if let Some(waiting) = self.shared.forget(frame.id) {
                        // Whoever asked may just have lost patience.
                        let _ = waiting.send(response);
                    }
                }
                Err(error) => return error,
            }
        }
    }
}

async fn speak(
    mut writer: OwnedWriteHalf,
    mut frames: mpsc::Receiver<Zeroizing<Vec<u8>>>,
) -> io::Error {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = frame::write(&mut writer, &frame).await {
            return error;
        }
    }
    io::ErrorKind::BrokenPipe.into()
}

fn understand(frame: &frame::Frame) -> io::Result<Response> {
    if frame.kind == message::UNSUPPORTED {
        return Err(invalid(&message::unsupported(frame.body())));
    }
    if frame.version != VERSION {
        return Err(invalid(&format!(
            "the controller speaks version {} of the registrar's socket, and this program version {VERSION}: run controller \
             and est of the same release",
            frame.version
        )));
    }
    Response::decode(frame.kind, frame.body())
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

fn invalid(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

fn away() -> Rejection {
    let words = "the controller is away for the moment, so nothing can be signed: try again soon";
    rejection(Reason::NotReady, words)
}

fn astray() -> Rejection {
    rejection(
        Reason::Internal,
        "the controller answered something else than was asked",
    )
}

fn rejection(reason: Reason, words: &str) -> Rejection {
    let passes = matches!(reason, Reason::NotReady | Reason::Overloaded);
    Rejection {
        reason,
        message: words.into(),
        retry_after: passes.then_some(RETRY_AFTER),
    }
}
