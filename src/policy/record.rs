//! What is written into a DeviceIdentity's status when a certificate was signed, before anybody sees it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    Device, Grant, Origin, Principal, Reason, Statement, authorize::MOST_PREVIOUS, set_condition,
};
use crate::{
    api::{
        self, ApprovedRequest, DeviceCertificate, DeviceIdentityStatus, DevicePhase,
        PreviousCertificate,
    },
    pki::{Certificate, Clipped},
};

/// A signed certificate on its way into the record.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// The device as it was when the decision was made.
    pub device: &'a Device,
    /// Who asked.
    pub principal: &'a Principal,
    /// What was granted.
    pub grant: &'a Grant,
    /// What was signed.
    pub certificate: &'a Certificate,
    /// When it is to be renewed.
    pub renewal_time: Timestamp,
    /// metadata.generation of the object.
    pub generation: Option<i64>,
    /// The present moment.
    pub now: Timestamp,
}

/// The request for the key that is approved now, as the person saw it; also when it is no longer the one that waits.
pub fn approved_request(status: &DeviceIdentityStatus, device: &Device) -> Option<ApprovedRequest> {
    let key = device.approval.as_ref()?.key.to_string();
    let waiting = status
        .pending_request
        .as_ref()
        .map(|request| ApprovedRequest {
            key_fingerprint: request.key_fingerprint.clone(),
            subject_alt_names: request.subject_alt_names.clone(),
        });
    [status.approved_request.clone(), waiting]
        .into_iter()
        .flatten()
        .find(|request| request.key_fingerprint == key)
}

/// The status with the new certificate in it. Older certificates that are still valid move to `previous`.
pub fn record(status: &DeviceIdentityStatus, recording: &Recording<'_>) -> DeviceIdentityStatus {
    let Recording {
        device,
        principal,
        grant,
        certificate,
        now,
        ..
    } = *recording;
    let mut status = status.clone();
    let retired = status.certificate.take().map(|old| PreviousCertificate {
        serial_number: old.serial_number,
        not_after: old.not_after,
        fingerprint: old.fingerprint,
        key_fingerprint: old.key_fingerprint,
        issuer_fingerprint: old.issuer_fingerprint,
    });
    status.previous = retired
        .into_iter()
        .chain(std::mem::take(&mut status.previous))
        .filter(|past| past.not_after.0 > now)
        .take(MOST_PREVIOUS)
        .collect();
    status.approved_request = approved_request(&status, device).or_else(|| {
        // It was approved before anybody asked: from now on for these names.
        let approval = device.approval.as_ref()?;
        (approval.key == grant.approval_key()).then(|| ApprovedRequest {
            key_fingerprint: approval.key.to_string(),
            subject_alt_names: grant.names().to_texts(),
        })
    });
    status.pending_request = None;
    let renewed = device.current.is_some();
    let validity = certificate.validity();
    status.certificate = Some(DeviceCertificate {
        serial_number: certificate.serial().to_string(),
        not_before: Time(validity.not_before),
        not_after: Time(validity.not_after),
        renewal_time: Time(recording.renewal_time),
        fingerprint: certificate.fingerprint().to_string(),
        key_fingerprint: certificate.key_fingerprint().to_string(),
        issuer_fingerprint: grant.issuer().to_string(),
        issuer: certificate.issuer().to_string(),
        subject: certificate.subject().to_string(),
        requested_subject: grant.requested_subject().map(ToString::to_string),
        subject_alt_names: grant.names().to_texts(),
        request_digest: grant.request_digest().to_string(),
        requester: principal.to_string(),
        pem: match device.origin {
            Origin::Secret(_) => None,
            Origin::Request | Origin::Outside => Some(certificate.to_pem()),
        },
    });
    let reason = match (grant.clipped(), renewed) {
        (Clipped::ToIssuer, _) => Reason::ValidityShortened,
        (Clipped::No, true) => Reason::Renewed,
        (Clipped::No, false) => Reason::Issued,
    };
    let shortened = match grant.clipped() {
        Clipped::ToIssuer => {
            "; its issuer ends then, so it is shorter than the group's profile asks"
        }
        Clipped::No => "",
    };
    let message = format!(
        "certificate {} is valid until {}{shortened}",
        certificate.serial(),
        validity.not_after
    );
    set_condition(
        &mut status.conditions,
        Statement::yes("Issued", reason, message),
        recording.generation,
        now,
    );
    status.observed_generation = recording.generation;
    let ready = match &device.origin {
        Origin::Secret(secret) if !is_ready(&status) => {
            status.phase = Some(DevicePhase::Issuing);
            let message = format!("the certificate is on its way into the Secret {secret}");
            Statement::no("Ready", Reason::WritingSecret, message)
        }
        // The Secret holds the certificate before this one, which is good until the new one is in its place.
        Origin::Secret(secret) => secret_ready(secret),
        Origin::Request | Origin::Outside => {
            status.phase = Some(DevicePhase::Active);
            certificate_ready()
        }
    };
    set_condition(&mut status.conditions, ready, recording.generation, now);
    status
}

/// A device whose Secret holds a valid certificate is Ready. The words never change, so that saying it again writes nothing.
pub fn secret_ready(secret: &str) -> Statement {
    let message = format!("the Secret {secret} holds a valid certificate");
    Statement::yes("Ready", Reason::CertificateReady, message)
}

/// A device that keeps its key itself and has a valid certificate is Ready.
pub fn certificate_ready() -> Statement {
    let message = "the device has a valid certificate";
    Statement::yes("Ready", Reason::CertificateReady, message)
}

fn is_ready(status: &DeviceIdentityStatus) -> bool {
    status
        .conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == api::ConditionStatus::True)
}
