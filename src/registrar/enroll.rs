//! Enrolment from outside: the EST operations in terms of the registrar.

use jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt,
    api::{ObjectMeta, PostParams},
};

use super::{
    Enrolled, EnrollmentRequest, Operation, Registrar, Rejection,
    audited::{ISSUED, Trail},
    authenticate::Authenticated,
    authority_chain,
    local::{LocalRegistrar, Requester},
};
use crate::{
    api::{DeviceIdentity, DeviceIdentitySpec, LocalRef, REGISTERED_BY, Registration},
    cluster::{self, ApiError, Outcome},
    metrics::Door,
    pki::{Certificate, Csr},
    policy::{Asked, Device, Group, GroupKey, Principal, Purpose, Reason, Refusal, RegistrationId},
};

/// How often a decision is made anew because the object changed under it.
const TRIES: usize = 5;
/// For how long the same request is answered with the same certificate.
const RETRY: SignedDuration = SignedDuration::from_secs(60);

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
            authority_chain(&authority)
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

    async fn attributes(&self, _label: Option<&str>) -> Result<Vec<u8>, Rejection> {
        Ok(Vec::new())
    }

    async fn enroll(&self, request: EnrollmentRequest) -> Result<Enrolled, Rejection> {
        let mut trail = Trail::default();
        let key = self.labels.resolve(request.label.as_deref());
        let result = self.answer(key.clone(), &request, &mut trail).await;
        self.audited(&request, key.as_ref().ok(), trail, result)
            .await
            .inspect_err(|rejection| self.counters.refused(Door::Est, rejection.reason))
            .map_err(for_outsiders)
    }
}

impl LocalRegistrar {
    async fn answer(
        &self,
        key: Result<GroupKey, Refusal>,
        request: &EnrollmentRequest,
        trail: &mut Trail,
    ) -> Result<Enrolled, Rejection> {
        self.auditable()?;
        if request.operation == Operation::ServerKeygen {
            return Err(Refusal::new(
                Reason::ServerKeygenDisabled,
                "this group does not let the server make keys: make the key on the device and use simpleenroll",
            )
            .into());
        }
        let certificate = self.enroll_in(&key?, request, trail).await?;
        Ok(Enrolled::Certificate(certificate.der().to_vec()))
    }
}

