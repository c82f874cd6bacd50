//! Which keys may be certified: of a kind that the group allows, nobody else's, not compromised, and approved where a person
//! must approve.

use super::{Asked, Principal, Reason, Refusal, Situation, names::names, refuse};
use crate::{
    api::{Approval, ApprovalDecision, ChannelBinding, Pending, ServerKeygen},
    pki::Fingerprint,
    policy::{Device, Origin},
};

/// Whose a key is already, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyHolder {
    /// Nobody's, or the device's own.
    Nobody,
    /// Another device's, by namespace and name.
    Device(String),
    /// A CertificateAuthority's, by namespace and name.
    Authority(String),
    /// The EST server's.
    Server,
    /// It was on the record of a device that is revoked with the reason KeyCompromise.
    Compromised,
}

/// The group may want keys of certain kinds only.
pub(super) fn kind_is_allowed(s: &Situation<'_>) -> Result<(), Refusal> {
    let algorithm = s.asked.key().algorithm();
    if s.group.allowed_keys.is_empty() || s.group.allowed_keys.contains(&algorithm) {
        return Ok(());
    }
    let allowed: Vec<String> = s
        .group
        .allowed_keys
        .iter()
        .map(ToString::to_string)
        .collect();
    refuse(
        Reason::KeyNotAllowed,
        format!(
            "the key is {algorithm}, but the group allows {}: make a key of that kind",
            allowed.join(", ")
        ),
    )
}

impl KeyHolder {
    /// A key names one identity: whoever holds it must not become somebody else by another certificate.
    pub fn check(&self) -> Result<(), Refusal> {
        match self {
            Self::Nobody => Ok(()),
            // Whose it is, is not for the requester to learn.
            Self::Device(_) => Err(key_in_use("another device")),
            Self::Authority(_) => Err(key_in_use("a certificate authority")),
            Self::Server => Err(key_in_use("the EST server")),
            Self::Compromised => refuse(
                Reason::KeyCompromised,
                "the key of the request was revoked because it is compromised: make a new key on the device".into(),
            ),
        }
    }
}

/// That a key is somebody else's.
pub fn key_in_use(whose: &str) -> Refusal {
    Refusal::new(
        Reason::KeyInUse,
        format!(
            "the key of the request is certified for {whose} already: make a new key on the device"
        ),
    )
}

/// The operator makes keys only where the group says so.
pub(super) fn server_may_make_keys(s: &Situation<'_>) -> Result<(), Refusal> {
    match s.asked {
        Asked::MadeKey { .. } if s.group.server_keygen == ServerKeygen::Disabled => refuse(
            Reason::ServerKeygenDisabled,
            "this group does not let the server make keys: make the key on the device and use simpleenroll".into(),
        ),
        _ => Ok(()),
    }
}

/// RFC 7030 §3.5: a CSR may prove that it was made for its TLS connection.
pub(super) fn channel_is_bound(s: &Situation<'_>) -> Result<(), Refusal> {
    if s.group.channel_binding == ChannelBinding::Optional
        || s.bound_to_channel
        || matches!(s.principal, Principal::Operator)
    {
        return Ok(());
    }
    refuse(
        Reason::ProofRequired,
        "this group wants proof that the CSR was made for this TLS connection: put the base64 of tls-exporter (RFC 9266) or, with \
         TLS 1.2, of tls-unique into the CSR's challengePassword (RFC 7030 section 3.5)"
            .into(),
    )
}

/// The key of which a person's approval speaks. A key that the operator makes does not exist before it is used: in a Secret the
/// approval is for the object with the names that it declares, whatever its keys; for a device outside it is for whoever holds the key of the CSR, and as it lets
/// them have another key, it is no approval of that key itself.
pub fn approval_key(asked: &Asked<'_>, device: &Device) -> Fingerprint {
    match (asked, &device.origin) {
        (Asked::OwnKey(_), Origin::Secret(_)) => {
            let mut names = device.declared_names.to_texts();
            names.sort();
            Fingerprint::of(format!("{} {}", device.uid, names.join(" ")).as_bytes())
        }
        (Asked::MadeKey { csr, .. }, _) => {
            Fingerprint::of(&[b"serverkeygen:", csr.key().spki_der()].concat())
        }
        (Asked::OwnKey(key), _) => key.fingerprint(),
        (Asked::Csr(csr), _) => csr.key().fingerprint(),
    }
}

/// Where a person must approve, the approval must be for this key. A live key was approved, or came before the rule.
pub(super) fn key_is_approved(s: &Situation<'_>) -> Result<(), Refusal> {
    let key = approval_key(&s.asked, s.device);
    let decision = s
        .device
        .approval
        .as_ref()
        .filter(|approval| approval.key == key);
    if let Some(approval) = decision
        && approval.decision == ApprovalDecision::Denied
    {
        let why = approval
            .reason
            .as_deref()
            .map(|why| format!(": {why}"))
            .unwrap_or_default();
        return refuse(
            Reason::Denied,
            format!("the request of {} was denied{why}", s.device.id),
        );
    }
    let denied_certificate = s
        .principal
        .certificate()
        .zip(s.device.approval.as_ref())
        .is_some_and(|(certificate, approval)| {
            approval.decision == ApprovalDecision::Denied
                && approval.key == certificate.key_fingerprint()
        });
    if denied_certificate {
        return refuse(
            Reason::Denied,
            format!(
                "the key of the client certificate of {} was denied",
                s.device.id
            ),
        );
    }
    if s.group.approval == Approval::Automatic {
        return Ok(());
    }
    if decision.is_some() {
        return names_are_approved(s, key);
    }
    if let Principal::Device { certificate, .. } = s.principal
        && s.device.live_keys(s.now).any(|live| live == key)
    {
        return names_are_among(s, &certificate.sans().to_texts());
    }
    let reason = match s.group.pending {
        Pending::Poll => Reason::PendingApproval,
        Pending::Reject => Reason::ApprovalRequired,
    };
    refuse(
        reason,
        format!(
            "a person must approve the key {key} of {} first (kubectl devicecert approve {} --key {key}): send the same request again later",
            s.device.id, s.device.name
        ),
    )
}

/// An approval is for what the person saw: the names of the request that waits, or of the certificate that the key has.
fn names_are_approved(s: &Situation<'_>, key: Fingerprint) -> Result<(), Refusal> {
    let requests = [&s.device.approved_request, &s.device.pending];
    let shown = requests
        .into_iter()
        .flatten()
        .find(|request| request.key == key);
    let live = s
        .device
        .live(s.now)
        .filter(|live| live.key_fingerprint == key);
    if shown.is_none() && live.is_none() {
        // The key was approved before anybody asked.
        return Ok(());
    }
    let approved: Vec<String> = shown
        .map(|shown| shown.names.clone())
        .into_iter()
        .chain(live.map(|live| live.names.to_texts()))
        .flatten()
        .collect();
    names_are_among(s, &approved)
}

fn names_are_among(s: &Situation<'_>, approved: &[String]) -> Result<(), Refusal> {
    match names(s)?
        .to_texts()
        .into_iter()
        .find(|name| !approved.contains(name))
    {
        None => Ok(()),
        Some(name) => refuse(
            Reason::NameNotAllowed,
            format!(
                "the key of {} was approved for other names than {name}: ask for the names in status.pendingRequest, or make a new key \
                 and have it approved",
                s.device.id
            ),
        ),
    }
}
