//! Clients that are too slow, too many or too talkative; and the end of the server.

use std::time::Duration;

use devicecert::{est::Limits, policy::Reason};
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpStream};

use super::{
    certificates::csr_base64,
    connection::{Client, get, post},
    server::{Server, soon, until},
};

const SHORT: Duration = Duration::from_millis(300);
const CACERTS: &str = "/.well-known/est/cacerts";

#[tokio::test]
async fn a_header_that_trickles_is_cut_while_others_are_served() {
    let server = Server::with(Limits {
        header_timeout: SHORT,
        ..Limits::default()
    })
    .await;
    let client = Client::new(&server);
    let mut slow = client.connect(server.address).await.unwrap();
    slow.send("GET /.well-known/est/cacerts HTTP/1.1\r\nX-")
        .await;
    assert_eq!(client.ask(&server, get(CACERTS)).await.status(), 200);
    assert_eq!(slow.closed().await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_line_ends_do_not_keep_it_open() {
    let server = Server::with(Limits {
        idle_timeout: SHORT,
        ..Limits::default()
    })
    .await;
    let client = Client::new(&server);
    let fresh = client.connect(server.address).await.unwrap();
    let mut used = client.connect(server.address).await.unwrap();
    assert_eq!(used.exchange(get(CACERTS)).await.status(), 200);
    used.send("\r\n").await;
    assert_eq!(used.closed().await, "");
    assert_eq!(fresh.closed().await, "");
}

#[tokio::test]
async fn a_body_that_stalls_is_answered_and_cut() {
    let server = Server::with(Limits {
        request_timeout: SHORT,
        ..Limits::default()
    })
    .await;
    let mut connection = Client::new(&server).connect(server.address).await.unwrap();
    let request = post("/.well-known/est/simpleenroll", &csr_base64("device-1"));
    let response = connection.exchange(&request[..request.len() - 10]).await;
    assert_eq!(response.status(), 400);
    assert_eq!(
        response.body,
        "MalformedRequest: The body took too long to arrive.\n"
    );
    assert_eq!(connection.closed().await, "");
}

#[tokio::test]
async fn a_registrar_that_does_not_answer_is_overload() {
    let server = Server::with(Limits {
        request_timeout: SHORT,
        ..Limits::default()
    })
    .await;
    let request = post(
        "/.well-known/est/never/simpleenroll",
        &csr_base64("device-1"),
    );
    let response = Client::new(&server).ask(&server, request).await;
    assert_eq!(
        (response.status(), response.header("Retry-After")),
        (503, Some("5"))
    );
    assert_eq!(server.counters.refused(Reason::Overloaded), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_cut() {
    let server = Server::start().await;
    let mut connection = Client::new(&server).connect(server.address).await.unwrap();
    let request = get(CACERTS).repeat(1000);
    // Ends when the server closes; until then both directions fill up.
    soon(async {
        while connection
            .stream
            .write_all(request.as_bytes())
            .await
            .is_ok()
        {}
    })
    .await;
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut() {
    let server = Server::with(Limits {
        handshake_timeout: SHORT,
        ..Limits::default()
    })
    .await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut halting = TcpStream::connect(server.address).await.unwrap();
    halting
        .write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
        .await
        .unwrap();
    for stream in [&mut silent, &mut halting] {
        let _ = soon(stream.read(&mut [0; 100])).await;
    }
    until("both are counted", || {
        server.counters.handshakes_failed() == 2
    })
    .await;
}

#[tokio::test]
async fn a_stalled_handshake_gives_its_place_back_when_its_time_is_over() {
    let limits = Limits {
        handshake_timeout: SHORT,
        max_handshakes: 1,
        ..Limits::default()
    };
    let server = Server::with(limits).await;
    let _stalled = TcpStream::connect(server.address).await.unwrap();
    until("it is cut", || server.counters.handshakes_failed() == 1).await;
    assert_eq!(
        Client::new(&server)
            .ask(&server, get(CACERTS))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn connections_beyond_the_limit_are_dropped_at_once_and_counted() {
    let server = Server::with(Limits {
        max_connections: 1,
        ..Limits::default()
    })
    .await;
    let client = Client::new(&server);
    let mut busy = client.connect(server.address).await.unwrap();
    let request = post(
        "/.well-known/est/waits/simpleenroll",
        &csr_base64("device-1"),
    );
    busy.send(&request).await;
    until("the request is under way", || {
        server.registrar.seen.lock().unwrap().len() == 1
    })
    .await;
    assert!(client.connect(server.address).await.is_err());
    assert_eq!(server.counters.connections_dropped(), 1);

    server.registrar.gate.add_permits(1);
    assert_eq!(busy.response().await.status(), 200);
    let mut next = soon(async {
        loop {
            if let Ok(connection) = client.connect(server.address).await {
                break connection;
            }
        }
    })
    .await;
    assert_eq!(next.exchange(get(CACERTS)).await.status(), 200);
}

#[tokio::test]
async fn bodies_and_headers_are_accepted_up_to_their_limits() {
    let server = Server::start().await;
    let client = Client::new(&server);
    let csr = csr_base64("device-1");
    let padded = |length: usize| {
        let body = csr.clone() + &" ".repeat(length - csr.len());
        post("/.well-known/est/simpleenroll", &body)
    };
    assert_eq!(client.ask(&server, padded(64 * 1024)).await.status(), 200);
    assert_eq!(
        client.ask(&server, padded(64 * 1024 + 1)).await.status(),
        413
    );

    let with_header = |total: usize| {
        let fixed = "GET /.well-known/est/cacerts HTTP/1.1\r\nX: \r\n\r\n".len();
        format!(
            "GET {CACERTS} HTTP/1.1\r\nX: {}\r\n\r\n",
            "x".repeat(total - fixed)
        )
    };
    assert_eq!(
        client.ask(&server, with_header(16 * 1024)).await.status(),
        200
    );
    assert_eq!(
        client
            .ask(&server, with_header(16 * 1024 + 1))
            .await
            .status(),
        431
    );
    let many = format!("GET {CACERTS} HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101));
    assert_eq!(client.ask(&server, many).await.status(), 431);
}

#[tokio::test]
async fn a_huge_body_is_refused_before_it_is_sent() {
    let server = Server::start().await;
    let mut connection = Client::new(&server).connect(server.address).await.unwrap();
    let head = "POST /.well-known/est/simpleenroll HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n";
    assert_eq!(connection.exchange(head).await.status(), 413);
    assert_eq!(connection.closed().await, "");
}

#[tokio::test]
async fn at_shutdown_requests_under_way_are_answered_and_idle_connections_closed() {
    let server = Server::start().await;
    let client = Client::new(&server);
    let idle = client.connect(server.address).await.unwrap();
    let mut busy = client.connect(server.address).await.unwrap();
    busy.send(post(
        "/.well-known/est/waits/simpleenroll",
        &csr_base64("device-1"),
    ))
    .await;
    until("the request is under way", || {
        server.registrar.seen.lock().unwrap().len() == 1
    })
    .await;

    let (address, registrar) = (server.address, server.registrar.clone());
    let stopped = server.stop();
    assert_eq!(idle.closed().await, "");
    assert!(TcpStream::connect(address).await.is_err());
    registrar.gate.add_permits(1);
    assert_eq!(busy.response().await.status(), 200);
    assert_eq!(busy.closed().await, "");
    soon(stopped).await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let server = Server::start().await;
    let mut busy = Client::new(&server).connect(server.address).await.unwrap();
    busy.send(post(
        "/.well-known/est/never/simpleenroll",
        &csr_base64("device-1"),
    ))
    .await;
    until("the request is under way", || {
        server.registrar.seen.lock().unwrap().len() == 1
    })
    .await;
    soon(server.stop()).await.unwrap().unwrap();
    assert_eq!(busy.closed().await, "");
}

#[tokio::test]
async fn a_request_is_carried_out_even_if_its_client_goes_away() {
    let server = Server::start().await;
    let mut gone = Client::new(&server).connect(server.address).await.unwrap();
    gone.send(post(
        "/.well-known/est/waits/simpleenroll",
        &csr_base64("device-1"),
    ))
    .await;
    until("the request is under way", || {
        server.registrar.seen.lock().unwrap().len() == 1
    })
    .await;
    drop(gone);
    server.registrar.gate.add_permits(1);
    until("it is answered", || server.counters.answered() == 1).await;
}
