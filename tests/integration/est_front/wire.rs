//! The exact bytes of requests and responses.

use base64::prelude::{BASE64_STANDARD, Engine};
use cms::{content_info::ContentInfo, signed_data::SignedData};
use der::{Decode, Encode};
use devicecert::registrar::Operation;
use tokio::io::AsyncWriteExt;

use super::{
    certificates::{csr, csr_base64},
    connection::{Client, Response, get, post, post_with},
    server::Server,
};

const ENROLL: &str = "/.well-known/est/simpleenroll";

/// The certificates in a certs-only answer, DER.
fn certificates(response: &Response) -> Vec<Vec<u8>> {
    certs_only(&decoded(&response.body))
}

/// Base64 with any white space.
pub fn decoded(text: &str) -> Vec<u8> {
    let compact: String = text.split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(compact).unwrap()
}

/// The certificates in a certs-only CMS.
pub fn certs_only(der: &[u8]) -> Vec<Vec<u8>> {
    let content = ContentInfo::from_der(der).unwrap();
    let signed: SignedData = content.content.decode_as().unwrap();
    signed
        .certificates
        .unwrap()
        .0
        .iter()
        .map(|choice| choice.to_der().unwrap())
        .collect()
}

#[tokio::test]
async fn every_response_head_is_small_in_title_case_and_states_a_length() {
    let server = Server::start().await;
    let client = Client::new(&server);
    let csr = csr_base64("device-1");
    for (status, request) in [
        (200, get("/.well-known/est/cacerts")),
        (200, get("/.well-known/est/default.factory/cacerts")),
        (200, post(ENROLL, &csr)),
        (400, post(ENROLL, "")),
        (401, post_with(ENROLL, "", &csr)),
        (
            401,
            post_with(ENROLL, "Authorization: Basic dTp3cm9uZw==\r\n", &csr),
        ),
        (404, get("/")),
        (404, get("/.well-known/est/no%20label/cacerts")),
        (404, get("/.well-known/est/nobody/cacerts")),
        (405, get(ENROLL)),
        (405, post("/.well-known/est/cacerts", "")),
        (413, post(ENROLL, &" ".repeat(64 * 1024 + 1))),
        (500, get("/.well-known/est/broken/cacerts")),
        (200, get("/.well-known/est/attributes/csrattrs")),
        (200, post("/.well-known/est/serverkeygen", &csr)),
        (202, post("/.well-known/est/pending/simpleenroll", &csr)),
        (
            401,
            post_with(ENROLL, "Authorization: Bearer wrong\r\n", &csr),
        ),
        (
            400,
            post_with(ENROLL, "Authorization: Bearer not a token\r\n", &csr),
        ),
        (501, post("/.well-known/est/fullcmc", &csr)),
        (503, post("/.well-known/est/away/simpleenroll", &csr)),
    ] {
        let response = client.ask(&server, &request).await;
        let head = &response.head;
        assert_eq!(response.status(), status, "{head}");
        assert!(head.len() < 1024, "{head}");
        let headers: Vec<&str> = head
            .lines()
            .skip(1)
            .filter(|line| !line.is_empty())
            .collect();
        assert!(headers.len() <= 16, "{head}");
        for name in headers.iter().map(|line| line.split(':').next().unwrap()) {
            let title = |word: &str| word.starts_with(|c: char| c.is_ascii_uppercase());
            assert!(
                name == "WWW-Authenticate" || name.split('-').all(title),
                "{name}"
            );
        }
        assert!(response.header("Content-Length").is_some(), "{head}");
        assert!(
            !head
                .to_ascii_lowercase()
                .contains("transfer-encoding: chunked"),
            "{head}"
        );
        if status != 200 {
            assert_eq!(
                response.header("Content-Type"),
                Some("text/plain; charset=utf-8")
            );
            assert!(
                response.body.contains(": ") && response.body.ends_with(".\n"),
                "{}",
                response.body
            );
        }
        let challenge = (status == 401).then_some("Basic realm=\"estrealm\"");
        assert_eq!(response.header("WWW-Authenticate"), challenge, "{head}");
    }
}

