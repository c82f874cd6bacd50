//! Tells the audit trail of each decision: what was asked, what was proved, and what became of it.

use super::{Enrolled, EnrollmentRequest, Issued, LocalRegistrar, Operation, Rejection, Requester};
use crate::{
    audit::{
        AuditError, Decision, GrantedCertificate, GroupRef, Outcome, PrincipalFacts, Requested,
        Text,
    },
    cluster,
    pki::{Certificate, Csr},
    policy::{Asked, Device, GroupKey, Principal, Reason, Refusal},
};

/// What came to light about a request while it was decided.
#[derive(Default)]
pub(super) struct Trail {
    principal: Option<PrincipalFacts>,
    requested: Option<Requested>,
    device: Option<String>,
    granted: Option<(Reason, &'static str)>,
}

impl Trail {
    /// Who asks is proved.
    pub(super) fn proved(&mut self, principal: &Principal) {
        self.principal = Some(principal.into());
    }

    /// What is asked is read.
    pub(super) fn asked(&mut self, csr: &Csr) {
        self.requested = Some(csr.into());
    }

    /// Which device it is about, by its object's name.
    pub(super) fn concerns(&mut self, device: &str) {
        self.device = Some(device.into());
    }

    /// A certificate is granted, and why.
    pub(super) fn granted(&mut self, reason: Reason, message: &'static str) {
        self.granted = Some((reason, message));
    }
}

impl LocalRegistrar {
    /// Whether anything may be issued now: not while events cannot be written, where that is the operator's choice.
    pub(super) fn auditable(&self) -> Result<(), Refusal> {
        match self.audit.blocks_issuing() {
            true => Err(unavailable()),
            false => Ok(()),
        }
    }

    /// Tells of an enrolment over EST. What comes back may be released: the same result, or a refusal if the event could
    /// not be written and must be.
    pub(super) async fn audited(
        &self,
        request: &EnrollmentRequest,
        group: Option<&GroupKey>,
        trail: Trail,
        result: Result<Enrolled, Rejection>,
    ) -> Result<Enrolled, Rejection> {
        let certificate = result.as_ref().ok().and_then(|enrolled| {
            let (Enrolled::Certificate(der)
            | Enrolled::WithKey {
                certificate: der, ..
            }) = enrolled;
            Certificate::from_der(der).ok()
        });
        // A request that was refused before it was read is told all the same.
        let requested = trail
            .requested
            .or_else(|| Some((&Csr::from_der(&request.csr).ok()?).into()));
        let (outcome, reason, message) = verdict(result.as_ref().err(), trail.granted);
        let decision = Decision {
            time: Decision::time(cluster::now()),
            id: Decision::new_id(),
            door: "est",
            operation: match request.operation {
                Operation::Enroll => "enroll",
                Operation::Reenroll => "reenroll",
                Operation::ServerKeygen => "serverKeygen",
            },
            peer: Some(request.peer),
            label: request.label.as_ref().map(Text::new),
            group: group.map(GroupRef::from),
            principal: trail.principal,
            device: trail.device.map(Text::new),
            requested,
            outcome,
            reason,
            message,
            granted: certificate.as_ref().map(GrantedCertificate::from),
        };
        self.tell(&decision).await.and(result)
    }

    /// Tells of a certificate for a device whose key is in the cluster.
    pub(super) async fn audited_within(
        &self,
        device: &Device,
        requester: &Requester,
        asked: Asked<'_>,
        result: Result<Issued, Rejection>,
    ) -> Result<Issued, Rejection> {
        let granted = result.as_ref().ok().map(|issued| (issued.reason, ISSUED));
        let (outcome, reason, message) = verdict(result.as_ref().err(), granted);
        let decision = Decision {
            time: Decision::time(cluster::now()),
            id: Decision::new_id(),
            door: "operator",
            operation: "issue",
            peer: None,
            label: None,
            group: Some((&requester.group).into()),
            principal: Some((&requester.principal).into()),
            device: Some(Text::new(&device.name)),
            requested: Some(match asked {
                Asked::Csr(csr) | Asked::MadeKey { csr, .. } => csr.into(),
                Asked::OwnKey(key) => key.into(),
            }),
            outcome,
            reason,
            message,
            granted: result
                .as_ref()
                .ok()
                .map(|issued| (&issued.certificate).into()),
        };
        self.tell(&decision).await.and(result)
    }

    async fn tell(&self, decision: &Decision) -> Result<(), Rejection> {
        let told = self.audit.decided(decision).await;
        Ok(told.map_err(|error: AuditError| {
            tracing::error!(%error, id = decision.id, "an answer is withheld because its audit event is not written");
            unavailable()
        })?)
    }
}

/// A certificate on record.
pub(super) const ISSUED: &str = "the certificate is on record";
/// The same certificate once more.
pub(super) const REPEATED: &str = "the same request, answered again with what is on record";

fn verdict(
    rejection: Option<&Rejection>,
    granted: Option<(Reason, &'static str)>,
) -> (Outcome, Reason, Text<1024>) {
    match rejection {
        None => {
            let (reason, message) = granted.unwrap_or((Reason::Issued, ISSUED));
            (Outcome::Granted, reason, Text::new(message))
        }
        Some(rejection) => {
            let outcome = match rejection.reason {
                Reason::PendingApproval => Outcome::Pending,
                _ => Outcome::Refused,
            };
            (outcome, rejection.reason, Text::new(&rejection.message))
        }
    }
}

fn unavailable() -> Refusal {
    Refusal::new(
        Reason::AuditUnavailable,
        "the audit log of the operator cannot be written, and it is configured not to issue without it (--audit-failure): \
         try again when that is repaired",
    )
}
