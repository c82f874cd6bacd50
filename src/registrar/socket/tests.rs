//! Both ends over real sockets, and peers that are neither.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use zeroize::Zeroizing;

use super::{
    IN_FLIGHT, RemoteRegistrar, bind,
    frame::{self, REQUEST_LIMIT, RESPONSE_LIMIT},
    fuzz_message,
    message::{Request, Response},
    own_uid, serve,
    server::{CONNECTIONS, ROOM, SHORTEST, cost},
};
use crate::{
    policy::Reason,
    registrar::{
        Authorization, BasicCredentials, BearerToken, ChannelBindings, Credentials, Enrolled,
        EnrollmentRequest, MadeKey, Operation, Registrar, Rejection, ServerIdentity,
    },
};

const DEADLINE: Duration = Duration::from_secs(30);

type Identity = Option<Arc<ServerIdentity>>;

/// Answers with what it was asked; under the label `waits` only when the gate opens.
struct Echo {
    gate: Semaphore,
    /// How many wait.
    waiting: AtomicUsize,
}

impl Registrar for Echo {
    async fn authorities(&self, label: Option<&str>) -> Result<Vec<Vec<u8>>, Rejection> {
        match label {
            Some("nobody") => Err(reject(Reason::UnknownLabel)),
            Some("huge") => Ok(vec![vec![0; RESPONSE_LIMIT]]),
            Some("panics") => panic!("as the test asked"),
            _ => Ok(vec![root()]),
        }
    }

    async fn attributes(&self, label: Option<&str>) -> Result<Vec<u8>, Rejection> {
        Ok(label.unwrap_or("none").into())
    }

    async fn enroll(&self, request: EnrollmentRequest) -> Result<Enrolled, Rejection> {
        match request.label.as_deref() {
            Some("waits") => {
                self.waiting.fetch_add(1, Relaxed);
                self.gate.acquire().await.unwrap().forget();
                self.waiting.fetch_sub(1, Relaxed);
            }
            Some("never") => return Err(reject(Reason::Suspended)),
            _ => {}
        }
        Ok(Enrolled::Certificate(request.csr))
    }
}

fn root() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::default();
    params.self_signed(&key).unwrap().der().to_vec()
}

fn reject(reason: Reason) -> Rejection {
    Rejection {
        reason,
        message: "no".into(),
        retry_after: Some(Duration::from_millis(1500)),
    }
}

fn request(label: &str, csr: &[u8]) -> EnrollmentRequest {
    EnrollmentRequest {
        label: Some(label.into()),
        operation: Operation::Enroll,
        csr: csr.to_vec(),
        credentials: Credentials::default(),
        bindings: ChannelBindings::default(),
        peer: [127, 0, 0, 1].into(),
    }
}

fn identity(key: &[u8]) -> Identity {
    Some(Arc::new(ServerIdentity {
        chain: vec![vec![1, 2], vec![3]],
        key: Zeroizing::new(key.to_vec()),
    }))
}

/// A controller that can be killed and started again.
struct Controller {
    path: PathBuf,
    registrar: Arc<Echo>,
    identity: watch::Sender<Identity>,
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
    _dir: TempDir,
}

impl Controller {
    async fn start() -> Self {
        Self::of_user(own_uid().unwrap()).await
    }

    async fn of_user(est_uid: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut controller = Self {
            path: dir.path().join("socket"),
            registrar: Arc::new(Echo {
                gate: Semaphore::new(0),
                waiting: AtomicUsize::new(0),
            }),
            identity: watch::channel(identity(b"first")).0,
            stop: watch::channel(()).0,
            task: tokio::spawn(async {}),
            _dir: dir,
        };
        controller.again(est_uid).await;
        controller
    }

