//! What is to be done about a CertificateAuthority: one pure function from what was observed to a plan.

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::CertificateAuthority,
    pki::{Certificate, KeyAlgorithm, Lifespan, Name, Validity},
    policy::{Authority, Reason, Refusal, Statement, key_algorithm},
    registrar::CaKey,
};

/// What was observed.
pub(super) struct Observed {
    pub object: CertificateAuthority,
    pub has_finalizer: bool,
    pub secret_name: String,
    pub key: Key,
    pub parent: Parent,
    pub dependents: Dependents,
}

/// The key Secret of the first generation.
pub(super) enum Key {
    Absent,
    Found(Box<CaKey>),
    Unreadable(String),
}

/// Who signs this authority's certificate.
pub(super) enum Parent {
    SelfSigned,
    NotFound(String),
    Unusable(String),
    Authority(Box<Authority>),
}

/// What would suffer if the authority went.
#[derive(Default)]
pub(super) struct Dependents {
    pub leaves: usize,
    pub last_leaf: Option<Timestamp>,
    pub children: usize,
}

/// What is to be done.
pub(super) enum Plan {
    /// Put our finalizer on first.
    Protect,
    /// Make a key and a certificate, both in one new Secret.
    Create(Box<NewAuthority>),
    /// The key is there: show its certificate.
    Show { adopted: bool },
    /// Nothing can be done now; say why.
    Wait {
        statement: Statement,
        again: Option<SignedDuration>,
    },
    /// Deletion may go on.
    Release,
}

/// Everything that a new CA certificate is made from, but the key and the serial.
pub(super) struct NewAuthority {
    pub subject: Name,
    pub algorithm: KeyAlgorithm,
    pub validity: Validity,
    pub path_length: Option<u8>,
}

/// Decides.
pub(super) fn decide(observed: &Observed, now: Timestamp) -> Plan {
    if observed.object.metadata.deletion_timestamp.is_some() {
        return decide_deletion(observed);
    }
    if !observed.has_finalizer {
        return Plan::Protect;
    }
    let was_issued = observed
        .object
        .status
        .as_ref()
        .and_then(|status| status.certificate.as_ref());
    match (&observed.key, was_issued) {
        (Key::Unreadable(why), _) => wait(Reason::KeyMismatch, why.clone()),
        (Key::Absent, Some(_)) => wait(
            Reason::KeyLost,
            format!(
                "the key Secret {} is missing from the operator's namespace: restore it from a backup; the operator never \
                 makes a new key under an old name. If the key is lost for good, create a new CertificateAuthority",
                observed.secret_name
            ),
        ),
        (Key::Absent, None) => {
            create(observed, now).unwrap_or_else(|refusal| wait(refusal.reason, refusal.message))
        }
        (Key::Found(key), Some(known))
            if known.fingerprint != key.certificate.fingerprint().to_string() =>
        {
            wait(
                Reason::KeyMismatch,
                format!(
                    "the key Secret {} holds another certificate than the status shows",
                    observed.secret_name
                ),
            )
        }
        (Key::Found(key), known) => match fits_spec(observed, key) {
            Ok(()) => Plan::Show {
                adopted: known.is_none(),
            },
            Err(refusal) => wait(refusal.reason, refusal.message),
        },
    }
}

fn wait(reason: Reason, message: String) -> Plan {
    // Other objects wake us when they change; a lost key may come back at any time, so it is looked for now and then.
    Plan::Wait {
        statement: Statement::no("Ready", reason, message),
        again: Some(SignedDuration::from_secs(30)),
    }
}

fn decide_deletion(observed: &Observed) -> Plan {
    let Dependents {
        leaves,
        last_leaf,
        children,
    } = &observed.dependents;
    if *leaves == 0 && *children == 0 {
        return Plan::Release;
    }
    let until = last_leaf
        .map(|end| format!(" (the last until {end})"))
        .unwrap_or_default();
    let message = format!(
        "deletion waits: {leaves} valid device certificates{until} and {children} child authorities depend on this CA. Delete \
         those DeviceIdentities and CertificateAuthorities first, or let the certificates expire"
    );
    Plan::Wait {
        statement: Statement::yes("Terminating", Reason::InUse, message),
        again: Some(SignedDuration::from_secs(5)),
    }
}

fn subject(object: &CertificateAuthority) -> Result<Name, Refusal> {
    let text = match &object.spec.subject {
        Some(subject) => subject.clone(),
        None => format!("CN={}", object.metadata.name.as_deref().unwrap_or_default()),
    };
    let name = Name::parse(&text)
        .map_err(|e| Refusal::new(Reason::InvalidSpec, format!("spec.subject: {e}")))?;
    if name.is_empty() {
        return Err(Refusal::new(
            Reason::InvalidSpec,
            "spec.subject must not be empty: RFC 5280 wants a CA to have a name",
        ));
    }
    Ok(name)
}

