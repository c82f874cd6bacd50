//! Enrolment from outside: the EST operations in terms of the registrar.

use kube::ResourceExt;

use super::{
    Enrolled, EnrollmentRequest, Operation, Registrar, Rejection,
    audited::{ISSUED, REPEATED, Trail},
    channel,
    local::{LocalRegistrar, Requester},
    registration_authority::ForDevice,
    server_key::ServerKey,
};
use crate::{
    api::DeviceIdentity,
    cluster,
    metrics::Door,
    pki::{Certificate, Csr},
    policy::{Asked, Device, GroupKey, Principal, Purpose, Reason, Refusal, TokenUse},
};

/// How often a decision is made anew because the object changed under it.
const TRIES: usize = 5;

impl Registrar for LocalRegistrar {
    async fn authorities(&self, label: Option<&str>) -> Result<Vec<Vec<u8>>, Rejection> {
        self.ready()?;
        let key = self.labels.resolve(label)?;
        // Trust anchors are public and change slowly, so what the watch last said is good enough, and is there even
        // while the API server is away.
        let chain = self.fleet().group(&key).and_then(|group| {
            let authority = self
                .fleet()
                .authority(&key.namespace, &group.spec.authority_ref.name)?;
            self.chain_of(&authority)
        });
        let Some(chain) = chain else {
            if self.fleet().group(&key).is_none() {
                return Err(unknown_group(&key).into());
            }
            let message = format!("the authority of group {key} is not ready yet");
            return Err(Refusal::new(Reason::AuthorityNotReady, message).into());
        };
        let now = cluster::now();
        let valid = |certificate: &&Certificate| {
            let validity = certificate.validity();
            validity.not_before <= now && now < validity.not_after
        };
        Ok(chain
            .iter()
            .filter(valid)
            .map(|certificate| certificate.der().to_vec())
            .collect())
    }

    async fn attributes(&self, label: Option<&str>) -> Result<Vec<u8>, Rejection> {
        self.ready()?;
        let key = self.labels.resolve(label)?;
        // Public like the trust anchors, and as slow to change.
        let group = self
            .fleet()
            .group(&key)
            .ok_or_else(|| unknown_group(&key))?;
        let compiled = self
            .compiled_group(&group)
            .map_err(|refusal| for_outsiders(refusal.into()))?;
        Ok(compiled
            .csr_attributes()
            .map_err(|e| Refusal::new(Reason::Internal, e.to_string()))?)
    }

    async fn enroll(&self, request: EnrollmentRequest) -> Result<Enrolled, Rejection> {
        let key = self.labels.resolve(request.label.as_deref());
        let mut trail = Trail::default();
        let result = match self.auditable().and(key.clone()) {
            Ok(key) => self.enroll_in(&key, &request, &mut trail).await,
            Err(refusal) => Err(refusal.into()),
        };
        self.audited(&request, key.as_ref().ok(), trail, result)
            .await
            .inspect_err(|rejection| self.counters.refused(Door::Est, rejection.reason))
            .map_err(for_outsiders)
    }
}

/// What somebody outside may read. Faults of the group, the authority or the cluster are told in full to the owner of the
/// group (conditions, log), and in general terms here.
fn for_outsiders(rejection: Rejection) -> Rejection {
    let message = match rejection.reason {
        Reason::GroupInvalid | Reason::PasswordsUnavailable | Reason::ApprovalNotProtected => {
            "the enrolment group has a setting that cannot be used; its owner sees which with: kubectl describe deg"
        }
        Reason::AuthorityNotFound
        | Reason::AuthorityNotReady
        | Reason::KeyLost
        | Reason::KeyMismatch
        | Reason::InvalidSpec
        | Reason::StatusLost => {
            "the certificate authority cannot sign now; the owner of the group sees why with: kubectl describe deg"
        }
        Reason::ApiUnavailable => {
            "the Kubernetes API server does not answer or does not let the operator in, so nothing can be recorded and \
             nothing is issued: try again"
        }
        _ => return rejection,
    };
    tracing::warn!(reason = %rejection.reason, message = rejection.message, "an enrolment failed for a cause on our side");
    Rejection {
        message: message.into(),
        ..rejection
    }
}