    async fn again(&mut self, est_uid: u32) {
        let listener = bind(&self.path).await.unwrap();
        let mut stopping = self.stop.subscribe();
        self.task = tokio::spawn(serve(
            listener,
            est_uid,
            self.registrar.clone(),
            self.identity.subscribe(),
            async move {
                let _ = stopping.changed().await;
            },
        ));
    }

    async fn kill(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// The front end's end, connected.
    async fn front(&self) -> Front {
        let front = Front::of(self.path.clone(), None);
        until("connected", || front.registrar.is_connected()).await;
        front
    }

    /// A peer that may send what it likes, after its welcome.
    async fn stranger(&self) -> UnixStream {
        // Others before it keep their places for a moment.
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "there is never room");
            let mut stream = UnixStream::connect(&self.path).await.unwrap();
            if let Some(Response::Welcome) = next(&mut stream).await {
                let identity = next(&mut stream).await;
                assert!(matches!(identity, Some(Response::Identity(_))));
                return stream;
            }
        }
    }
}

struct Front {
    registrar: Arc<RemoteRegistrar>,
    identity: watch::Receiver<Identity>,
    line: JoinHandle<()>,
}

impl Front {
    fn of(path: PathBuf, controller_uid: Option<u32>) -> Self {
        let (registrar, line, identity) = RemoteRegistrar::new(path, controller_uid);
        Self {
            registrar: Arc::new(registrar),
            identity,
            line: tokio::spawn(line.keep()),
        }
    }

    async fn echo(&self, csr: &[u8]) {
        let enrolled = self.registrar.enroll(request("g", csr)).await.unwrap();
        assert!(matches!(enrolled, Enrolled::Certificate(same) if same == csr));
    }

    fn shown_key(&self) -> Option<Vec<u8>> {
        let identity = self.identity.borrow();
        identity.as_ref().map(|identity| identity.key.to_vec())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.line.abort();
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn next(stream: &mut UnixStream) -> Option<Response> {
    let frame = timeout(DEADLINE, frame::read(stream, RESPONSE_LIMIT)).await;
    let frame = frame.expect("an answer in time").unwrap()?;
    Some(Response::decode(frame.kind, frame.body()).unwrap())
}

/// The other end must have closed the connection.
async fn is_closed(stream: &mut UnixStream) {
    let mut rest = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
    // A reset says the same as an end.
    let _ = read.expect("closed in time");
}

#[tokio::test]
async fn requests_are_answered_as_by_the_registrar_itself() {
    let controller = Controller::start().await;
    let Front { registrar, .. } = &controller.front().await;
    assert_eq!(registrar.authorities(None).await.unwrap().len(), 1);
    assert_eq!(registrar.attributes(Some("g")).await.unwrap(), b"g");
    let enrolled = registrar.enroll(request("g", b"csr")).await.unwrap();
    assert!(matches!(enrolled, Enrolled::Certificate(csr) if csr == b"csr"));
    let refused = registrar
        .enroll(request("never", b"csr"))
        .await
        .unwrap_err();
    assert_eq!(
        (
            refused.reason,
            refused.message.as_str(),
            refused.retry_after
        ),
        (Reason::Suspended, "no", Some(Duration::from_millis(1500)))
    );
    for (label, reason) in [
        ("nobody", Reason::UnknownLabel),
        ("huge", Reason::Internal),
        ("panics", Reason::Internal),
    ] {
        let refused = registrar.authorities(Some(label)).await.unwrap_err();
        assert_eq!(refused.reason, reason, "{label}");
    }
    assert!(registrar.authorities(None).await.is_ok());
}

#[tokio::test]
async fn answers_come_in_the_order_in_which_they_are_done_and_each_to_whoever_asked() {
    let controller = Controller::start().await;
    let front = controller.front().await;
    let slow: Vec<_> = (0..20u8)
        .map(|number| {
            let registrar = front.registrar.clone();
            tokio::spawn(async move { registrar.enroll(request("waits", &[number])).await })
        })
        .collect();
    front.echo(b"fast").await;
    assert!(slow.iter().all(|slow| !slow.is_finished()));
    controller.registrar.gate.add_permits(20);
    for (slow, number) in slow.into_iter().zip(0u8..) {
        let enrolled = slow.await.unwrap().unwrap();
        assert!(matches!(enrolled, Enrolled::Certificate(csr) if csr == [number]));
    }
}

#[tokio::test]
async fn requests_in_flight_are_bounded_and_those_that_were_given_up_leave_room() {
    let controller = Controller::start().await;
    let front = controller.front().await;
    let waiting: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let registrar = front.registrar.clone();
            tokio::spawn(async move { registrar.enroll(request("waits", b"csr")).await })
        })
        .collect();
    until("all places are taken", || {
        front.registrar.places.available_permits() == 0
    })
    .await;
    let refused = front
        .registrar
        .enroll(request("g", b"x"))
        .await
        .unwrap_err();
    assert_eq!(refused.reason, Reason::Overloaded);
    assert!(refused.retry_after.is_some());
    for waiting in &waiting {
        waiting.abort();
    }
    until("all places are free", || {
        front.registrar.places.available_permits() == IN_FLIGHT
    })
    .await;
    let listed = || {
        front
            .registrar
            .shared
            .lock()
            .as_ref()
            .unwrap()
            .waiting
            .len()
    };
    assert_eq!(listed(), 0);
    controller.registrar.gate.add_permits(IN_FLIGHT);
    front.echo(b"again").await;
}

