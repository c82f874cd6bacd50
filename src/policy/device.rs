//! A DeviceIdentity, compiled: its ID, where its key comes from, and the certificates on record.

use std::{collections::BTreeMap, str::FromStr};

use jiff::{SignedDuration, Timestamp};

use super::{Reason, Refusal, RegistrationId};
use crate::{
    api::{self, ApprovalDecision, DeviceState},
    pki::{Fingerprint, Name, SubjectAltNames, Validity},
};

/// What policy knows about a device.
#[derive(Clone, Debug)]
pub struct Device {
    /// metadata.namespace.
    pub namespace: String,
    /// metadata.name.
    pub name: String,
    /// The ID.
    pub id: RegistrationId,
    /// The name of its group.
    pub group: String,
    /// Where its key is.
    pub origin: Origin,
    /// What its owner allows it.
    pub state: DeviceState,
    /// metadata.uid; empty for one that is not registered yet.
    pub uid: String,
    /// metadata.labels.
    pub labels: BTreeMap<String, String>,
    /// A person's decision about one key.
    pub approval: Option<Approved>,
    /// The request that waits for one, as it was shown.
    pub pending: Option<Pending>,
    /// The request that was approved, as it was shown.
    pub approved_request: Option<Pending>,
    /// The alternative names that its owner declared.
    pub declared_names: SubjectAltNames,
    /// The newest certificate on record.
    pub current: Option<Recorded>,
    /// Older certificates on record: fingerprint, key fingerprint, notAfter.
    pub previous: Vec<(Fingerprint, Fingerprint, Timestamp)>,
}

/// A person's decision about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    /// What was decided.
    pub decision: ApprovalDecision,
    /// About which key.
    pub key: Fingerprint,
    /// Why, in the person's words.
    pub reason: Option<String>,
}

/// A request that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The key of which the approval must speak.
    pub key: Fingerprint,
    /// The alternative names that were shown.
    pub names: Vec<String>,
}

/// Where a device's key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a Secret; the operator makes it.
    Secret(String),
    /// Elsewhere; a CSR (PEM) is in the spec.
    Request,
    /// On the device, which enrols itself.
    Outside,
}

/// The newest certificate on record.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// SHA-256 of its public key.
    pub key_fingerprint: Fingerprint,
    /// SHA-256 of the CA certificate that signed it.
    pub issuer_fingerprint: Fingerprint,
    /// Its validity.
    pub validity: Validity,
    /// When it is to be renewed.
    pub renewal_time: Timestamp,
    /// Its subject.
    pub subject: Name,
    /// The subject that was asked for, where that differs.
    pub requested_subject: Option<Name>,
    /// Its alternative names.
    pub names: SubjectAltNames,
    /// SHA-256 of the CSR.
    pub request_digest: Fingerprint,
    /// Who asked for it.
    pub requester: String,
}

impl Recorded {
    /// When it was issued: notBefore less the back-dating of [`Validity::starting`].
    pub fn issued_at(&self) -> Timestamp {
        let life = self.validity.not_after.as_second() - self.validity.not_before.as_second();
        let back_dating = (life / 101).min(60);
        self.validity
            .not_before
            .checked_add(SignedDuration::from_secs(back_dating))
            .unwrap_or(self.validity.not_before)
    }
}

impl Device {
    /// Compiles a DeviceIdentity. Refuses one whose name does not follow from its ID, and one whose record cannot be
    /// read: a record that is not understood never counts as no record.
    pub fn compile(object: &api::DeviceIdentity) -> Result<Self, Refusal> {
        let name = object.metadata.name.clone().unwrap_or_default();
        let id = RegistrationId::parse(object.spec.registration_id.as_deref().unwrap_or(&name))?;
        if id.object_name() != name {
            return Err(Refusal::new(
                Reason::NameMismatch,
                format!(
                    "the registration ID {id} belongs to the name {0:?}, not {name:?}: create the DeviceIdentity as {0:?}",
                    id.object_name()
                ),
            ));
        }
        let status = object.status.as_ref();
        Ok(Self {
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            group: object.spec.group_ref.name.clone(),
            origin: match (&object.spec.secret_name, &object.spec.request) {
                (Some(secret), _) => Origin::Secret(secret.clone()),
                (None, Some(_)) => Origin::Request,
                (None, None) => Origin::Outside,
            },
            state: object.spec.state,
            uid: object.metadata.uid.clone().unwrap_or_default(),
            labels: object.metadata.labels.clone().unwrap_or_default(),
            approval: object.spec.approval.as_ref().map(approved).transpose()?,
            pending: status
                .and_then(|s| s.pending_request.as_ref())
                .map(pending)
                .transpose()?,
            approved_request: status
                .and_then(|s| s.approved_request.as_ref())
                .map(|request| {
                    Ok(Pending {
                        key: fingerprint("approvedRequest", &request.key_fingerprint)?,
                        names: request.subject_alt_names.clone(),
                    })
                })
                .transpose()?,
            declared_names: declared_names(&object.spec)?,
            current: status
                .and_then(|s| s.certificate.as_ref())
                .map(recorded)
                .transpose()?,
            previous: status.map_or_else(
                || Ok(Vec::new()),
                |s| s.previous.iter().map(previous).collect(),
            )?,
            name,
            id,
        })
    }

