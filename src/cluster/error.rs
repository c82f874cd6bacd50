//! What went wrong with a call to the API server, and what that means for a decision.

use std::fmt;

/// How a failed call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 404.
    NotFound,
    /// 409 on a write with preconditions: the object has changed.
    Conflict,
    /// 409 on a create: the name is taken.
    Exists,
    /// 403: the operator's role lacks a permission.
    Forbidden,
    /// Another 4xx: the server understood and refused.
    Refused,
    /// No answer, or a 5xx or 429: nobody knows whether it was done.
    Unavailable,
}

/// A failed call: what was being done, to which object, and why it failed.
#[derive(Debug)]
pub struct ApiError {
    what: &'static str,
    object: String,
    outcome: Outcome,
    source: kube::Error,
}

impl ApiError {
    /// Wraps a client error. `what` completes the sentence "could not …".
    pub fn new(what: &'static str, object: impl Into<String>, source: kube::Error) -> Self {
        let outcome = match &source {
            kube::Error::Api(status) => match (status.code, status.reason.as_str()) {
                (404, _) => Outcome::NotFound,
                (409, "AlreadyExists") => Outcome::Exists,
                (409, _) => Outcome::Conflict,
                (403, _) => Outcome::Forbidden,
                (429 | 500.., _) => Outcome::Unavailable,
                _ => Outcome::Refused,
            },
            _ => Outcome::Unavailable,
        };
        Self {
            what,
            object: object.into(),
            outcome,
            source,
        }
    }

    /// How the call ended.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {} {}: ", self.what, self.object)?;
        match &self.source {
            kube::Error::Api(status) => f.write_str(&status.message),
            _ => f.write_str("the Kubernetes API server does not answer"),
        }
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
