//! One request: route, credentials, body, registrar, answer, and the line that the log gets.

use std::{future::Future, net::IpAddr, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use hyper::{
    Request,
    body::{Body, Bytes},
    header::AUTHORIZATION,
    http::{Extensions, request::Parts},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{
    answer::{self, Answer},
    authorization, body,
    counters::{Counters, Event},
    failures::{Failures, Kind},
    lines::Lines,
    rejection::{WireRejection, malformed, reject},
    route::{Call, Route},
    source::Source,
};
use crate::{
    policy::Reason,
    registrar::{
        ChannelBindings, Credentials, Enrolled, EnrollmentRequest, Operation, Registrar, Rejection,
    },
};

/// What stands between the wire and the registrar.
pub(super) struct Service<R> {
    pub registrar: Arc<R>,
    pub counters: Arc<Counters>,
    pub failures: Failures,
    /// One permit for each request that may be at the registrar.
    pub requests: Semaphore,
    pub max_body_bytes: usize,
    /// See [`super::header_case`].
    pub spelling: Extensions,
}

/// The other end of a connection.
pub(super) struct Peer {
    pub address: IpAddr,
    pub source: Source,
    /// What ties requests to this connection.
    pub bindings: ChannelBindings,
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
                self.counters.count(Event::Answered);
                (answer, None)
            }
            Err(refusal) => {
                self.note(refusal.rejection.reason, peer.source);
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
                let authorities = self.registrar.authorities(label.as_deref());
                let chain = self.ask(answer_by, authorities).await?;
                Ok(answer::ca_certificates(&chain, lines)?)
            }
            Call::CsrAttrs => {
                let attributes = self.registrar.attributes(label.as_deref());
                let attributes = self.ask(answer_by, attributes).await?;
                Ok(answer::attributes(&attributes, lines))
            }
            Call::Enroll(operation) => {
                self.hear(&parts, peer)?;
                let request = enrollment(operation, label, parts, &body, peer)?;
                let enrolled = self.ask(answer_by, self.registrar.enroll(request));
                match (operation, enrolled.await?) {
                    (Operation::ServerKeygen, Enrolled::WithKey { certificate, key }) => {
                        Ok(answer::made_key(&key, certificate, lines)?)
                    }
                    (
                        Operation::Enroll | Operation::Reenroll,
                        Enrolled::Certificate(certificate),
                    ) => Ok(answer::issued_certificate(certificate, lines)?),
                    (operation, _) => Err(reject(
                        Reason::Internal,
                        format!("the registrar's answer does not fit {operation:?}"),
                    )
                    .into()),
                }
            }
            Call::FullCmc => Err(WireRejection::full_cmc()),
        }
    }

    /// Asks the registrar, if it has not enough to do, and waits for its answer no longer than until `answer_by`.
    async fn ask<T>(
        &self,
        answer_by: Instant,
        work: impl Future<Output = Result<T, Rejection>>,
    ) -> Result<T, Rejection> {
        let overloaded = |message: &str| Err(reject(Reason::Overloaded, message));
        let Ok(_permit) = self.requests.try_acquire() else {
            self.counters.count(Event::Shed);
            return overloaded("Too many requests are under way; try again.");
        };
        timeout_at(answer_by, work)
            .await
            .unwrap_or_else(|_| overloaded("The request could not be answered in time; try again."))
    }

    /// Refuses to hear a source that has failed too often with the kind of credentials that it sends now.
    fn hear(&self, parts: &Parts, peer: &Peer) -> Result<(), Rejection> {
        let secret = parts.headers.contains_key(AUTHORIZATION);
        let certificate = !peer.chain.is_empty();
        let kinds = [
            (Kind::Secret, secret),
            (Kind::Certificate, certificate),
            (Kind::Wire, !secret && !certificate),
        ];
        let now = Instant::now().into_std();
        let waits = kinds
            .into_iter()
            .filter(|(_, sent)| *sent)
            .filter_map(|(kind, _)| self.failures.wait(peer.source, kind, now));
        let Some(wait) = waits.max() else {
            return Ok(());
        };
        self.counters.count(Event::Throttled);
        Err(Rejection {
            reason: Reason::TooManyFailures,
            message: "Too many requests of this kind from this address have failed. Correct them, and try again later."
                .into(),
            retry_after: Some(wait),
        })
    }

    fn note(&self, reason: Reason, source: Source) {
        self.counters.count_refusal(reason);
        if let Some(kind) = Kind::of(reason) {
            self.failures.note(source, kind, Instant::now().into_std());
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
    let authorization = authorization::take(&mut parts.headers)?;
    let csr = body::decode_csr(body)?;
    let credentials = Credentials {
        authorization,
        chain: peer.chain.clone(),
    };
    Ok(EnrollmentRequest {
        label,
        operation,
        csr,
        credentials,
        bindings: peer.bindings.clone(),
        peer: peer.address,
    })
}
