//! Clients that fail too often, ask too much at once, or hold places that others need.

use std::time::Duration;

use devicecert::{est::Limits, policy::Reason};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    certificates::{csr_base64, expired_stranger},
    connection::{Client, Connection, get, post, post_with, tcp_from},
    server::{Server, soon, until},
};

const CACERTS: &str = "/.well-known/est/cacerts";
const ENROLL: &str = "/.well-known/est/simpleenroll";
const WRONG: &str = "Authorization: Basic dTp3cm9uZw==\r\n";

/// Three failures at once, and then one in a minute.
fn strict() -> Limits {
    Limits {
        failures_per_minute: 1,
        failure_burst: 3,
        ..Limits::default()
    }
}

#[tokio::test]
async fn after_too_many_wrong_passwords_the_registrar_is_not_asked_any_more() {
    let server = Server::with(strict()).await;
    let client = Client::new(&server);
    let csr = csr_base64("device-1");
    for _ in 0..3 {
        let wrong = post_with(ENROLL, WRONG, &csr);
        assert_eq!(client.ask(&server, wrong).await.status(), 401);
    }
    for headers in [
        WRONG,
        "Authorization: Basic ZXN0dXNlcjplc3Rwd2Q=\r\n",
        "Authorization: Bearer estpwd\r\n",
    ] {
        let response = client.ask(&server, post_with(ENROLL, headers, &csr)).await;
        assert_eq!(response.status(), 429, "{headers}");
        let wait: u64 = response.header("Retry-After").unwrap().parse().unwrap();
        assert!((50..=60).contains(&wait), "{wait}");
        assert!(
            response.body.starts_with("TooManyFailures: "),
            "{}",
            response.body
        );
        assert!(response.body.ends_with(".\n"));
    }
    assert_eq!(server.registrar.seen.lock().unwrap().len(), 3);
    assert_eq!(server.counters.failures_throttled(), 3);
    assert_eq!(server.counters.refused(Reason::TooManyFailures), 3);

    // What is public stays so, and a neighbour's certificate still renews.
    assert_eq!(client.ask(&server, get(CACERTS)).await.status(), 200);
    let neighbour = Client::with_certificate(&server, expired_stranger());
    let renewal = post_with("/.well-known/est/simplereenroll", "", &csr);
    assert_eq!(neighbour.ask(&server, &renewal).await.status(), 200);
    // A certificate is no way to go on guessing.
    let both = post_with(ENROLL, WRONG, &csr);
    assert_eq!(neighbour.ask(&server, both).await.status(), 429);
}

#[tokio::test]
async fn after_too_many_unknown_certificates_passwords_still_enrol() {
    let server = Server::with(strict()).await;
    let stranger = Client::with_certificate(&server, expired_stranger());
    let csr = csr_base64("device-1");
    let request = post_with("/.well-known/est/stranger/simplereenroll", "", &csr);
    for status in [403, 403, 403, 429] {
        assert_eq!(stranger.ask(&server, &request).await.status(), status);
    }
    let client = Client::new(&server);
    assert_eq!(client.ask(&server, post(ENROLL, &csr)).await.status(), 200);
}

#[tokio::test]
async fn malformed_requests_use_up_a_budget_of_their_own() {
    let server = Server::with(strict()).await;
    let client = Client::new(&server);
    let csr = csr_base64("device-1");
    for body in ["", "nonsense", "SGVsbG8="] {
        assert_eq!(
            client
                .ask(&server, post_with(ENROLL, "", body))
                .await
                .status(),
            400
        );
    }
    let anonymous = post_with(ENROLL, "", &csr);
    assert_eq!(client.ask(&server, anonymous).await.status(), 429);
    assert_eq!(client.ask(&server, post(ENROLL, &csr)).await.status(), 200);
    assert_eq!(client.ask(&server, get(CACERTS)).await.status(), 200);
}

#[tokio::test]
async fn to_begin_without_credentials_is_no_failure() {
    let server = Server::with(strict()).await;
    let client = Client::new(&server);
    let csr = csr_base64("device-1");
    for _ in 0..10 {
        let anonymous = post_with(ENROLL, "", &csr);
        assert_eq!(client.ask(&server, anonymous).await.status(), 401);
    }
    assert_eq!(client.ask(&server, post(ENROLL, &csr)).await.status(), 200);
}

#[tokio::test]
async fn the_registrar_is_asked_no_more_at_once_than_it_may_be() {
    let server = Server::with(Limits {
        max_requests: 2,
        ..Limits::default()
    })
    .await;
    let client = Client::new(&server);
    let waits = post(
        "/.well-known/est/waits/simpleenroll",
        &csr_base64("device-1"),
    );
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut connection = client.connect(server.address).await.unwrap();
        connection.send(&waits).await;
        busy.push(connection);
    }
    until("both are at the registrar", || {
        server.registrar.seen.lock().unwrap().len() == 2
    })
    .await;
    for request in [&waits, &get(CACERTS)] {
        let response = client.ask(&server, request).await;
        assert_eq!(
            (response.status(), response.header("Retry-After")),
            (503, Some("5"))
        );
        assert_eq!(
            response.body,
            "Overloaded: Too many requests are under way; try again.\n"
        );
    }
    assert_eq!(server.counters.requests_shed(), 2);
    server.registrar.gate.add_permits(2);
    for mut connection in busy {
        assert_eq!(connection.response().await.status(), 200);
    }
    assert_eq!(client.ask(&server, get(CACERTS)).await.status(), 200);
}

