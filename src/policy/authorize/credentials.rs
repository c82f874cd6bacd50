//! What each kind of credential may do: which IDs it may claim, whether it may register one, and what it may do to one that
//! has a certificate already.

use jiff::SignedDuration;

use super::{Principal, Purpose, Reason, Refusal, RegistrationId, Situation, refuse};
use crate::{
    api::{Existing, Registration},
    policy::{Group, Recorded, TokenUse, pinned},
};

/// How long a password user may retry with a new key after an answer was lost.
const RETRY_WITH_NEW_KEY: SignedDuration = SignedDuration::from_mins(10);

/// Whether these credentials may register an ID that is not known yet.
pub fn may_register(
    principal: &Principal,
    group: &Group,
    id: &RegistrationId,
) -> Result<(), Refusal> {
    let (way, registration) = match principal {
        Principal::Password { .. } => (
            "passwords",
            group.passwords.as_ref().map(|rules| rules.registration),
        ),
        Principal::Bootstrap { .. } => (
            "bootstrap",
            group.bootstrap.as_ref().map(|rules| rules.registration),
        ),
        Principal::Token { .. } => (
            "tokens",
            group.tokens.as_ref().map(|rules| rules.registration),
        ),
        Principal::RegistrationAuthority { .. } => return Ok(()),
        // Both have a device already.
        Principal::Device { .. } | Principal::Operator => ("", None),
    };
    match registration {
        Some(Registration::Open) => Ok(()),
        Some(Registration::PreRegistered) => refuse(
            Reason::NotRegistered,
            format!(
                "{id} is not registered in group {}/{}: create its DeviceIdentity first, or let the group register unknown \
                 devices (authentication.{way}.registration: Open)",
                group.namespace, group.name
            ),
        ),
        None => refuse(
            Reason::NotRegistered,
            format!(
                "{id} is not registered in group {}/{}",
                group.namespace, group.name
            ),
        ),
    }
}

/// Whether the requester may claim this ID at all.
pub(super) fn may_claim(s: &Situation<'_>) -> Result<(), Refusal> {
    let id = &s.device.id;
    match s.principal {
        Principal::Operator
        | Principal::Device { .. }
        | Principal::RegistrationAuthority { .. } => Ok(()),
        Principal::Password { user } => match &s.group.passwords {
            None => refuse(
                Reason::PasswordsDisabled,
                "this group does not accept passwords".into(),
            ),
            Some(rules) if rules.lets(user, id) => Ok(()),
            Some(_) => refuse(
                Reason::IdNotAllowed,
                format!(
                    "the user {user} may not claim the registration ID {id}: the group's authentication.passwords.users says which ones"
                ),
            ),
        },
        Principal::Token { token } => match &s.group.tokens {
            None => refuse(
                Reason::TokensDisabled,
                "this group does not accept tokens".into(),
            ),
            Some(_) => token.judge(id, newest(s), s.now).map(|_| ()),
        },
        Principal::Bootstrap {
            certificate,
            claimed,
            own_name,
        } => {
            let Some(csr) = s.asked.csr() else {
                return refuse(
                    Reason::Internal,
                    "a bootstrap certificate came without a CSR".into(),
                );
            };
            if let Some(rules) = &s.group.bootstrap {
                rules.check_not_denied(certificate)?;
            }
            let mapped = s.group.bootstrap_id(certificate, csr)?;
            if mapped != *id {
                return refuse(
                    Reason::IdNotAllowed,
                    format!(
                        "the bootstrap certificate may claim the registration ID {mapped}, not {id}: put that into the CSR's common name"
                    ),
                );
            }
            match [claimed, own_name]
                .into_iter()
                .flatten()
                .find(|other| *other != id)
            {
                None => Ok(()),
                Some(other) => Err(pinned(other, id)),
            }
        }
    }
}

/// Whether the requester may get a certificate beside, or in place of, one that is alive.
pub(super) fn may_replace(s: &Situation<'_>) -> Result<(), Refusal> {
    let Some(live) = s.device.live(s.now).filter(|_| s.purpose == Purpose::New) else {
        return Ok(());
    };
    match s.principal {
        Principal::Operator
        | Principal::Device { .. }
        | Principal::RegistrationAuthority { .. } => Ok(()),
        // Somebody made the token for this very device; one for many devices must not take a living one over.
        Principal::Token { token } if token.id().is_some() => Ok(()),
        Principal::Token { .. } => existing(s, live, Existing::SameKey, "token"),
        Principal::Password { .. } => match &s.group.passwords {
            Some(rules) => existing(s, live, rules.existing, "password"),
            None => Ok(()),
        },
        Principal::Bootstrap {
            claimed: Some(_), ..
        } => Ok(()),
        Principal::Bootstrap { .. } => match &s.group.bootstrap {
            Some(rules) => existing(s, live, rules.existing, "bootstrap certificate"),
            None => Ok(()),
        },
    }
}

fn existing(
    s: &Situation<'_>,
    live: &Recorded,
    rule: Existing,
    credentials: &str,
) -> Result<(), Refusal> {
    match rule {
        Existing::Any => Ok(()),
        Existing::Never => refuse(
            Reason::CertificateExists,
            format!(
                "{} has a live certificate: renew with that certificate instead of the {credentials}",
                s.device.id
            ),
        ),
        Existing::SameKey => {
            let key = s.asked.key().fingerprint();
            // Either way: a clock that was set back must not make the ten minutes a day.
            let lost_answer = live.requester == s.principal.to_string()
                && s.now.duration_since(live.issued_at()).abs() <= RETRY_WITH_NEW_KEY;
            if lost_answer || s.device.live_keys(s.now).any(|known| known == key) {
                return Ok(());
            }
            refuse(
                Reason::SameKeyRequired,
                format!(
                    "{} has a live certificate, and the {credentials} may renew it only with the same key: use that key, or renew \
                     with the certificate",
                    s.device.id
                ),
            )
        }
    }
}

/// Whether a token is used for the first time in this situation; `None` for other credentials.
pub(super) fn token_use(s: &Situation<'_>) -> Option<TokenUse> {
    match s.principal {
        Principal::Token { token } => token.judge(&s.device.id, newest(s), s.now).ok(),
        _ => None,
    }
}

/// Who got the newest live certificate, and when.
fn newest<'a>(s: &Situation<'a>) -> Option<(&'a str, jiff::Timestamp)> {
    s.device
        .live(s.now)
        .map(|live| (live.requester.as_str(), live.issued_at()))
}