/// Whether a refusal may rest on an outdated DeviceIdentity, or on an outdated token.
fn is_about_the_device(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Suspended
            | Reason::Revoked
            | Reason::WrongGroup
            | Reason::WrongOrigin
            | Reason::UnknownCertificate
            | Reason::CertificateExpired
            | Reason::SubjectMismatch
            | Reason::SameKeyRequired
            | Reason::CertificateExists
            | Reason::TooManyCertificates
            | Reason::PendingApproval
            | Reason::ApprovalRequired
            | Reason::Denied
            | Reason::RuleViolated
            | Reason::InUse
    )
}

pub(super) fn unknown_group(key: &GroupKey) -> Refusal {
    Refusal::new(
        Reason::UnknownLabel,
        format!("there is no enrolment group {key} here"),
    )
}

/// An enrolment on its way: who asks, what, and for which device.
pub(super) struct Attempt {
    pub requester: Requester,
    pub csr: Csr,
    /// Where the server is to make the key.
    pub server_key: Option<ServerKey>,
    pub device: DeviceIdentity,
}

impl Attempt {
    fn asked(&self) -> Asked<'_> {
        match &self.server_key {
            None => Asked::Csr(&self.csr),
            Some(made) => Asked::MadeKey {
                csr: &self.csr,
                key: made.public(),
            },
        }
    }
}