/// A connection with a request that the registrar does not answer.
async fn at_work(client: &Client, server: &Server) -> Connection {
    let before = server.registrar.seen.lock().unwrap().len();
    let mut connection = client.connect(server.address).await.unwrap();
    let request = post(
        "/.well-known/est/waits/simpleenroll",
        &csr_base64("device-1"),
    );
    connection.send(request).await;
    until("the request is under way", || {
        server.registrar.seen.lock().unwrap().len() > before
    })
    .await;
    connection
}

#[tokio::test]
async fn a_newcomer_takes_the_place_of_the_connection_that_was_idle_longest() {
    let server = Server::with(Limits {
        max_connections: 3,
        ..Limits::default()
    })
    .await;
    let client = Client::new(&server);
    let mut first = client.connect(server.address).await.unwrap();
    let second = client.connect(server.address).await.unwrap();
    let mut busy = at_work(&client, &server).await;
    assert_eq!(first.exchange(get(CACERTS)).await.status(), 200);
    let mut newcomer = client.connect(server.address).await.unwrap();
    assert_eq!(newcomer.exchange(get(CACERTS)).await.status(), 200);
    assert_eq!(second.closed().await, "");
    assert_eq!(server.counters.connections_evicted(), 1);
    assert_eq!(first.exchange(get(CACERTS)).await.status(), 200);
    server.registrar.gate.add_permits(1);
    assert_eq!(busy.response().await.status(), 200);
}

#[tokio::test]
async fn a_source_at_its_limit_is_refused_only_when_all_its_connections_are_at_work() {
    let server = Server::with(Limits {
        max_connections_per_source: 2,
        ..Limits::default()
    })
    .await;
    let client = Client::new(&server);
    let busy = [
        at_work(&client, &server).await,
        at_work(&client, &server).await,
    ];
    assert!(client.connect(server.address).await.is_err());
    assert_eq!(server.counters.connections_dropped(), 1);
    server.registrar.gate.add_permits(2);
    for mut connection in busy {
        assert_eq!(connection.response().await.status(), 200);
    }
    assert_eq!(client.ask(&server, get(CACERTS)).await.status(), 200);
}

#[tokio::test]
async fn a_flood_of_silent_connections_does_not_keep_a_client_out() {
    let server = Server::with(Limits {
        max_connections: 50,
        max_connections_per_source: 0,
        max_handshakes: 2,
        ..Limits::default()
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let client = Client::new(&server);
    assert_eq!(client.ask(&server, get(CACERTS)).await.status(), 200);
    until("no more are open than may be", || {
        server.counters.connections_open() <= 50
    })
    .await;
}

#[tokio::test]
async fn a_thousand_slow_clients_from_several_places_do_not_keep_a_good_one_from_enrolling() {
    // They are as slow as they like for as long as the test lasts.
    let server = Server::with(Limits {
        handshake_timeout: Duration::from_secs(50),
        header_timeout: Duration::from_secs(50),
        ..Limits::default()
    })
    .await;
    let (client, mut slow) = (Client::new(&server), Vec::new());
    for number in 0..400u16 {
        let source = [127, 0, 0, 2 + (number % 2) as u8];
        let mut connection = client.connect_from(source, server.address).await.unwrap();
        connection.send("POST /.well-known/est/simpl").await;
        slow.push(connection);
    }
    let mut stalled = Vec::new();
    for number in 0..600u16 {
        let source = [127, 0, 0, 4 + (number % 3) as u8];
        let mut stream = tcp_from(source, server.address).await.unwrap();
        stream.write_all(&[0x16, 0x03, 0x01, 0x02]).await.unwrap();
        stalled.push(stream);
    }
    // A client that is not let in at once tries again.
    let mut connection = soon(async {
        loop {
            if let Ok(connection) = client.connect(server.address).await {
                return connection;
            }
        }
    })
    .await;
    let request = post(ENROLL, &csr_base64("device-1"));
    assert_eq!(connection.exchange(&request).await.status(), 200);
    assert_eq!(client.ask(&server, get(CACERTS)).await.status(), 200);
}

#[tokio::test]
async fn handshakes_that_find_no_turn_are_shed_and_stalled_ones_make_way() {
    let server = Server::with(Limits {
        max_handshakes: 1,
        handshake_timeout: Duration::from_secs(50),
        ..Limits::default()
    })
    .await;
    let mut stalled = TcpStream::connect(server.address).await.unwrap();
    stalled
        .write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
        .await
        .unwrap();
    let client = Client::new(&server);
    soon(async { while client.connect(server.address).await.is_err() {} }).await;
    assert_eq!(server.counters.handshakes_failed(), 1);
    assert!(server.counters.handshakes_shed() >= 1);
    assert_eq!(client.ask(&server, get(CACERTS)).await.status(), 200);
}

#[tokio::test]
async fn a_source_whose_handshakes_fail_keeps_a_smaller_part_and_no_probe_is_a_failure() {
    let server = Server::with(Limits {
        max_connections_per_source: 16,
        ..strict()
    })
    .await;
    // Load balancers look whether the port is open.
    for _ in 0..20 {
        drop(TcpStream::connect(server.address).await.unwrap());
    }
    until("all are gone", || {
        server.counters.connections_accepted() == 20 && server.counters.connections_open() == 0
    })
    .await;
    assert_eq!(server.counters.handshakes_failed(), 0);

    for failures in 1..=3 {
        let mut garbage = TcpStream::connect(server.address).await.unwrap();
        garbage.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        until("the failure is counted", || {
            server.counters.handshakes_failed() == failures
        })
        .await;
    }
    let client = Client::new(&server);
    let busy = at_work(&client, &server).await;
    assert!(client.connect(server.address).await.is_err());
    assert_eq!(server.counters.connections_dropped(), 1);
    server.registrar.gate.add_permits(1);
    drop(busy);
}