#[tokio::test]
async fn the_identity_comes_at_once_and_at_each_change_and_outlives_the_controller() {
    let mut controller = Controller::start().await;
    let front = controller.front().await;
    until("the first identity", || {
        front.shown_key().as_deref() == Some(b"first")
    })
    .await;
    controller.identity.send_replace(identity(b"second"));
    until("the second identity", || {
        front.shown_key().as_deref() == Some(b"second")
    })
    .await;
    controller.kill().await;
    until("away", || !front.registrar.is_connected()).await;
    assert_eq!(front.shown_key().as_deref(), Some(&b"second"[..]));
    controller.identity.send_replace(identity(b"third"));
    controller.again(own_uid().unwrap()).await;
    until("the third identity", || {
        front.shown_key().as_deref() == Some(b"third")
    })
    .await;
}

#[tokio::test]
async fn while_the_controller_is_away_enrolment_is_refused_in_words_and_authorities_are_remembered()
{
    let mut controller = Controller::start().await;
    let front = controller.front().await;
    let Front { registrar, .. } = &front;
    let chain = registrar.authorities(Some("g")).await.unwrap();
    registrar.attributes(Some("g")).await.unwrap();
    let caught = tokio::spawn({
        let registrar = registrar.clone();
        async move { registrar.enroll(request("waits", b"csr")).await }
    });
    until("a request is under way", || {
        registrar.places.available_permits() < IN_FLIGHT
    })
    .await;
    controller.kill().await;

    let caught = caught.await.unwrap().unwrap_err();
    let refused = registrar.enroll(request("g", b"csr")).await.unwrap_err();
    for refused in [caught, refused] {
        assert_eq!(refused.reason, Reason::NotReady);
        assert!(refused.message.contains("try again"), "{}", refused.message);
        assert!(refused.retry_after.is_some());
    }
    assert_eq!(registrar.authorities(Some("g")).await.unwrap(), chain);
    assert_eq!(registrar.attributes(Some("g")).await.unwrap(), b"g");
    let unknown = registrar.authorities(Some("h")).await.unwrap_err();
    assert_eq!(unknown.reason, Reason::NotReady);

    controller.again(own_uid().unwrap()).await;
    until("connected again", || registrar.is_connected()).await;
    front.echo(b"csr").await;
}

