//! The names in a certificate: a first one has the profile's, a renewal keeps what is recorded, and nobody gets another's.

use super::{Principal, Reason, Refusal, Situation, refuse};
use crate::{
    api,
    pki::{ChangeSubjectName, Csr, Name, SubjectAltNames},
};

/// How many alternative names a certificate may have, and how long the text of one may be: what the record holds.
const MOST_NAMES: usize = 96;
const LONGEST_NAME: usize = 512;
/// How long a subject on record may be.
const LONGEST_SUBJECT: usize = 2048;

/// A renewal keeps the recorded subject; a first certificate has the profile's.
pub(super) fn subject(s: &Situation<'_>) -> Result<Name, Refusal> {
    let profile = s
        .group
        .subject
        .render(&[
            ("registrationId", s.device.id.as_str()),
            ("device", s.group.ids.device_of(&s.device.id)),
            ("namespace", &s.group.namespace),
            ("group", &s.group.name),
        ])
        .map_err(|e| {
            Refusal::new(
                Reason::GroupInvalid,
                format!("spec.profile.subject for {}: {e}", s.device.id),
            )
        })?;
    let subject = match s.principal {
        // Its very bytes, whatever is on record by now: the chain of a device that compares names byte for byte goes on.
        Principal::Device { certificate, .. } => certificate.subject().clone(),
        _ => s
            .device
            .live(s.now)
            .map_or_else(|| profile.clone(), |newest| newest.subject.clone()),
    };
    let Some(csr) = s.asked.csr() else {
        return Ok(subject);
    };
    if let Some(new) = new_names(s)?.and_then(|names| names.subject.as_ref()) {
        // What is certified is the profile's in any case, so it only has to be the same device's.
        let id = new.common_name().map(|name| s.group.ids.id_of(&name));
        return match id {
            Some(Ok(id)) if id == s.device.id => Ok(profile),
            _ => refuse(
                Reason::SubjectMismatch,
                format!(
                    "ChangeSubjectName asks for the subject {new}: its common name must be the registration ID {}",
                    s.device.id
                ),
            ),
        };
    }
    let asked = csr.subject();
    let mismatch = |message: String| refuse(Reason::SubjectMismatch, message);
    let names_the_device = || {
        let id = asked.common_name().map(|name| s.group.ids.id_of(&name));
        matches!(id, Some(Ok(id)) if id == s.device.id)
    };
    match s.principal {
        Principal::Device { certificate, .. } => {
            let known = asked.same_text(certificate.subject())
                || asked.same_text(&subject)
                || s.device
                    .current
                    .as_ref()
                    .and_then(|newest| newest.requested_subject.as_ref())
                    .is_some_and(|old| old.same_text(asked));
            if known {
                return Ok(subject);
            }
            mismatch(format!(
                "the CSR asks for the subject {asked}, but the certificate that is being renewed has {}: a renewal \
                 repeats the subject (RFC 7030 section 4.2.2)",
                certificate.subject()
            ))
        }
        _ if names_the_device() => Ok(subject),
        // Whoever is bound to one ID need not repeat it.
        Principal::Bootstrap { .. } | Principal::Token { .. } | Principal::Operator
            if asked.is_empty() =>
        {
            Ok(subject)
        }
        Principal::Operator => mismatch(format!(
            "spec.request asks for the subject {asked}: its common name must be the registration ID {}",
            s.device.id
        )),
        _ => mismatch(format!(
            "the CSR's common name must be the registration ID {}",
            s.device.id
        )),
    }
}

/// The names that a renewal is to change to, where the group lets it. RFC 7030 §4.2.2, RFC 6402 §2.8.
fn new_names<'a>(s: &Situation<'a>) -> Result<Option<&'a ChangeSubjectName>, Refusal> {
    let asked = s.asked.csr().and_then(Csr::change_subject_name);
    match (asked, s.group.change_subject_name) {
        (None, _) => Ok(None),
        (Some(_), _) if !matches!(s.principal, Principal::Device { .. }) => refuse(
            Reason::SubjectMismatch,
            "ChangeSubjectName is for renewals: authenticate with the device's certificate, or leave it out".into(),
        ),
        (Some(_), api::ChangeSubjectName::Refused) => refuse(
            Reason::SubjectMismatch,
            "this group lets no renewal change its names: leave ChangeSubjectName out of the CSR".into(),
        ),
        (Some(new), api::ChangeSubjectName::Allowed) => Ok(Some(new)),
    }
}

/// A renewal by certificate keeps the recorded alternative names; otherwise they are what the CSR and the owner ask.
pub(super) fn names(s: &Situation<'_>) -> Result<SubjectAltNames, Refusal> {
    let asked = s
        .asked
        .csr()
        .map(|csr| csr.sans().clone())
        .unwrap_or_default();
    let Principal::Device { certificate, .. } = s.principal else {
        return Ok(asked.union(&s.device.declared_names));
    };
    if let Some(new) = new_names(s)?.filter(|new| !new.sans.is_empty()) {
        return Ok(new.sans.clone());
    }
    let recorded = certificate.sans();
    if asked.is_subset_of(recorded) {
        return Ok(recorded.clone());
    }
    refuse(
        Reason::SubjectMismatch,
        "the CSR asks for a subject alternative name that the certificate being renewed does not have: a renewal repeats \
         the names (RFC 7030 section 4.2.2)"
            .into(),
    )
}

/// Refuses names that the record cannot hold.
pub(super) fn names_fit_on_record(names: &SubjectAltNames) -> Result<(), Refusal> {
    let texts = names.to_texts();
    if texts.len() > MOST_NAMES || texts.iter().any(|text| text.len() > LONGEST_NAME) {
        return refuse(
            Reason::NameNotAllowed,
            format!(
                "ask for at most {MOST_NAMES} subject alternative names of at most {LONGEST_NAME} characters each"
            ),
        );
    }
    Ok(())
}

/// Whether a subject survives being written down and read again. One that does not is not recorded: its device renews with
/// the subject of its certificate.
pub(super) fn can_be_recorded(subject: &Name) -> bool {
    let text = subject.to_string();
    text.len() <= LONGEST_SUBJECT && Name::parse(&text).is_ok_and(|again| again.same_text(subject))
}