#[tokio::test]
async fn certificates_come_as_certs_only_cms_of_exactly_the_right_type() {
    let server = Server::start().await;
    let client = Client::new(&server);

    let authorities = client.ask(&server, get("/.well-known/est/cacerts")).await;
    assert_eq!(
        authorities.header("Content-Type"),
        Some("application/pkcs7-mime")
    );
    assert_eq!(
        authorities.header("Content-Transfer-Encoding"),
        Some("base64")
    );
    assert_eq!(
        certificates(&authorities),
        [server.registrar.root.as_slice()]
    );

    let issued = client
        .ask(&server, post(ENROLL, &csr_base64("device-1")))
        .await;
    let expected = "application/pkcs7-mime; smime-type=certs-only";
    assert_eq!(issued.header("Content-Type"), Some(expected));
    assert_eq!(issued.header("Content-Transfer-Encoding"), Some("base64"));
    assert_eq!(certificates(&issued).len(), 1);
    assert!(!issued.body.contains(['\r', '\n']));
}

#[tokio::test]
async fn libest_gets_lines_of_64_characters() {
    let server = Server::start().await;
    let request = "GET /.well-known/est/cacerts HTTP/1.1\r\nUser-Agent: libest 1.0\r\n\r\n";
    let response = Client::new(&server).ask(&server, request).await;
    assert!(response.body.ends_with('\n'));
    assert!(
        response
            .body
            .lines()
            .rev()
            .skip(1)
            .all(|line| line.len() == 64)
    );
    assert_eq!(certificates(&response), [server.registrar.root.as_slice()]);
}

#[tokio::test]
async fn the_registrar_gets_what_the_client_sent() {
    let server = Server::start().await;
    let (csr, path) = (
        csr("device-1"),
        "/.well-known/est/default.factory/simplereenroll",
    );
    let response = Client::new(&server)
        .ask(&server, post(path, &BASE64_STANDARD.encode(&csr)))
        .await;
    assert_eq!(response.status(), 200);
    let seen = server.registrar.seen.lock().unwrap();
    let [request] = &seen[..] else {
        panic!("{} requests", seen.len())
    };
    assert_eq!(request.label.as_deref(), Some("default.factory"));
    assert_eq!(request.operation, Operation::Reenroll);
    assert_eq!(request.csr, csr);
    let basic = request.credentials.basic().unwrap();
    assert_eq!(
        (basic.user.as_str(), basic.password.as_str()),
        ("estuser", "estpwd")
    );
    assert!(request.credentials.chain.is_empty());
    assert!(request.peer.is_loopback());
}

#[tokio::test]
async fn a_connection_carries_many_requests_also_with_a_line_end_after_the_body() {
    let server = Server::start().await;
    let mut connection = Client::new(&server).connect(server.address).await.unwrap();
    for trailer in ["", "\r\n", "\r\n\r\n", "\n"] {
        let request = post(ENROLL, &csr_base64("device-1")) + trailer;
        assert_eq!(
            connection.exchange(request).await.status(),
            200,
            "{trailer:?}"
        );
    }
    // Also when the line end arrives long after the answer, and for requests sent in one go.
    connection.send("\r\n").await;
    let two = get("/.well-known/est/cacerts") + "\r\n" + &get("/.well-known/est/csrattrs");
    assert_eq!(connection.exchange(two).await.status(), 200);
    assert_eq!(connection.response().await.status(), 204);
}

