//! What must never reach the log.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::MakeWriter;

use super::{
    certificates::csr_base64,
    connection::{Client, post, post_with},
    server::Server,
};

/// A log that can be read afterwards.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn each_request_has_one_line_with_its_outcome_and_no_secret() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE);
    let _guard = tracing::subscriber::set_default(subscriber.finish());

    let server = Server::start().await;
    let client = Client::new(&server);
    let csr = csr_base64("device-1");
    client
        .ask(&server, post("/.well-known/est/factory/simpleenroll", &csr))
        .await;
    let wrong = "Authorization: Basic dTp3cm9uZy1zM2NyZXQ=\r\n";
    client
        .ask(
            &server,
            post_with("/.well-known/est/simplereenroll", wrong, &csr),
        )
        .await;
    client
        .ask(&server, post("/.well-known/est/faulty/simpleenroll", &csr))
        .await;

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for secret in [
        "estpwd",
        "ZXN0dXNlcjplc3Rwd2Q",
        "wrong-s3cret",
        "dTp3cm9uZy1zM2NyZXQ",
    ] {
        assert!(!text.contains(secret), "{text}");
    }
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("EST request"))
        .collect();
    assert_eq!(lines.len(), 3, "{text}");
    for (line, parts) in lines.iter().zip([
        &[
            "operation=\"simpleenroll\"",
            "label=\"factory\"",
            "status=200",
        ][..],
        &[
            "operation=\"simplereenroll\"",
            "status=401",
            "reason=\"WrongPassword\"",
        ],
        &[
            "status=500",
            "reason=\"Internal\"",
            "The file /secret is gone.",
        ],
    ]) {
        for part in [parts, &["INFO", "peer=127.0.0.1", "duration_ms="]].concat() {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}
