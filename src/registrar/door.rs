//! What an enrolment front end may ask of the registrar: the messages of the one door, and nothing of Kubernetes.

use std::{future::Future, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
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

    /// What the CSRs of `label` should hold, as the DER of `CsrAttrs`; empty where nothing particular is wanted.
    /// RFC 7030 §4.5, RFC 8951 §3.2, RFC 9908.
    fn attributes(
        &self,
        label: Option<&str>,
    ) -> impl Future<Output = Result<Vec<u8>, Rejection>> + Send;

    /// Authenticates, authorizes, signs and records. The certificate is returned only once it is recorded.
    /// RFC 7030 §4.2, §4.4. A request that waits for a person is a [`Rejection`] with [`Reason::PendingApproval`].
    fn enroll(
        &self,
        request: EnrollmentRequest,
    ) -> impl Future<Output = Result<Enrolled, Rejection>> + Send;
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
    /// What ties the request to its TLS connection.
    pub bindings: ChannelBindings,
    /// Where the connection came from; for limits and logs only, never for policy.
    pub peer: IpAddr,
}

/// The ways to ask for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// `/simpleenroll`, RFC 7030 §4.2.1.
    Enroll,
    /// `/simplereenroll`, RFC 7030 §4.2.2.
    Reenroll,
    /// `/serverkeygen`, RFC 7030 §4.4: the server makes the key.
    ServerKeygen,
}

/// What an enrolment gives.
#[derive(Debug)]
pub enum Enrolled {
    /// The certificate (DER), for the key that the client has.
    Certificate(Vec<u8>),
    /// A certificate (DER), and the key that was made for it.
    WithKey {
        /// The certificate, DER.
        certificate: Vec<u8>,
        /// Its private key.
        key: MadeKey,
    },
}

/// A private key that the server made for a client. RFC 7030 §4.4.2.
pub enum MadeKey {
    /// PKCS#8 DER, protected by TLS alone.
    Plain(Zeroizing<Vec<u8>>),
    /// CMS EnvelopedData (DER of the ContentInfo), which only the client can open.
    Enveloped(Vec<u8>),
}

impl std::fmt::Debug for MadeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Enveloped(_) => "Enveloped",
        })
    }
}

/// What both ends of one TLS connection know and nobody else: a CSR that carries one of these was made for this connection.
/// RFC 7030 §3.5.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelBindings {
    /// `tls-exporter` (RFC 9266), 32 bytes.
    pub exporter: Option<Vec<u8>>,
    /// `tls-unique` (RFC 5929 §3): only TLS 1.2, only after a full handshake.
    pub unique: Option<Vec<u8>>,
}

/// What a client offered to prove who it is.
#[derive(Debug, Default)]
pub struct Credentials {
    /// What the `Authorization` header said.
    pub authorization: Option<Authorization>,
    /// The TLS client certificate chain as presented, leaf first (DER). TLS proved possession of the leaf's key and
    /// nothing else.
    pub chain: Vec<Vec<u8>>,
}

impl Credentials {
    /// User name and password, where these were sent.
    pub fn basic(&self) -> Option<&BasicCredentials> {
        match &self.authorization {
            Some(Authorization::Basic(basic)) => Some(basic),
            _ => None,
        }
    }
}

/// The credentials of an `Authorization` header.
#[derive(Debug)]
pub enum Authorization {
    /// HTTP Basic, RFC 7617.
    Basic(BasicCredentials),
    /// A bearer token, RFC 6750 §2.1.
    Bearer(BearerToken),
}

/// A token, wiped from memory when dropped.
pub struct BearerToken(pub Zeroizing<String>);

impl std::fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BearerToken")
    }
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