#[tokio::test]
async fn only_the_user_that_was_named_may_speak() {
    let stranger = own_uid().unwrap() + 1;
    let controller = Controller::of_user(stranger).await;
    let front = Front::of(controller.path.clone(), None);
    let mut stream = UnixStream::connect(&controller.path).await.unwrap();
    is_closed(&mut stream).await;
    assert!(!front.registrar.is_connected());
    assert!(front.shown_key().is_none());
}

#[tokio::test]
async fn a_socket_of_another_user_is_not_spoken_to() {
    let controller = Controller::start().await;
    let own = own_uid().unwrap();
    let wrong = Front::of(controller.path.clone(), Some(own + 1));
    let right = Front::of(controller.path.clone(), Some(own));
    until("connected", || right.registrar.is_connected()).await;
    assert!(!wrong.registrar.is_connected());
    assert!(wrong.shown_key().is_none());
}

#[tokio::test]
async fn garbage_and_oversized_frames_end_their_connection_and_no_other() {
    let controller = Controller::start().await;
    let front = controller.front().await;
    let mut oversized = Vec::from((REQUEST_LIMIT as u32 + 1).to_be_bytes());
    oversized.extend([1; 100]);
    let unknown_kind = frame::build(77, 1, |_| {}).to_vec();
    let cut_short = frame::build(3, 1, |to| to.u8(1)).to_vec();
    for nonsense in [
        vec![0xff; 4096],
        oversized,
        vec![0; 64],
        unknown_kind,
        cut_short,
    ] {
        let mut stream = controller.stranger().await;
        // The other end may close before it has read everything.
        let _ = stream.write_all(&nonsense).await;
        is_closed(&mut stream).await;
        front.echo(b"csr").await;
    }
}

#[tokio::test]
async fn another_version_is_answered_in_words() {
    let controller = Controller::start().await;
    let mut stream = controller.stranger().await;
    let mut newer = Request::Attributes(None).encode(5).to_vec();
    newer[4] = 2;
    stream.write_all(&newer).await.unwrap();
    match next(&mut stream).await {
        Some(Response::Unsupported(words)) => {
            assert!(
                words.contains("version 1") && words.contains("version 2"),
                "{words}"
            );
        }
        _ => panic!("not told"),
    }
    is_closed(&mut stream).await;
}

#[tokio::test]
async fn a_controller_of_another_version_is_told_of_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = bind(&path).await.unwrap();
    let (_, line, _identity) = RemoteRegistrar::new(path, None);
    let greet = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut welcome = Response::Welcome.encode(0).to_vec();
        welcome[4] = 2;
        stream.write_all(&welcome).await.unwrap();
    };
    let (error, ()) = tokio::join!(line.connect(), greet);
    let words = error.unwrap_err().to_string();
    assert!(
        words.contains("version 2") && words.contains("same release"),
        "{words}"
    );
}

#[tokio::test]
async fn a_peer_that_reads_no_answers_blocks_nobody() {
    let controller = Controller::start().await;
    let front = controller.front().await;
    let mut deaf = controller.stranger().await;
    let big = Request::Enroll(Box::new(request("g", &[7; 64 * 1024]))).encode(1);
    // Until the socket takes no more: its answers fill the other direction.
    while let Ok(sent) = timeout(Duration::from_millis(200), deaf.write_all(&big)).await {
        sent.unwrap();
    }
    let mut half = controller.stranger().await;
    half.write_all(&big[..9]).await.unwrap();
    for _ in 0..50 {
        front.echo(b"csr").await;
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_before_it_is_sent() {
    let controller = Controller::start().await;
    let front = controller.front().await;
    let csr = vec![1; REQUEST_LIMIT];
    let refused = front
        .registrar
        .enroll(request("g", &csr))
        .await
        .unwrap_err();
    assert_eq!(refused.reason, Reason::TooLarge);
    front.echo(b"csr").await;
}

#[tokio::test]
async fn a_controller_that_stops_waits_for_what_is_under_way_and_for_no_front_end_that_asks_nothing()
 {
    let controller = Controller::start().await;
    let front = controller.front().await;
    let mut idle = controller.stranger().await;
    let busy = tokio::spawn({
        let registrar = front.registrar.clone();
        async move { registrar.enroll(request("waits", b"late")).await }
    });
    front.echo(b"before").await;
    let began = Instant::now();
    controller.stop.send(()).unwrap();
    is_closed(&mut idle).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{began:?}");
    assert!(!busy.is_finished() && !controller.task.is_finished());
    controller.registrar.gate.add_permits(1);
    let Ok(Enrolled::Certificate(answer)) = busy.await.unwrap() else {
        panic!("what was under way was not answered");
    };
    assert_eq!(answer, b"late");
    controller.task.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(8), "{began:?}");
}

#[tokio::test]
async fn connections_are_bounded() {
    let controller = Controller::start().await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(controller.stranger().await);
    }
    let mut one_more = UnixStream::connect(&controller.path).await.unwrap();
    is_closed(&mut one_more).await;
    open.pop();
    controller.stranger().await;
}