/// What somebody outside may read. Faults of the group, the authority or the cluster are told in full to the owner of the
/// group (conditions, log), and in general terms here.
fn for_outsiders(rejection: Rejection) -> Rejection {
    let message = match rejection.reason {
        Reason::GroupInvalid | Reason::PasswordsUnavailable => {
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

/// Whether a refusal may rest on an outdated DeviceIdentity.
fn is_about_the_device(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Suspended
            | Reason::Revoked
            | Reason::WrongGroup
            | Reason::WrongOrigin
            | Reason::UnknownCertificate
            | Reason::SubjectMismatch
            | Reason::SameKeyRequired
            | Reason::CertificateExists
            | Reason::TooManyCertificates
            | Reason::InUse
    )
}

fn unknown_group(key: &GroupKey) -> Refusal {
    Refusal::new(
        Reason::UnknownLabel,
        format!("there is no enrolment group {key} here"),
    )
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
    ) -> Result<Certificate, Rejection> {
        let (requester, csr, mut device) = self.prepare(key, request, trail).await?;
        trail.concerns(&device.name_any());
        let mut is_fresh = false;
        for _ in 0..TRIES {
            if let Some(certificate) = self.answer_to_retry(&device, &requester, &csr).await? {
                trail.granted(
                    Reason::Issued,
                    "the same request, answered again with what is on record",
                );
                return Ok(certificate);
            }
            match self.issue(&device, &requester, Asked::Csr(&csr)).await {
                Err(rejection) if rejection.reason == Reason::Conflict => {
                    device = self.look_again(&device, &csr, &requester).await?;
                    is_fresh = true;
                }
                // What a watch last said may be out of date, so nobody is refused for it.
                Err(rejection) if !is_fresh && is_about_the_device(rejection.reason) => {
                    device = self.look_again(&device, &csr, &requester).await?;
                    is_fresh = true;
                }
                Err(rejection) => return Err(rejection),
                Ok(issued) => {
                    trail.granted(issued.reason, ISSUED);
                    tracing::info!(
                        device = issued.device.name_any(), namespace = key.namespace, group = key.name, principal = %requester.principal,
                        serial = %issued.certificate.serial(), "certificate issued over EST"
                    );
                    return Ok(issued.certificate);
                }
            }
        }
        let message = format!(
            "{} is being changed by others at this moment: try again",
            device.name_any()
        );
        Err(Refusal::new(Reason::Conflict, message).into())
    }

    /// The device as it is now, after it has changed under a decision; registered anew if it was deleted and its principal
    /// may register it.
    async fn look_again(
        &self,
        device: &DeviceIdentity,
        csr: &Csr,
        requester: &Requester,
    ) -> Result<DeviceIdentity, Rejection> {
        let namespace = &requester.group.namespace;
        let now = self.read_device(namespace, &device.name_any()).await?;
        match (now, &requester.principal) {
            (Some(now), _) => Ok(now),
            (None, Principal::Password { .. }) => {
                let group = self.group(&requester.group).await?;
                self.device_named_by(csr, &group, requester).await
            }
            (None, Principal::Device { .. } | Principal::Operator) => {
                let message = format!("{} was deleted just now", device.name_any());
                Err(Refusal::new(Reason::UnknownCertificate, message).into())
            }
        }
    }

    /// Everything before the decision: who asks, what is asked, and for which device.
    async fn prepare(
        &self,
        key: &GroupKey,
        request: &EnrollmentRequest,
        trail: &mut Trail,
    ) -> Result<(Requester, Csr, DeviceIdentity), Rejection> {
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
        let Authenticated { principal, device } = self
            .authenticate(&request.credentials, &group, cluster::now())
            .await?;
        trail.proved(&principal);
        let csr = Csr::from_der(&request.csr)
            .map_err(|e| Refusal::new(Reason::InvalidCsr, e.to_string()))?;
        trail.asked(&csr);
        let requester = Requester {
            principal,
            group: key.clone(),
            door: Door::Est,
        };
        let device = match device {
            Some(device) => device.as_ref().clone(),
            None => self.device_named_by(&csr, &group, &requester).await?,
        };
        Ok((requester, csr, device))
    }

    /// The device whose ID is the CSR's common name; registered now if the group is open to unknown ones.
    async fn device_named_by(
        &self,
        csr: &Csr,
        group: &Group,
        requester: &Requester,
    ) -> Result<DeviceIdentity, Rejection> {
        let name = csr.subject().common_name().ok_or_else(|| {
            Refusal::new(
                Reason::InvalidRegistrationId,
                "the CSR's subject must have exactly one common name (CN): the device's registration ID",
            )
        })?;
        let id = RegistrationId::parse(&name)?;
        let object_name = id.object_name();
        let known = match self.fleet().device(&group.namespace, &object_name) {
            Some(device) => Some(device.as_ref().clone()),
            None => self.read_device(&group.namespace, &object_name).await?,
        };
        if let Some(device) = known {
            if Device::compile(&device)?.id != id {
                let message =
                    format!("the name {object_name} is held by another registration ID than {id}");
                return Err(Refusal::new(Reason::NameTaken, message).into());
            }
            return Ok(device);
        }
        if group
            .passwords
            .as_ref()
            .is_none_or(|rules| rules.registration == Registration::PreRegistered)
        {
            let message = format!(
                "{id} is not registered in group {}/{}: create its DeviceIdentity first, or let the group register \
                 unknown devices (authentication.passwords.registration: Open)",
                group.namespace, group.name
            );
            return Err(Refusal::new(Reason::NotRegistered, message).into());
        }
        self.register(id, csr, group, requester).await
    }

    /// Creates the DeviceIdentity of a device that may enrol; nothing is created for one that may not.
    async fn register(
        &self,
        id: RegistrationId,
        csr: &Csr,
        group: &Group,
        requester: &Requester,
    ) -> Result<DeviceIdentity, Rejection> {
        let device = Device::unregistered(&group.namespace, &group.name, id);
        self.decide(&device, requester, Asked::Csr(csr), Purpose::New)
            .await?;
        let object = DeviceIdentity {
            metadata: ObjectMeta {
                name: Some(device.name.clone()),
                namespace: Some(device.namespace.clone()),
                labels: Some([("devicecert.dev/group".to_string(), device.group.clone())].into()),
                annotations: Some(
                    [(REGISTERED_BY.to_string(), requester.principal.to_string())].into(),
                ),
                ..ObjectMeta::default()
            },
            spec: DeviceIdentitySpec {
                group_ref: LocalRef {
                    name: device.group.clone(),
                },
                registration_id: Some(device.id.as_str().into()),
                ..DeviceIdentitySpec::default()
            },
            status: None,
        };
        let created = self
            .devices(&device.namespace)
            .create(&PostParams::default(), &object)
            .await;
        match created.map_err(|e| ApiError::new("register DeviceIdentity", &device.name, e)) {
            Ok(created) => Ok(created),
            Err(error) if error.outcome() == Outcome::Exists => {
                let known = self.read_device(&device.namespace, &device.name).await?;
                Ok(known.ok_or_else(|| {
                    Refusal::new(
                        Reason::Conflict,
                        "the device was registered and deleted just now",
                    )
                })?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The recorded certificate, if this is the same request from the same principal once more, a moment later, and the
    /// principal would get one today. Never the certificate that the request was authenticated with. What looks like a
    /// retry is judged on the object as it is now.
    async fn answer_to_retry(
        &self,
        object: &DeviceIdentity,
        requester: &Requester,
        csr: &Csr,
    ) -> Result<Option<Certificate>, Rejection> {
        let device = Device::compile(object)?;
        if !is_retry(&device, &requester.principal, csr, cluster::now()) {
            return Ok(None);
        }
        let Some(object) = self.read_device(&device.namespace, &device.name).await? else {
            return Ok(None);
        };
        let device = Device::compile(&object)?;
        if !is_retry(&device, &requester.principal, csr, cluster::now()) {
            return Ok(None);
        }
        self.decide(&device, requester, Asked::Csr(csr), Purpose::Repetition)
            .await?;
        let pem = object.status.and_then(|status| status.certificate?.pem);
        let certificate = pem.and_then(|pem| Certificate::from_pem(&pem).ok());
        if let Some(certificate) = &certificate {
            tracing::info!(device = device.name, serial = %certificate.serial(), "a repeated request is answered again");
        }
        Ok(certificate)
    }
}

fn is_retry(device: &Device, principal: &Principal, csr: &Csr, now: Timestamp) -> bool {
    device.live(now).is_some_and(|current| {
        current.request_digest == csr.digest()
            && current.requester == principal.to_string()
            && Some(current.fingerprint) != principal.fingerprint()
            && is_recent(current.issued_at(), current.validity.not_after, now)
    })
}

fn is_recent(issued: Timestamp, expiry: Timestamp, now: Timestamp) -> bool {
    let life = expiry.duration_since(issued);
    now.duration_since(issued) <= RETRY.min(life / 100)
}
