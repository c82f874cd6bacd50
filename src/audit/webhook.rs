//! The webhook: each event as a CloudEvent in structured JSON mode, delivered in order by one task, several times if need
//! be, and never waited for.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{Request, StatusCode, Uri, body::Bytes, header};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{AuditError, Decision};
use crate::metrics::{AuditSink, Counters};

/// How many events may wait to be delivered; more are dropped and counted.
const WAITING: usize = 1024;
/// How often one event is tried before it is dropped and counted.
const TRIES: u32 = 6;
/// The pause after a first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How long one delivery may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Who is told, and how its certificate is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Where events are posted: `https`, or `http` where the network is trusted.
    pub url: Uri,
    /// The CA certificates (PEM) that its certificate must lead to; the system's where there is none.
    pub ca: Option<PathBuf>,
}

/// The way to the task that delivers.
#[derive(Clone)]
pub(super) struct Webhook {
    queue: mpsc::Sender<Bytes>,
    source: Arc<str>,
    counters: Counters,
}

/// CloudEvents 1.0, §2.2 and the JSON format §3.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    time: &'a str,
    datacontenttype: &'static str,
    data: &'a Decision,
}

impl Webhook {
    /// The sink, and the task; the task ends after the last sink is gone.
    pub(super) fn new(
        config: WebhookConfig,
        source: String,
        counters: Counters,
    ) -> Result<(Self, impl Future<Output = ()> + Send), AuditError> {
        let client = Client::builder(TokioExecutor::new()).build(connector(config.ca.as_deref())?);
        let (queue, mut events) = mpsc::channel(WAITING);
        let webhook = Self {
            queue,
            source: source.into(),
            counters: counters.clone(),
        };
        let delivering = async move {
            let mut failing = false;
            while let Some(event) = events.recv().await {
                let result = deliver(&client, &config.url, event).await;
                if let Err(why) = &result {
                    counters.audit_lost(AuditSink::Webhook);
                    if !failing {
                        tracing::error!(
                            why,
                            host = config.url.host(),
                            "the audit webhook does not take events: they are being lost"
                        );
                    }
                } else if failing {
                    tracing::info!("the audit webhook takes events again");
                }
                failing = result.is_err();
            }
        };
        Ok((webhook, delivering))
    }

    /// Never waits.
    pub(super) fn send(&self, decision: &Decision) {
        let event = CloudEvent {
            specversion: "1.0",
            id: &decision.id,
            source: &self.source,
            kind: format!("dev.devicecert.certificate.{}", decision.outcome.as_str()),
            subject: decision.subject(),
            time: &decision.time,
            datacontenttype: "application/json",
            data: decision,
        };
        let queued = serde_json::to_vec(&event)
            .ok()
            .and_then(|body| self.queue.try_send(body.into()).ok());
        if queued.is_none() {
            self.counters.audit_lost(AuditSink::Webhook);
        }
    }
}

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

async fn deliver(client: &Https, url: &Uri, event: Bytes) -> Result<(), String> {
    let mut pause = FIRST_PAUSE;
    let mut tries = 1;
    loop {
        let why = match timeout(ANSWER, post(client, url, event.clone())).await {
            Ok(Ok(status)) => match verdict(status) {
                Verdict::Taken => return Ok(()),
                Verdict::Refused => return Err(format!("it answers {status}")),
                Verdict::Later => format!("it answers {status}"),
            },
            Ok(Err(why)) => why,
            Err(_) => format!("no answer within {} s", ANSWER.as_secs()),
        };
        if tries == TRIES {
            return Err(why);
        }
        tracing::debug!(why, tries, "an audit event will be delivered again");
        sleep(pause).await;
        (pause, tries) = (pause * 2, tries + 1);
    }
}

async fn post(client: &Https, url: &Uri, event: Bytes) -> Result<StatusCode, String> {
    let request = Request::post(url)
        .header(
            header::CONTENT_TYPE,
            "application/cloudevents+json; charset=utf-8",
        )
        .header(
            header::USER_AGENT,
            concat!("devicecert-operator/", env!("CARGO_PKG_VERSION")),
        )
        .body(Full::new(event))
        .map_err(|e| e.to_string())?;
    match client.request(request).await {
        Ok(response) => Ok(response.status()),
        Err(error) => Err(match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Taken,
    Later,
    Refused,
}

/// HTTP 1.1 Web Hooks for Event Delivery §2.1; a redirect is not followed, since it would carry the event elsewhere.
fn verdict(status: StatusCode) -> Verdict {
    match status {
        status if status.is_success() => Verdict::Taken,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Verdict::Later,
        status if status.is_server_error() => Verdict::Later,
        _ => Verdict::Refused,
    }
}

fn connector(ca: Option<&Path>) -> Result<HttpsConnector<HttpConnector>, AuditError> {
    let builder = ClientConfig::builder();
    let config = match ca {
        Some(path) => builder.with_root_certificates(roots(path)?),
        None => builder
            .with_native_roots()
            .map_err(|e| AuditError::WebhookCa {
                path: "the system's CA certificates".into(),
                message: format!("{e}: name some with --audit-webhook-ca"),
            })?,
    };
    let tls = config.with_no_client_auth();
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build())
}

fn roots(path: &Path) -> Result<RootCertStore, AuditError> {
    let failed = |message: String| AuditError::WebhookCa {
        path: path.display().to_string(),
        message,
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| failed(e.to_string()))?;
        roots.add(certificate).map_err(|e| failed(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("there is no CERTIFICATE in it".into()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        for (status, expected) in [
            (200, Verdict::Taken),
            (202, Verdict::Taken),
            (204, Verdict::Taken),
            (408, Verdict::Later),
            (429, Verdict::Later),
            (500, Verdict::Later),
            (503, Verdict::Later),
            (302, Verdict::Refused),
            (400, Verdict::Refused),
            (410, Verdict::Refused),
            (415, Verdict::Refused),
        ] {
            assert_eq!(verdict(StatusCode::from_u16(status).unwrap()), expected);
        }
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        for content in ["", "garbage"] {
            std::fs::write(&path, content).unwrap();
            let words = roots(&path).err().unwrap().to_string();
            assert!(words.contains("no CERTIFICATE in it"), "{words}");
        }
        let words = roots(Path::new("/nonexistent")).err().unwrap().to_string();
        assert!(words.contains("/nonexistent"), "{words}");
    }
}