#[tokio::test]
async fn what_the_requests_of_a_connection_take_is_bounded_and_all_are_answered() {
    const REQUESTS: usize = 100;
    let controller = Controller::start().await;
    let front = controller.front().await;
    let (mut reader, mut writer) = controller.stranger().await.into_split();
    let longest = vec![7; REQUEST_LIMIT - 64];
    let frame = Request::Enroll(Box::new(request("waits", &longest))).encode(1);
    let most = ROOM / cost(frame.len() - 4);
    assert!(most < REQUESTS / 2);
    let mut flood = tokio::spawn(async move {
        for _ in 0..REQUESTS {
            writer.write_all(&frame).await.unwrap();
        }
        writer
    });
    let waiting = || controller.registrar.waiting.load(Relaxed);
    until("as many are under way as there is room for", || {
        waiting() == most
    })
    .await;
    // It does not get rid of the others, and everybody else is served.
    let stuck = timeout(Duration::from_millis(200), &mut flood).await;
    assert!(stuck.is_err());
    front.echo(b"csr").await;
    assert_eq!(waiting(), most);

    controller.registrar.gate.add_permits(REQUESTS);
    for _ in 0..REQUESTS {
        let answer = timeout(DEADLINE, frame::read(&mut reader, RESPONSE_LIMIT)).await;
        answer.unwrap().unwrap().unwrap();
    }
    flood.await.unwrap();
}