fn create(observed: &Observed, now: Timestamp) -> Result<Plan, Refusal> {
    let spec = &observed.object.spec;
    if spec.issued_by.as_ref().map(|parent| &parent.name) == observed.object.metadata.name.as_ref()
    {
        return Err(Refusal::new(
            Reason::InvalidSpec,
            "spec.issuedBy names this authority itself: name another, or use selfSigned",
        ));
    }
    let issuer = issuer(&observed.parent)?;
    let lifespan: Lifespan = spec
        .validity
        .parse()
        .map_err(|e| Refusal::new(Reason::InvalidSpec, format!("spec.validity: {e}")))?;
    if lifespan.as_seconds() < 60 {
        return Err(Refusal::new(
            Reason::InvalidSpec,
            "spec.validity: a CA lives at least a minute: write 60s or more",
        ));
    }
    let (validity, _) = Validity::starting(now, lifespan, issuer.map(Certificate::validity))
        .map_err(|e| Refusal::new(Reason::AuthorityNotReady, format!("the issuing CA: {e}")))?;
    let path_length = spec
        .path_length
        .and_then(|length| u8::try_from(length).ok());
    if let Some(room) = issuer.and_then(Certificate::path_length) {
        let asked = path_length.unwrap_or(u8::MAX);
        if room == 0 {
            return Err(Refusal::new(
                Reason::InvalidSpec,
                "the issuing CA has pathLength 0: it can sign devices, but no CA below it. Choose another spec.issuedBy",
            ));
        }
        if path_length.is_some() && asked >= room {
            return Err(Refusal::new(
                Reason::InvalidSpec,
                format!(
                    "the issuing CA has pathLength {room}, so spec.pathLength here may be at most {}",
                    room - 1
                ),
            ));
        }
    }
    Ok(Plan::Create(Box::new(NewAuthority {
        subject: subject(&observed.object)?,
        algorithm: key_algorithm(spec.key_algorithm),
        validity,
        path_length,
    })))
}

fn issuer(parent: &Parent) -> Result<Option<&Certificate>, Refusal> {
    match parent {
        Parent::SelfSigned => Ok(None),
        Parent::NotFound(name) => Err(Refusal::new(
            Reason::AuthorityNotFound,
            format!(
                "waits for the CertificateAuthority {name} in this namespace, which does not exist: create it, or correct spec.issuedBy"
            ),
        )),
        Parent::Unusable(why) => Err(Refusal::new(
            Reason::AuthorityNotReady,
            format!("waits for its issuer: {why}"),
        )),
        Parent::Authority(facts) if facts.terminating => Err(Refusal::new(
            Reason::InUse,
            format!(
                "the issuing CertificateAuthority {} is being deleted",
                facts.name
            ),
        )),
        Parent::Authority(facts) => match facts.usable() {
            Ok(certificate) => Ok(Some(certificate)),
            Err(refusal) => Err(Refusal::new(
                Reason::AuthorityNotReady,
                format!("waits for its issuer: {}", refusal.message),
            )),
        },
    }
}

/// An existing key must be the one that the object declares; it is never replaced by one that would fit better.
fn fits_spec(observed: &Observed, key: &CaKey) -> Result<(), Refusal> {
    let spec = &observed.object.spec;
    let mismatch = |what: String| {
        Refusal::new(
            Reason::KeyMismatch,
            format!(
                "the key Secret {} was made for this name earlier and has {what}: declare the same here, or have an \
                 administrator remove that Secret",
                observed.secret_name
            ),
        )
    };
    let declared = subject(&observed.object)?;
    if *key.certificate.subject() != declared {
        return Err(mismatch(format!(
            "the subject {}, not {declared}",
            key.certificate.subject()
        )));
    }
    if key.key.algorithm() != key_algorithm(spec.key_algorithm) {
        return Err(mismatch(format!(
            "a key of {}, not {}",
            key.key.algorithm(),
            spec.key_algorithm.as_str()
        )));
    }
    if spec.self_signed.is_some() != key.issuers.is_empty() {
        return Err(mismatch("another kind of issuer".into()));
    }
    if let (Parent::Authority(parent), Some(issuer)) = (&observed.parent, key.issuers.first())
        && parent
            .certificate
            .as_ref()
            .is_some_and(|certificate| certificate != issuer)
    {
        return Err(mismatch(format!(
            "the issuer {}, not that of spec.issuedBy",
            issuer.subject()
        )));
    }
    let path_length = spec
        .path_length
        .and_then(|length| u8::try_from(length).ok());
    if key.certificate.path_length() != path_length {
        return Err(mismatch("another pathLength".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
