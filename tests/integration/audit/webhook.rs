//! The webhook: CloudEvents over HTTP and HTTPS, to a server that does not always want them.

use std::{
    convert::Infallible,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{lost, scene};
use crate::harness::{CONVERGES, Device, eventually};

/// A server that keeps what it gets.
struct Receiver {
    port: u16,
    answer: Arc<AtomicU16>,
    received: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
}

impl Receiver {
    async fn start(answer: u16, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            port: listener.local_addr().unwrap().port(),
            answer: Arc::new(answer.into()),
            received: Arc::default(),
        };
        let (answer, received) = (receiver.answer.clone(), receiver.received.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, received, tls) = (answer.clone(), received.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, answer, received).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, answer, received).await;
                            }
                        }
                    }
                });
            }
        });
        receiver
    }

    fn received(&self) -> Vec<(HeaderMap, Value)> {
        self.received.lock().unwrap().clone()
    }

    async fn until_received(&self, count: usize) -> Vec<(HeaderMap, Value)> {
        eventually(
            format!("{count} posts are received"),
            CONVERGES,
            async || {
                let received = self.received();
                match received.len() >= count {
                    true => Ok(received),
                    false => Err(received.len()),
                }
            },
        )
        .await
    }
}

async fn serve<S>(stream: S, answer: Arc<AtomicU16>, received: Arc<Mutex<Vec<(HeaderMap, Value)>>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, received) = (answer.clone(), received.clone());
        async move {
            assert_eq!(
                (request.method().as_str(), request.uri().path()),
                ("POST", "/audit")
            );
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let event = serde_json::from_slice(&body).unwrap();
            received.lock().unwrap().push((parts.headers, event));
            let response = Response::builder().status(answer.load(Ordering::Relaxed));
            Ok::<_, Infallible>(response.body(Full::new(Bytes::new())).unwrap())
        }
    });
    // The operator may go away at any time.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[tokio::test]
async fn each_event_arrives_as_a_cloud_event_also_after_failures() {
    let receiver = Receiver::start(503, None).await;
    let url = format!("http://127.0.0.1:{}/audit", receiver.port);
    let scene = scene(&["--audit-webhook", &url, "--audit-log", "none"]).await;
    // The answer does not wait for the webhook.
    let thing = Device::new("thing");
    scene
        .user
        .enroll("factory", &thing.csr())
        .await
        .certificate();
    let first = receiver.until_received(2).await;
    assert_eq!(first[0].1, first[1].1, "the same event again");
    receiver.answer.store(204, Ordering::Relaxed);
    let wrong = scene.user.user("u", "wrong");
    let refused = wrong.enroll("factory", &thing.csr()).await;
    refused.refuses(401, "WrongPassword", &[]);
    let last = eventually("the next event arrives", CONVERGES, async || {
        let received = receiver.received();
        let last = received.last().unwrap().clone();
        match last.1["data"]["outcome"] == "refused" {
            true => Ok(last),
            false => Err(last.1.to_string()),
        }
    })
    .await;
    assert_eq!(
        last.0["content-type"],
        "application/cloudevents+json; charset=utf-8"
    );
    let (keys, data) = (&scene.world.keys, &last.1["data"]);
    let expected = json!({
        "specversion": "1.0",
        "id": data["id"],
        "source": format!("/devicecert-operator/{keys}"),
        "type": "dev.devicecert.certificate.refused",
        "subject": format!("{}/g", scene.world.namespace),
        "time": data["time"],
        "datacontenttype": "application/json",
        "data": data,
    });
    assert_eq!(last.1, expected);
    assert_eq!(
        first[0].1["subject"],
        format!("{}/thing", scene.world.namespace)
    );
    assert_eq!(lost(&scene.operator, "webhook").await, 0);
}

#[tokio::test]
async fn what_the_receiver_refuses_is_counted_and_holds_up_nothing() {
    let receiver = Receiver::start(400, None).await;
    let url = format!("http://127.0.0.1:{}/audit", receiver.port);
    let scene = scene(&["--audit-webhook", &url]).await;
    for number in 1..=2 {
        let device = Device::new(&format!("d{number}"));
        scene
            .user
            .enroll("factory", &device.csr())
            .await
            .certificate();
    }
    eventually("both losses are counted", CONVERGES, async || {
        match lost(&scene.operator, "webhook").await {
            2 => Ok(()),
            count => Err(count),
        }
    })
    .await;
    assert_eq!(receiver.received().len(), 2, "each once");
    assert_eq!(lost(&scene.operator, "log").await, 0);
}

#[tokio::test]
async fn over_https_only_a_receiver_under_the_named_ca_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, ca) = tls();
    let file = dir.path().join("ca.pem");
    fs::write(&file, ca).unwrap();
    let receiver = Receiver::start(202, Some(tls)).await;
    let url = format!("https://localhost:{}/audit", receiver.port);
    let file = file.to_str().unwrap();
    let named = scene(&["--audit-webhook", &url, "--audit-webhook-ca", file]).await;
    let unnamed = scene(&["--audit-webhook", &url]).await;
    for scene in [&unnamed, &named] {
        let device = Device::new("thing");
        scene
            .user
            .enroll("factory", &device.csr())
            .await
            .certificate();
    }
    let received = receiver.until_received(1).await;
    let source = format!("/devicecert-operator/{}", named.world.keys);
    assert_eq!(received[0].1["source"], source);
    eventually("the other gives up", CONVERGES, async || {
        match lost(&unnamed.operator, "webhook").await {
            1 => Ok(()),
            count => Err(count),
        }
    })
    .await;
    assert_eq!(receiver.received().len(), 1);
}

/// A server for `localhost`, and its CA in PEM.
fn tls() -> (TlsAcceptor, String) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = ca.self_signed(&ca_key).unwrap().pem();
    let leaf = CertificateParams::new(vec!["localhost".to_string()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), pem)
}