impl LocalRegistrar {
    fn ready(&self) -> Result<(), Refusal> {
        if self.fleet().is_synced() {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::NotReady,
            "the operator is starting and has not read the fleet yet",
        ))
    }

    async fn enroll_in(
        &self,
        key: &GroupKey,
        request: &EnrollmentRequest,
        trail: &mut Trail,
    ) -> Result<Enrolled, Rejection> {
        let mut attempt = self.prepare(key, request, trail).await?;
        trail.concerns(&attempt.device.name_any());
        let mut is_fresh = false;
        for _ in 0..TRIES {
            match self.attempt(&mut attempt, trail).await {
                Ok(enrolled) => return Ok(enrolled),
                // What a watch last said may be out of date, so nobody is refused for it.
                Err(rejection)
                    if rejection.reason == Reason::Conflict
                        || (!is_fresh && is_about_the_device(rejection.reason)) =>
                {
                    self.look_again(&mut attempt).await?;
                    is_fresh = true;
                }
                Err(rejection) => return Err(self.hold_if_pending(&attempt, rejection).await),
            }
        }
        let message = format!(
            "{} is being changed by others at this moment: try again",
            attempt.device.name_any()
        );
        Err(Refusal::new(Reason::Conflict, message).into())
    }

    /// One try: a repetition is answered again; else the credentials are used up where they are good once, and a certificate is
    /// issued.
    async fn attempt(
        &self,
        attempt: &mut Attempt,
        trail: &mut Trail,
    ) -> Result<Enrolled, Rejection> {
        if let Some(certificate) = self.answer_to_retry(attempt).await? {
            trail.granted(Reason::Issued, REPEATED);
            return Ok(Enrolled::Certificate(certificate.der().to_vec()));
        }
        let device = Device::compile(&attempt.device)?;
        let group = self.group(&attempt.requester.group).await?;
        let shares = self.begin_pace(&device, &group, &attempt.requester.principal)?;
        self.use_up(attempt, &device).await?;
        let issued = self
            .issue(&attempt.device, &attempt.requester, attempt.asked())
            .await?;
        shares.count();
        trail.granted(issued.reason, ISSUED);
        let requester = &attempt.requester;
        tracing::info!(
            device = issued.device.name_any(), namespace = requester.group.namespace, group = requester.group.name,
            principal = %requester.principal, serial = %issued.certificate.serial(), "certificate issued over EST"
        );
        self.tell_of_recovery(&issued.device, &requester.principal);
        let certificate = issued.certificate.der().to_vec();
        match &attempt.server_key {
            None => Ok(Enrolled::Certificate(certificate)),
            Some(made) => Ok(Enrolled::WithKey {
                certificate,
                key: made.deliver(),
            }),
        }
    }

    /// Credentials that are good once are tied to the device before anything is signed, and only if all else is in order.
    async fn use_up(&self, attempt: &mut Attempt, device: &Device) -> Result<(), Rejection> {
        let is_good_once = matches!(
            attempt.requester.principal,
            Principal::Token { .. } | Principal::Bootstrap { claimed: None, .. }
        );
        if !is_good_once {
            return Ok(());
        }
        let grant = self
            .decide(device, &attempt.requester, attempt.asked(), Purpose::New)
            .await?
            .grant;
        match &mut attempt.requester.principal {
            Principal::Token { token } if grant.token_use() == Some(TokenUse::First) => {
                let newest = device
                    .live(cluster::now())
                    .map(|live| (live.requester.as_str(), live.issued_at()));
                let key = grant.key().fingerprint();
                **token = self.consume(token, device, newest, key).await?;
            }
            Principal::Bootstrap { certificate, .. } => {
                self.claim(certificate, device, &attempt.device).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The device as it is now, after it has changed under a decision; registered anew if it was deleted and its principal
    /// may register it. A token is read again, too.
    async fn look_again(&self, attempt: &mut Attempt) -> Result<(), Rejection> {
        let namespace = attempt.requester.group.namespace.clone();
        if let Principal::Token { token } = &mut attempt.requester.principal {
            let gone = || {
                Refusal::new(
                    Reason::WrongToken,
                    "the token was deleted just now: ask for another",
                )
            };
            **token = self
                .read_token(&namespace, &token.name)
                .await?
                .ok_or_else(gone)?;
        }
        let name = attempt.device.name_any();
        if let Some(now) = self.read_device(&namespace, &name).await? {
            attempt.device = now;
            return Ok(());
        }
        if matches!(
            attempt.requester.principal,
            Principal::Device { .. } | Principal::Operator
        ) {
            let message = format!("{name} was deleted just now");
            return Err(Refusal::new(Reason::UnknownCertificate, message).into());
        }
        let group = self.group(&attempt.requester.group).await?;
        attempt.device = self
            .device_named_by(&attempt.csr, &group, &attempt.requester, attempt.asked())
            .await?;
        Ok(())
    }

    /// Everything before the decision: who asks, what is asked, and for which device.
    async fn prepare(
        &self,
        key: &GroupKey,
        request: &EnrollmentRequest,
        trail: &mut Trail,
    ) -> Result<Attempt, Rejection> {
        self.ready()?;
        if self.fleet().group(key).is_none() {
            return Err(unknown_group(key).into());
        }
        let group = self
            .group(key)
            .await
            .map_err(|rejection| match rejection.reason {
                Reason::GroupNotFound => unknown_group(key).into(),
                _ => rejection,
            })?;
        let authenticated = self
            .authenticate(&request.credentials, &group, cluster::now())
            .await?;
        trail.proved(&authenticated.principal);
        let csr = Csr::from_der(&request.csr)
            .map_err(|e| Refusal::new(Reason::InvalidCsr, e.to_string()))?;
        trail.asked(&csr);
        let ForDevice { principal, device } = self
            .as_registration_authority(authenticated, &csr, &group)
            .await?;
        // A registration authority is found out to be one only by what it asks.
        trail.proved(&principal);
        let requester = Requester {
            bound_to_channel: channel::is_bound(&csr, &request.bindings)?,
            principal,
            group: key.clone(),
            door: Door::Est,
        };
        let server_key = match request.operation {
            Operation::ServerKeygen => Some(
                self.make_server_key(&requester, &csr, &group, device.as_ref())
                    .await?,
            ),
            Operation::Enroll | Operation::Reenroll => None,
        };
        let asked = match &server_key {
            None => Asked::Csr(&csr),
            Some(made) => Asked::MadeKey {
                csr: &csr,
                key: made.public(),
            },
        };
        let device = match device {
            Some(device) => device,
            None => {
                self.device_named_by(&csr, &group, &requester, asked)
                    .await?
            }
        };
        Ok(Attempt {
            requester,
            csr,
            server_key,
            device,
        })
    }

    /// A request that waits for a person is put on the device's record, where that person finds it.
    async fn hold_if_pending(&self, attempt: &Attempt, rejection: Rejection) -> Rejection {
        if !rejection.reason.awaits_approval() {
            return rejection;
        }
        let held = self
            .hold(
                &attempt.device,
                &attempt.requester,
                attempt.asked(),
                &rejection,
            )
            .await;
        held.err().unwrap_or(rejection)
    }
}
