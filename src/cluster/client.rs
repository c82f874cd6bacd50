//! Kubernetes clients: one for calls, whose answers must come soon, and one for watches, which wait.

use std::{sync::Arc, time::Duration};

use kube::{Client, Config, client::ClientBuilder};
use tower::util::MapRequestLayer;

/// How long an answer to a call may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Is told of every write: resource (`secrets`, `deviceidentities/status`) and verb (`create`, `patch`, …).
pub type WriteCounter = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// The clients of one process.
#[derive(Clone)]
pub struct Clients {
    /// For calls; each has a timeout.
    pub calls: Client,
    /// For watches; the watcher itself notices silence.
    pub watches: Client,
}

impl Clients {
    /// Connects lazily: nothing is sent yet.
    pub fn new(config: &Config, writes: WriteCounter) -> Result<Self, kube::Error> {
        let mut calls = config.clone();
        calls.connect_timeout = Some(Duration::from_secs(5));
        calls.read_timeout = Some(ANSWER);
        calls.write_timeout = Some(ANSWER);
        calls.reset_reader_on_write = true;
        // A call that failed is decided anew by whoever made it; a blind repetition would write what was decided before.
        calls.default_retry = false;
        let mut watches = config.clone();
        watches.connect_timeout = Some(Duration::from_secs(5));
        watches.write_timeout = Some(ANSWER);
        let count = MapRequestLayer::new(move |request: http::Request<kube::client::Body>| {
            if let Some((resource, verb)) = write_of(request.method(), request.uri().path()) {
                writes(&resource, verb);
            }
            request
        });
        Ok(Self {
            calls: ClientBuilder::try_from(calls)?.with_layer(&count).build(),
            watches: ClientBuilder::try_from(watches)?.build(),
        })
    }
}

/// The resource and verb of a request that changes something.
fn write_of(method: &http::Method, path: &str) -> Option<(String, &'static str)> {
    let verb = match method.as_str() {
        "POST" => "create",
        "PATCH" => "patch",
        "PUT" => "update",
        "DELETE" => "delete",
        _ => return None,
    };
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    // /api/v1/… or /apis/<group>/<version>/…
    let skip = if parts.next()? == "api" { 1 } else { 2 };
    let mut rest = parts.skip(skip).peekable();
    let mut resource = rest.next()?;
    if resource == "namespaces" && rest.clone().count() >= 2 {
        rest.next();
        resource = rest.next()?;
    }
    let subresource = rest.nth(1);
    Some((
        subresource.map_or_else(|| resource.to_string(), |sub| format!("{resource}/{sub}")),
        verb,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_told_apart_by_resource_and_verb() {
        let of = |method: &str, path: &str| write_of(&method.parse().unwrap(), path);
        assert_eq!(of("GET", "/api/v1/namespaces/a/secrets/b"), None);
        assert_eq!(
            of("POST", "/api/v1/namespaces/a/secrets"),
            Some(("secrets".into(), "create"))
        );
        assert_eq!(
            of(
                "PATCH",
                "/apis/devicecert.dev/v1alpha1/namespaces/a/deviceidentities/b/status"
            ),
            Some(("deviceidentities/status".into(), "patch"))
        );
        assert_eq!(
            of("DELETE", "/api/v1/namespaces/a"),
            Some(("namespaces".into(), "delete"))
        );
    }
}
