//! One request: route, credentials, body, registrar, answer, and the line that the log gets.

use std::{future::Future, net::IpAddr, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use hyper::{
    Request,
    body::{Body, Bytes},
    http::{Extensions, request::Parts},
};
use tokio::time::{Instant, timeout_at};

use super::{
    answer::{self, Answer, Lines},
    basic, body,
    counters::Counters,
    rejection::{WireRejection, malformed, reject},
    route::{Call, Route},
};
use crate::{
    policy::Reason,
    registrar::{
        Authorization, ChannelBindings, Credentials, Enrolled, EnrollmentRequest, Operation,
        Registrar, Rejection,
    },
};

/// What stands between the wire and the registrar.
pub(super) struct Service<R> {
    pub registrar: Arc<R>,
    pub counters: Arc<Counters>,
    pub max_body_bytes: usize,
    /// See [`super::header_case`].
    pub spelling: Extensions,
}

/// The other end of a connection.
pub(super) struct Peer {
    pub address: IpAddr,
    /// The TLS client certificates as presented, leaf first; also on a resumed session.
    pub chain: Vec<Vec<u8>>,
}

impl<R: Registrar> Service<R> {
    /// Answers a request, whatever happens, soon after `answer_by` at the latest.
    pub async fn answer<B>(&self, request: Request<B>, peer: &Peer, answer_by: Instant) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let route = Route::parse(parts.uri.path());
        let call = route.as_ref().ok().map(|route| route.call);
        let label = route.as_ref().ok().and_then(|route| route.label.clone());

        let work = AssertUnwindSafe(self.carry_out(route, parts, body, peer, answer_by));
        let outcome = work.catch_unwind().await.unwrap_or_else(|_| {
            Err(reject(Reason::Internal, "The handler of this request panicked.").into())
        });

        let (answer, refusal) = match outcome {
            Ok(answer) => {
                self.counters.count_answer();
                (answer, None)
            }
            Err(refusal) => {
                self.counters.count_refusal(refusal.rejection.reason);
                (
                    answer::refused(&refusal, &self.spelling),
                    Some(refusal.rejection),
                )
            }
        };
        tracing::info!(
            operation = call.map_or("unknown", Call::name),
            label,
            status = answer.status().as_u16(),
            reason = refusal.as_ref().map(|refusal| refusal.reason.as_str()),
            detail = refusal.as_ref().map(|refusal| refusal.message.as_str()),
            peer = %peer.address,
            duration_ms = began.elapsed().as_secs_f64() * 1e3,
            "EST request"
        );
        answer
    }

    async fn carry_out<B>(
        &self,
        route: Result<Route, Rejection>,
        parts: Parts,
        body: B,
        peer: &Peer,
        answer_by: Instant,
    ) -> Result<Answer, WireRejection>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        // The body comes first even if it will not be needed: a client that is still sending may not hear its refusal.
        let body = match timeout_at(answer_by, body::read(body, self.max_body_bytes)).await {
            Ok(read) => read?,
            Err(_) => return Err(malformed("The body took too long to arrive.").into()),
        };
        let Route { label, call } = route?;
        if !call.takes(&parts.method) {
            return Err(WireRejection::method_not_allowed(
                call.name(),
                call.methods(),
            ));
        }
        let lines = Lines::for_client(&parts.headers);
        match call {
            Call::CaCerts => {
                let chain =
                    in_time(answer_by, self.registrar.authorities(label.as_deref())).await?;
                Ok(answer::ca_certificates(&chain, lines)?)
            }
            Call::CsrAttrs => Ok(answer::no_content()),
            Call::Enroll(operation) => {
                let request = enrollment(operation, label, parts, &body, peer)?;
                match in_time(answer_by, self.registrar.enroll(request)).await? {
                    Enrolled::Certificate(certificate) => {
                        Ok(answer::issued_certificate(certificate, lines)?)
                    }
                    Enrolled::WithKey { .. } => Err(WireRejection::not_implemented(call.name())),
                }
            }
            Call::FullCmc => Err(WireRejection::not_implemented(call.name())),
        }
    }
}

fn enrollment(
    operation: Operation,
    label: Option<String>,
    mut parts: Parts,
    body: &[u8],
    peer: &Peer,
) -> Result<EnrollmentRequest, Rejection> {
    let basic = basic::take(&mut parts.headers)?;
    let csr = body::decode_csr(body)?;
    let credentials = Credentials {
        authorization: basic.map(Authorization::Basic),
        chain: peer.chain.clone(),
    };
    Ok(EnrollmentRequest {
        label,
        operation,
        csr,
        credentials,
        bindings: ChannelBindings::default(),
        peer: peer.address,
    })
}

async fn in_time<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, Rejection>>,
) -> Result<T, Rejection> {
    timeout_at(deadline, work).await.unwrap_or_else(|_| {
        Err(reject(
            Reason::Overloaded,
            "The request could not be answered in time; try again.",
        ))
    })
}
