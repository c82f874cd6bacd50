//! The operations besides enrolment with one's own key: csrattrs, serverkeygen, fullcmc, and requests that wait for a person.

use std::fs;

use devicecert::{policy::Reason, registrar::Operation};
use rcgen::PublicKeyData;

use super::{
    certificates::{csr_base64, openssl},
    connection::{Client, Response, get, post, post_with},
    registrar::{ATTRIBUTES, ENVELOPED},
    server::Server,
    wire::{certs_only, decoded},
};

const KEYGEN: &str = "/.well-known/est/serverkeygen";
const CERTS_ONLY: &str = "application/pkcs7-mime; smime-type=certs-only";

#[tokio::test]
async fn csrattrs_are_base64_of_the_right_type_or_204() {
    let server = Server::start().await;
    let client = Client::new(&server);
    let some = client
        .ask(&server, get("/.well-known/est/attributes/csrattrs"))
        .await;
    assert_eq!(some.status(), 200);
    assert_eq!(some.header("Content-Type"), Some("application/csrattrs"));
    assert_eq!(some.header("Content-Transfer-Encoding"), Some("base64"));
    assert_eq!(decoded(&some.body), ATTRIBUTES);

    let none = client
        .ask(&server, get("/.well-known/est/factory/csrattrs"))
        .await;
    assert_eq!((none.status(), none.body.as_str()), (204, ""));
    assert_eq!(none.header("Content-Type"), None);
}

/// The parts of a multipart body: head and content of each.
fn parts(response: &Response) -> Vec<(String, String)> {
    let boundary = response
        .header("Content-Type")
        .and_then(|value| value.strip_prefix("multipart/mixed; boundary="))
        .unwrap();
    let body = response
        .body
        .strip_suffix(&format!("--{boundary}--\r\n"))
        .unwrap();
    let delimiter = format!("--{boundary}\r\n");
    body.split(&delimiter)
        .skip(1)
        .map(|part| {
            let (head, content) = part.split_once("\r\n\r\n").unwrap();
            (head.into(), content.strip_suffix("\r\n").unwrap().into())
        })
        .collect()
}

fn head(media_type: &str) -> String {
    format!("Content-Type: {media_type}\r\nContent-Transfer-Encoding: base64")
}

#[tokio::test]
async fn serverkeygen_answers_with_the_key_and_then_its_certificate() {
    let server = Server::start().await;
    let response = Client::new(&server)
        .ask(&server, post(KEYGEN, &csr_base64("device-1")))
        .await;
    assert_eq!(response.status(), 200);
    let [(key_head, key), (certificate_head, certificate)] = &parts(&response)[..] else {
        panic!("{}", response.body)
    };
    assert_eq!(*key_head, head("application/pkcs8"));
    assert_eq!(*certificate_head, head(CERTS_ONLY));
    let [certificate] = &certs_only(&decoded(certificate))[..] else {
        panic!("not one certificate")
    };

    let key = rcgen::KeyPair::try_from(decoded(key)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("cert.der"), certificate).unwrap();
    fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    let of_certificate = openssl(
        dir.path(),
        &[
            "x509", "-inform", "DER", "-in", "cert.der", "-noout", "-pubkey",
        ],
    );
    assert_eq!(
        of_certificate,
        openssl(dir.path(), &["pkey", "-in", "key.pem", "-pubout"])
    );
    assert!(!key.subject_public_key_info().is_empty());
    let seen = server.registrar.seen.lock().unwrap();
    assert_eq!(seen[0].operation, Operation::ServerKeygen);
}

#[tokio::test]
async fn an_enveloped_key_has_a_type_of_its_own_and_libest_gets_lines() {
    let server = Server::start().await;
    for (agent, lines) in [("curl/8", 1), ("libest 1.0", 5)] {
        let headers =
            format!("User-Agent: {agent}\r\nAuthorization: Basic ZXN0dXNlcjplc3Rwd2Q=\r\n");
        let request = post_with(
            "/.well-known/est/enveloped/serverkeygen",
            &headers,
            &csr_base64("device-1"),
        );
        let response = Client::new(&server).ask(&server, request).await;
        let parts = parts(&response);
        let key_type = "application/pkcs7-mime; smime-type=server-generated-key";
        assert_eq!(parts[0].0, head(key_type));
        assert_eq!(decoded(&parts[0].1), ENVELOPED);
        assert_eq!(parts[0].1.lines().count(), lines);
        for (_, content) in &parts {
            let longest = content.lines().map(str::len).max().unwrap();
            assert_eq!(longest <= 64, lines > 1);
        }
        assert_eq!(certs_only(&decoded(&parts[1].1)).len(), 1);
    }
}

#[tokio::test]
async fn an_independent_mime_parser_reads_the_answer_of_serverkeygen() {
    let server = Server::start().await;
    let response = Client::new(&server)
        .ask(&server, post(KEYGEN, &csr_base64("device-1")))
        .await;
    let dir = tempfile::tempdir().unwrap();
    let kind = response.header("Content-Type").unwrap();
    let message = format!(
        "MIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n{}",
        response.body
    );
    fs::write(dir.path().join("message"), message).unwrap();
    let script = "import email
message = email.message_from_bytes(open('message', 'rb').read())
for part in message.get_payload():
    data = part.get_payload(decode=True)
    print(part['Content-Type'], part['Content-Transfer-Encoding'], data[0], len(data) > 100, part.defects)
print(message.defects)";
    let output = std::process::Command::new("python3")
        .args(["-c", script])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("application/pkcs8 base64 48 True []\n{CERTS_ONLY} base64 48 True []\n[]\n")
    );
}

#[tokio::test]
async fn fullcmc_is_not_offered_and_the_answer_names_what_is() {
    let server = Server::start().await;
    let response = Client::new(&server)
        .ask(&server, post("/.well-known/est/factory/fullcmc", "x"))
        .await;
    assert_eq!(response.status(), 501);
    assert_eq!(
        response.body,
        "UnknownOperation: Full CMC is not offered here. Send a PKCS#10 request to simpleenroll, simplereenroll or \
         serverkeygen.\n"
    );
}

#[tokio::test]
async fn a_request_that_waits_for_a_person_is_202_and_says_when_to_ask_again() {
    let server = Server::start().await;
    let request = post(
        "/.well-known/est/pending/simpleenroll",
        &csr_base64("device-1"),
    );
    let response = Client::new(&server).ask(&server, request).await;
    assert_eq!(
        (response.status(), response.header("Retry-After")),
        (202, Some("60"))
    );
    assert_eq!(response.body, "PendingApproval: Ask again.\n");
    assert_eq!(server.counters.refused(Reason::PendingApproval), 1);
}

#[tokio::test]
async fn a_bearer_token_reaches_the_registrar() {
    let server = Server::start().await;
    let client = Client::new(&server);
    for (token, status) in [("estpwd", 200), ("other", 401)] {
        let headers = format!("Authorization: Bearer {token}\r\n");
        let request = post_with(
            "/.well-known/est/simpleenroll",
            &headers,
            &csr_base64("device-1"),
        );
        assert_eq!(client.ask(&server, request).await.status(), status);
    }
}