    /// A device that has an ID and a group, and no record yet.
    pub fn unregistered(namespace: &str, group: &str, id: RegistrationId) -> Self {
        Self {
            namespace: namespace.into(),
            name: id.object_name(),
            id,
            group: group.into(),
            origin: Origin::Outside,
            state: DeviceState::Active,
            uid: String::new(),
            labels: BTreeMap::new(),
            approval: None,
            pending: None,
            approved_request: None,
            declared_names: SubjectAltNames::default(),
            current: None,
            previous: Vec::new(),
        }
    }

    /// The newest certificate, if it is valid now.
    pub fn live(&self, now: Timestamp) -> Option<&Recorded> {
        self.current
            .as_ref()
            .filter(|current| current.validity.not_after > now)
    }

    /// The key fingerprints of all certificates on record that are valid now.
    pub fn live_keys(&self, now: Timestamp) -> impl Iterator<Item = Fingerprint> {
        let current = self.live(now).map(|current| current.key_fingerprint);
        let previous = self
            .previous
            .iter()
            .filter(move |(_, _, end)| *end > now)
            .map(|(_, key, _)| *key);
        current.into_iter().chain(previous)
    }

    /// Whether a certificate is on record and valid now.
    pub fn has_live(&self, fingerprint: Fingerprint, now: Timestamp) -> bool {
        self.live(now)
            .is_some_and(|current| current.fingerprint == fingerprint)
            || self
                .previous
                .iter()
                .any(|(known, _, end)| *known == fingerprint && *end > now)
    }
}

fn declared_names(spec: &api::DeviceIdentitySpec) -> Result<SubjectAltNames, Refusal> {
    SubjectAltNames::parse(&spec.dns_names, &spec.ip_addresses, &spec.uris).map_err(|e| {
        Refusal::new(
            Reason::InvalidSpec,
            format!("spec.dnsNames, ipAddresses or uris: {e}"),
        )
    })
}

fn approved(approval: &api::KeyApproval) -> Result<Approved, Refusal> {
    let key = Fingerprint::from_str(&approval.key_fingerprint).map_err(|e| {
        Refusal::new(
            Reason::InvalidSpec,
            format!("spec.approval.keyFingerprint: {e}"),
        )
    })?;
    Ok(Approved {
        decision: approval.decision,
        key,
        reason: approval.reason.clone(),
    })
}

fn pending(request: &api::PendingRequest) -> Result<Pending, Refusal> {
    Ok(Pending {
        key: fingerprint("pendingRequest", &request.key_fingerprint)?,
        names: request.subject_alt_names.clone(),
    })
}

fn unreadable(field: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        Reason::StatusLost,
        format!(
            "status.{field} cannot be read ({why}): restore the status from a backup, or delete the DeviceIdentity and create it anew"
        ),
    )
}

fn fingerprint(field: &str, text: &str) -> Result<Fingerprint, Refusal> {
    Fingerprint::from_str(text).map_err(|e| unreadable(field, e))
}

fn previous(
    past: &api::PreviousCertificate,
) -> Result<(Fingerprint, Fingerprint, Timestamp), Refusal> {
    Ok((
        fingerprint("previous", &past.fingerprint)?,
        fingerprint("previous", &past.key_fingerprint)?,
        past.not_after.0,
    ))
}

fn recorded(certificate: &api::DeviceCertificate) -> Result<Recorded, Refusal> {
    let field = "certificate";
    let name = |text: &str| Name::parse(text).map_err(|e| unreadable(field, e));
    Ok(Recorded {
        fingerprint: fingerprint(field, &certificate.fingerprint)?,
        key_fingerprint: fingerprint(field, &certificate.key_fingerprint)?,
        issuer_fingerprint: fingerprint(field, &certificate.issuer_fingerprint)?,
        validity: Validity {
            not_before: certificate.not_before.0,
            not_after: certificate.not_after.0,
        },
        renewal_time: certificate.renewal_time.0,
        subject: name(&certificate.subject)?,
        // A convenience for renewals: without it the device repeats the subject of its certificate.
        requested_subject: certificate
            .requested_subject
            .as_deref()
            .and_then(|text| Name::parse(text).ok()),
        names: SubjectAltNames::from_texts(&certificate.subject_alt_names)
            .map_err(|e| unreadable(field, e))?,
        request_digest: fingerprint(field, &certificate.request_digest)?,
        requester: certificate.requester.clone(),
    })
}
