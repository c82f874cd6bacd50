//! What an enrolment front end may ask of the registrar: the messages of the one door, and nothing of Kubernetes.

use std::{future::Future, net::IpAddr, time::Duration};

use zeroize::Zeroizing;

use crate::policy::Reason;

/// The one door through which a front end gets certificates.
pub trait Registrar: Send + Sync + 'static {
    /// The CA certificates (DER) that a client of `label` needs: the issuing authority and its issuers up to the
    /// self-signed root, which is last. RFC 7030 §4.1.2.
    fn authorities(
        &self,
        label: Option<&str>,
    ) -> impl Future<Output = Result<Vec<Vec<u8>>, Rejection>> + Send;

    /// Authenticates, authorizes, signs and records. The certificate (DER) is returned only once it is recorded.
    /// RFC 7030 §4.2.
    fn enroll(
        &self,
        request: EnrollmentRequest,
    ) -> impl Future<Output = Result<Vec<u8>, Rejection>> + Send;
}

/// One enrolment as it came over the wire. Nothing in it is trusted yet.
#[derive(Debug)]
pub struct EnrollmentRequest {
    /// The path label, `None` where the client used none.
    pub label: Option<String>,
    /// Which EST operation was called.
    pub operation: Operation,
    /// The PKCS#10 request, DER.
    pub csr: Vec<u8>,
    /// What the client offered to prove who it is.
    pub credentials: Credentials,
    /// Where the connection came from; for limits and logs only, never for policy.
    pub peer: IpAddr,
}

/// The two ways to ask for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `/simpleenroll`, RFC 7030 §4.2.1.
    Enroll,
    /// `/simplereenroll`, RFC 7030 §4.2.2.
    Reenroll,
}

/// What a client offered to prove who it is.
#[derive(Debug, Default)]
pub struct Credentials {
    /// HTTP Basic, RFC 7617.
    pub basic: Option<BasicCredentials>,
    /// The TLS client certificate chain as presented, leaf first (DER). TLS proved possession of the leaf's key and
    /// nothing else.
    pub chain: Vec<Vec<u8>>,
}

/// A user name and a password.
pub struct BasicCredentials {
    /// The user name.
    pub user: String,
    /// The password, wiped from memory when dropped.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for BasicCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BasicCredentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Why there is no certificate, in words that the requester may read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Rejection {
    /// The one word for it.
    pub reason: Reason,
    /// A sentence that says what to change. Holds nothing secret.
    pub message: String,
    /// When another try may succeed; `None` where trying again is pointless.
    pub retry_after: Option<Duration>,
}

/// What the EST server proves itself with in TLS.
pub struct ServerIdentity {
    /// Leaf first (DER).
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8 DER.
    pub key: Zeroizing<Vec<u8>>,
}
