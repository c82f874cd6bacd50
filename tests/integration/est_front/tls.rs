//! The handshake: versions, client certificates, resumption, and a server certificate that changes.

use rustls::{
    HandshakeKind, ProtocolVersion, SupportedProtocolVersion,
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::{
    certificates::{csr_base64, expired_stranger, server_identity, stolen, version_1},
    connection::{Client, get, post_with},
    server::{Server, until},
};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn enroll() -> String {
    post_with("/.well-known/est/simpleenroll", "", &csr_base64("device-1"))
}

fn chain(key: &CertifiedKey) -> Vec<Vec<u8>> {
    key.cert.iter().map(|der| der.to_vec()).collect()
}

#[tokio::test]
async fn tls_1_2_and_1_3_speak_http_1_1() {
    let server = Server::start().await;
    for (version, expected) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let client = Client::of_version(&server, None, &[version]);
        let mut connection = client.connect(server.address).await.unwrap();
        assert_eq!(
            connection
                .exchange(get("/.well-known/est/cacerts"))
                .await
                .status(),
            200
        );
        let session = connection.stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(expected));
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
}

#[tokio::test]
async fn any_client_certificate_reaches_the_registrar() {
    let server = Server::start().await;
    let ec = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let p384 = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
    let rsa = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let keys = [
        expired_stranger(),
        version_1(&ec),
        version_1(&p384),
        version_1(&rsa),
        version_1(&["-algorithm", "ED25519"]),
    ];
    for key in keys {
        for version in VERSIONS {
            let client = Client::of_version(&server, Some(key.clone()), &[version]);
            assert_eq!(client.ask(&server, enroll()).await.status(), 200);
            assert_eq!(server.registrar.chains_seen().last(), Some(&chain(&key)));
        }
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused_in_the_handshake() {
    let server = Server::start().await;
    for (failures, version) in (1..).zip(VERSIONS) {
        let client = Client::of_version(&server, Some(stolen()), &[version]);
        // In TLS 1.3 the client learns of it only when it reads.
        if let Ok(connection) = client.connect(server.address).await {
            assert_eq!(connection.closed().await, "");
        }
        until("the failure is counted", || {
            server.counters.handshakes_failed() == failures
        })
        .await;
    }
    assert!(server.registrar.chains_seen().is_empty());
}

#[tokio::test]
async fn a_chain_that_is_too_long_is_refused_in_the_handshake() {
    let server = Server::start().await;
    let mut key = expired_stranger();
    let limit = 16 * 1024 / key.cert[0].len();
    key.cert = vec![key.cert[0].clone(); limit];
    let answer = Client::with_certificate(&server, key.clone())
        .ask(&server, enroll())
        .await;
    assert_eq!(answer.status(), 200);
    key.cert.push(key.cert[0].clone());
    let connection = Client::with_certificate(&server, key)
        .connect(server.address)
        .await
        .unwrap();
    assert_eq!(connection.closed().await, "");
}

#[tokio::test]
async fn a_resumed_session_still_shows_the_client_certificate() {
    let server = Server::start().await;
    let key = expired_stranger();
    for version in VERSIONS {
        let client = Client::of_version(&server, Some(key.clone()), &[version]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut connection = client.connect(server.address).await.unwrap();
            // Reading the answer also takes in the session ticket of TLS 1.3.
            assert_eq!(connection.exchange(enroll()).await.status(), 200);
            assert_eq!(connection.stream.get_ref().1.handshake_kind(), Some(kind));
            assert_eq!(server.registrar.chains_seen().last(), Some(&chain(&key)));
        }
    }
}

#[tokio::test]
async fn a_new_server_certificate_is_used_at_once_and_drops_no_connection() {
    let server = Server::start().await;
    let shown = |connection: &super::connection::Connection| {
        connection.stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let old = Client::new(&server).connect(server.address).await.unwrap();
    let mut half = Client::new(&server).connect(server.address).await.unwrap();
    let request = get("/.well-known/est/cacerts");
    half.send(&request[..20]).await;

    let renewed = server_identity(&server.registrar);
    server.identity.send_replace(Some(renewed.clone()));
    let mut new = Client::new(&server).connect(server.address).await.unwrap();
    while shown(&new) != renewed.chain[0] {
        assert_eq!(shown(&new), shown(&old));
        new = Client::new(&server).connect(server.address).await.unwrap();
    }
    for mut connection in [old, new] {
        assert_eq!(connection.exchange(&request).await.status(), 200);
        assert_eq!(connection.exchange(&request).await.status(), 200);
    }
    assert_eq!(half.exchange(&request[20..]).await.status(), 200);
}

#[tokio::test]
async fn without_an_identity_the_handshake_is_refused_and_later_it_is_not() {
    let server = Server::without_identity().await;
    let client = Client::new(&server);
    let Err(refused) = client.connect(server.address).await else {
        panic!("no identity, yet a handshake")
    };
    assert!(refused.to_string().contains("AccessDenied"), "{refused}");

    server
        .identity
        .send_replace(Some(server_identity(&server.registrar)));
    let connection = loop {
        if let Ok(connection) = client.connect(server.address).await {
            break connection;
        }
    };
    drop(connection);
    assert_eq!(
        client
            .ask(&server, get("/.well-known/est/cacerts"))
            .await
            .status(),
        200
    );
}