#[tokio::test]
async fn a_refused_request_leaves_the_connection_usable() {
    let server = Server::start().await;
    let mut connection = Client::new(&server).connect(server.address).await.unwrap();
    let over = post(ENROLL, &" ".repeat(64 * 1024 + 1));
    let lost = post("/.well-known/est/no/such/path", "x");
    let strange = post_with(
        ENROLL,
        "Authorization: Digest x\r\n",
        &csr_base64("device-1"),
    );
    for (request, status) in [(over, 413), (lost, 404), (strange, 400)] {
        assert_eq!(connection.exchange(request).await.status(), status);
    }
    assert_eq!(
        connection
            .exchange(get("/.well-known/est/cacerts"))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn a_body_may_come_in_chunks_and_in_every_form() {
    let server = Server::start().await;
    let mut connection = Client::new(&server).connect(server.address).await.unwrap();
    let encoded = csr_base64("device-1");
    let head = "POST /.well-known/est/simpleenroll HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\
                Authorization: basic ZXN0dXNlcjplc3Rwd2Q\r\n\r\n";
    let chunks = encoded.as_bytes().chunks(57);
    let chunks = chunks.map(|chunk| {
        format!(
            "{:x}\r\n{}\r\n",
            chunk.len(),
            str::from_utf8(chunk).unwrap()
        )
    });
    let chunked: String = chunks.collect::<String>() + "0\r\n\r\n";
    assert_eq!(
        connection
            .exchange(head.to_owned() + &chunked)
            .await
            .status(),
        200
    );

    let pem = format!(
        "-----BEGIN CERTIFICATE REQUEST-----\n{encoded}\n-----END CERTIFICATE REQUEST-----\n"
    );
    assert_eq!(connection.exchange(post(ENROLL, &pem)).await.status(), 200);

    let der = csr("device-1");
    let head = format!(
        "POST {ENROLL} HTTP/1.1\r\nAuthorization: Basic ZXN0dXNlcjplc3Rwd2Q=\r\nContent-Length: {}\r\n\r\n",
        der.len()
    );
    connection.send(head).await;
    assert_eq!(connection.exchange(der).await.status(), 200);
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let server = Server::start().await;
    let mut connection = Client::new(&server).connect(server.address).await.unwrap();
    let body = csr_base64("device-1");
    let request = post_with(
        ENROLL,
        "Expect: 100-continue\r\nAuthorization: Basic ZXN0dXNlcjplc3Rwd2Q=\r\n",
        &body,
    );
    connection.send(request.strip_suffix(&body).unwrap()).await;
    assert_eq!(connection.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(connection.exchange(body).await.status(), 200);
}

#[tokio::test]
async fn a_client_may_close_its_half_after_the_request() {
    let server = Server::start().await;
    let mut connection = Client::new(&server).connect(server.address).await.unwrap();
    connection.send(post(ENROLL, &csr_base64("device-1"))).await;
    connection.stream.shutdown().await.unwrap();
    assert_eq!(connection.response().await.status(), 200);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = Server::start().await;
    let mut connection = Client::new(&server).connect(server.address).await.unwrap();
    let full = connection.exchange(get("/.well-known/est/cacerts")).await;
    connection
        .send("HEAD /.well-known/est/cacerts HTTP/1.1\r\n\r\n")
        .await;
    let head = connection.head().await;
    assert!(
        head.contains(&format!("Content-Length: {}\r\n", full.body.len())),
        "{head}"
    );
    // Nothing stands between this answer and the next.
    assert_eq!(
        connection
            .exchange(get("/.well-known/est/csrattrs"))
            .await
            .status(),
        204
    );
}

#[tokio::test]
async fn wrong_methods_are_told_the_right_ones() {
    let server = Server::start().await;
    let client = Client::new(&server);
    let response = client.ask(&server, get(ENROLL)).await;
    assert_eq!(
        (response.status(), response.header("Allow")),
        (405, Some("POST"))
    );
    let response = client
        .ask(&server, "DELETE /.well-known/est/cacerts HTTP/1.1\r\n\r\n")
        .await;
    assert_eq!(
        (response.status(), response.header("Allow")),
        (405, Some("GET, HEAD"))
    );
}

#[tokio::test]
async fn the_retry_time_of_the_registrar_is_passed_on() {
    let server = Server::start().await;
    let request = post(
        "/.well-known/est/away/simpleenroll",
        &csr_base64("device-1"),
    );
    let response = Client::new(&server).ask(&server, request).await;
    assert_eq!(
        (response.status(), response.header("Retry-After")),
        (503, Some("7"))
    );
    assert_eq!(response.body, "ApiUnavailable: Try again.\n");
}

#[tokio::test]
async fn cacerts_and_csrattrs_do_not_look_at_credentials() {
    let server = Server::start().await;
    let client = Client::new(&server);
    for (path, status) in [
        ("cacerts", 200),
        ("csrattrs", 204),
        ("attributes/csrattrs", 200),
    ] {
        for value in ["nonsense", "Basic !", "Bearer", "Basic dTp3cm9uZw=="] {
            let request = format!(
                "GET /.well-known/est/{path} HTTP/1.1\r\nAuthorization: {value}\r\nAuthorization: {value}\r\n\r\n"
            );
            assert_eq!(client.ask(&server, request).await.status(), status);
        }
    }
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_server_lives_on() {
    let server = Server::start().await;
    let mut connection = Client::new(&server).connect(server.address).await.unwrap();
    let request = post(
        "/.well-known/est/panics/simpleenroll",
        &csr_base64("device-1"),
    );
    let response = connection.exchange(request).await;
    assert_eq!(response.status(), 500);
    assert!(
        !response.body.contains("panic") && !response.body.contains("test asked"),
        "{}",
        response.body
    );
    assert_eq!(
        connection
            .exchange(get("/.well-known/est/cacerts"))
            .await
            .status(),
        200
    );
}