#[tokio::test]
async fn one_who_comes_and_goes_is_let_in_only_so_often() {
    let controller = Controller::start().await;
    let (began, mut welcomes) = (Instant::now(), 0);
    while began.elapsed() < SHORTEST * 2 {
        let mut stream = UnixStream::connect(&controller.path).await.unwrap();
        welcomes += usize::from(matches!(next(&mut stream).await, Some(Response::Welcome)));
    }
    let rounds = began.elapsed().div_duration_f64(SHORTEST) as usize + 1;
    assert!(welcomes <= rounds * CONNECTIONS, "{welcomes}");
    controller.front().await.echo(b"csr").await;
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

fn enrollment() -> impl Strategy<Value = EnrollmentRequest> {
    let authorization = prop_oneof![Just(0u8), Just(1), Just(2),];
    let texts = (prop::option::of("[a-z.]{1,80}"), ".{0,40}", ".{0,40}");
    let binary = (
        bytes(),
        prop::collection::vec(bytes(), 0..4),
        prop::option::of(bytes()),
    );
    (
        texts,
        binary,
        authorization,
        0..3u8,
        any::<std::net::IpAddr>(),
    )
        .prop_map(
            |((label, user, secret), (csr, chain, binding), authorization, operation, peer)| {
                let secret = Zeroizing::new(secret);
                EnrollmentRequest {
                    label,
                    operation: [
                        Operation::Enroll,
                        Operation::Reenroll,
                        Operation::ServerKeygen,
                    ][usize::from(operation)],
                    csr,
                    credentials: Credentials {
                        authorization: match authorization {
                            0 => None,
                            1 => Some(Authorization::Basic(BasicCredentials {
                                user,
                                password: secret,
                            })),
                            _ => Some(Authorization::Bearer(BearerToken(secret))),
                        },
                        chain,
                    },
                    bindings: ChannelBindings {
                        exporter: binding.clone(),
                        unique: binding.filter(|bytes| bytes.len() % 2 == 0),
                    },
                    peer,
                }
            },
        )
}

proptest! {
    #[test]
    fn bytes_are_read_or_refused_and_never_panic(bytes in bytes(), kind in 0..8u8) {
        fuzz_message(&bytes);
        let _ = Request::decode(kind, &bytes);
        let _ = Response::decode(kind, &bytes);
    }

    #[test]
    fn enrolments_arrive_as_they_were_sent(request in enrollment(), id: u64) {
        let frame = Request::Enroll(Box::new(request)).encode(id);
        fuzz_message(&frame[4..]);
        let parsed = frame::Frame::parse(Zeroizing::new(frame[4..].to_vec())).unwrap();
        let again = Request::decode(parsed.kind, parsed.body()).unwrap().encode(parsed.id);
        prop_assert_eq!(&*again, &*frame);
    }

    #[test]
    fn answers_arrive_as_they_were_sent(certificate in bytes(), key in bytes(), id: u64) {
        let with_key = |key| Enrolled::WithKey { certificate: certificate.clone(), key };
        for response in [
            Response::Authorities(vec![certificate.clone(), key.clone()]),
            Response::Attributes(certificate.clone()),
            Response::Enrolled(Enrolled::Certificate(certificate.clone())),
            Response::Enrolled(with_key(MadeKey::Plain(Zeroizing::new(key.clone())))),
            Response::Enrolled(with_key(MadeKey::Enveloped(key.clone()))),
            Response::Rejected(reject(Reason::RuleViolated)),
            Response::Identity(ServerIdentity {
                chain: vec![certificate.clone()],
                key: Zeroizing::new(key.clone()),
            }),
        ] {
            let frame = response.encode(id);
            fuzz_message(&frame[4..]);
            let parsed = frame::Frame::parse(Zeroizing::new(frame[4..].to_vec())).unwrap();
            let again = Response::decode(parsed.kind, parsed.body()).unwrap().encode(parsed.id);
            prop_assert_eq!(&*again, &*frame);
        }
    }
}

#[test]
fn every_reason_and_every_part_of_a_request_survives_the_way() {
    for &reason in Reason::ALL {
        let frame = Response::Rejected(reject(reason)).encode(1);
        match Response::decode(frame[5], &frame[14..]).unwrap() {
            Response::Rejected(same) => assert_eq!(same.reason, reason),
            _ => panic!("{reason}"),
        }
    }
    let sent = EnrollmentRequest {
        label: None,
        operation: Operation::ServerKeygen,
        csr: vec![1],
        credentials: Credentials {
            authorization: Some(Authorization::Basic(BasicCredentials {
                user: "u".into(),
                password: Zeroizing::new("p".into()),
            })),
            chain: vec![vec![2], vec![3]],
        },
        bindings: ChannelBindings {
            exporter: Some(vec![4]),
            unique: None,
        },
        peer: std::net::Ipv6Addr::LOCALHOST.into(),
    };
    let expected = format!("{sent:?}");
    let frame = Request::Enroll(Box::new(sent)).encode(1);
    match Request::decode(frame[5], &frame[14..]).unwrap() {
        Request::Enroll(same) => {
            assert_eq!(format!("{same:?}"), expected);
            assert_eq!(*same.credentials.basic().unwrap().password, "p");
        }
        other => panic!("{other:?}"),
    }
}
