//! One-time tokens: what their text looks like, and whether one is good for a device and key now.

use std::{fmt, str::FromStr};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jiff::{SignedDuration, Timestamp};
use regex::bytes::Regex;
use zeroize::Zeroizing;

use super::{Reason, Refusal, RegistrationId, id_rule::whole_match};
use crate::{
    api::{EnrollmentToken, TokenConsumption},
    pki::Fingerprint,
};

/// What the text of every token begins with, by which it is told from a password.
pub const PREFIX: &str = "dct.";
/// Random bytes in a token: guessing one is hopeless, so a plain hash of it is safe to keep.
const SECRET_BYTES: usize = 32;
/// How long the device that used a token may use it again, because an answer was lost.
const RETRY: SignedDuration = SignedDuration::from_mins(10);

/// The text of a token: `dct.NAME.SECRET`. NAME is that of the EnrollmentToken object.
pub struct TokenText {
    name: String,
    text: Zeroizing<String>,
}

impl TokenText {
    /// The token of an object with this name. `secret` must be fresh random bytes.
    pub fn new(name: &str, secret: &[u8; SECRET_BYTES]) -> Self {
        let secret = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(secret));
        Self {
            name: name.into(),
            text: Zeroizing::new(format!("{PREFIX}{name}.{}", secret.as_str())),
        }
    }

    /// Reads a token. `None` if it is none; what it was is not repeated.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, secret) = text.strip_prefix(PREFIX)?.split_once('.')?;
        let is_name = (1..=63).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(secret).ok()?);
        (is_name && bytes.len() == SECRET_BYTES).then(|| Self {
            name: name.into(),
            text: Zeroizing::new(text.into()),
        })
    }

    /// The name of the EnrollmentToken.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The token, for the one place where it is printed.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the token: what the object keeps.
    pub fn hash(&self) -> Fingerprint {
        Fingerprint::of(self.text.as_bytes())
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenText({})", self.name)
    }
}

/// An EnrollmentToken, compiled.
#[derive(Clone, Debug)]
pub struct Token {
    /// metadata.name.
    pub name: String,
    group: String,
    scope: Scope,
    expires_at: Timestamp,
    hash: Fingerprint,
    consumed: Option<Consumed>,
}

#[derive(Clone, Debug)]
enum Scope {
    Id(RegistrationId),
    Pattern(Regex),
}

#[derive(Clone, Debug)]
struct Consumed {
    at: Timestamp,
    id: RegistrationId,
}

/// Whether a token is used for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// It must be consumed before anything is signed.
    First,
    /// The device that consumed it finishes, or tries again.
    Again,
}

impl Token {
    /// Compiles a token. One that cannot be read is good for nothing.
    pub fn compile(object: &EnrollmentToken) -> Result<Self, Refusal> {
        let name = object.metadata.name.clone().unwrap_or_default();
        let invalid = |why: &dyn fmt::Display| {
            Refusal::new(
                Reason::WrongToken,
                format!(
                    "the EnrollmentToken {name} cannot be used ({why}): make another with kubectl devicecert token"
                ),
            )
        };
        let spec = &object.spec;
        let scope = match (&spec.registration_id, &spec.registration_id_pattern) {
            (Some(id), None) => {
                Scope::Id(RegistrationId::parse(id).map_err(|e| invalid(&e.message))?)
            }
            (None, Some(pattern)) => Scope::Pattern(whole_match(pattern).map_err(|e| invalid(&e))?),
            _ => return Err(invalid(&"it names no device")),
        };
        let consumed = object
            .status
            .as_ref()
            .and_then(|status| status.consumed.as_ref());
        Ok(Self {
            group: spec.group_ref.name.clone(),
            scope,
            expires_at: spec
                .expires_at
                .as_ref()
                .map(|time| time.0)
                .ok_or_else(|| invalid(&"it has no end"))?,
            hash: Fingerprint::from_str(&spec.token_hash).map_err(|e| invalid(&e))?,
            consumed: consumed
                .map(|consumed| read(consumed).map_err(|e| invalid(&e.message)))
                .transpose()?,
            name,
        })
    }

    /// Whether this is the token, and for this group. Takes the same time however much of it is right.
    pub fn proves(&self, text: &TokenText, group: &str) -> bool {
        verify_slices_are_equal(self.hash.as_bytes(), text.hash().as_bytes()).is_ok()
            && self.is_for(group)
    }

    /// Whether it is for this group.
    pub fn is_for(&self, group: &str) -> bool {
        self.group == group
    }

    /// The one ID that it is for, where it is for one.
    pub fn id(&self) -> Option<&RegistrationId> {
        match &self.scope {
            Scope::Id(id) => Some(id),
            Scope::Pattern(_) => None,
        }
    }

    /// Whether a device may use it now. `newest` is who got the newest live certificate of the device, and when: if that was
    /// somebody else after the token was consumed, the token's own certificate has been used to renew.
    pub fn judge(
        &self,
        id: &RegistrationId,
        newest: Option<(&str, Timestamp)>,
        now: Timestamp,
    ) -> Result<TokenUse, Refusal> {
        let refuse = |reason, message: String| Err(Refusal::new(reason, message));
        let fits = match &self.scope {
            Scope::Id(own) => own == id,
            Scope::Pattern(pattern) => pattern.is_match(id.folded().as_bytes()),
        };
        if !fits {
            return refuse(
                Reason::IdNotAllowed,
                format!(
                    "the token {} is not for the registration ID {id}",
                    self.name
                ),
            );
        }
        let Some(consumed) = &self.consumed else {
            if self.expires_at <= now {
                return refuse(
                    Reason::TokenExpired,
                    format!(
                        "the token {} expired at {}: ask for another",
                        self.name, self.expires_at
                    ),
                );
            }
            return Ok(TokenUse::First);
        };
        // Times are in whole seconds; within the same one only a renewal is told from what was there before.
        let presented = newest.is_some_and(|(by, issued)| {
            let (issued, consumed) = (issued.as_second(), consumed.at.as_second());
            by != requester(&self.name)
                && (issued > consumed || issued == consumed && by.starts_with("Device/"))
        });
        // Either way: a clock that was set back must not give the token another day.
        let is_late = now.duration_since(consumed.at).abs() > RETRY;
        if consumed.id != *id || presented || is_late {
            return refuse(
                Reason::TokenConsumed,
                format!("the token {} was used already: ask for another", self.name),
            );
        }
        Ok(TokenUse::Again)
    }
}

/// How the record names a token as the requester.
pub fn requester(name: &str) -> String {
    format!("Token/{name}")
}

fn read(consumed: &TokenConsumption) -> Result<Consumed, Refusal> {
    Ok(Consumed {
        at: consumed.at.0,
        id: RegistrationId::parse(&consumed.registration_id)?,
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::{EnrollmentTokenSpec, EnrollmentTokenStatus, LocalRef};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn id(text: &str) -> RegistrationId {
        RegistrationId::parse(text).unwrap()
    }

    fn token(pattern: Option<&str>, consumed_at: Option<i64>) -> Token {
        let mut object = EnrollmentToken::new(
            "t1",
            EnrollmentTokenSpec {
                group_ref: LocalRef { name: "g".into() },
                registration_id: pattern.is_none().then(|| "camera-1".into()),
                registration_id_pattern: pattern.map(str::to_owned),
                expires_at: Some(Time(at(1000))),
                token_hash: TokenText::new("t1", &[7; 32]).hash().to_string(),
            },
        );
        object.status = consumed_at.map(|second| EnrollmentTokenStatus {
            consumed: Some(TokenConsumption {
                at: Time(at(second)),
                registration_id: "camera-1".into(),
                key_fingerprint: "00".repeat(32),
            }),
        });
        Token::compile(&object).unwrap()
    }

    #[test]
    fn the_text_of_a_token_is_read_as_it_was_made_and_never_printed() {
        let made = TokenText::new("t1", &[7; 32]);
        let read = TokenText::parse(made.reveal()).unwrap();
        assert_eq!((read.name(), read.hash()), ("t1", made.hash()));
        assert!(!format!("{read:?}").contains("BwcH"));
        for text in [
            "",
            "dct.",
            "dct.t1",
            "dct.t1.short",
            "dct.T1.BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc",
            "estpwd",
        ] {
            assert!(TokenText::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_the_very_token_proves_and_only_in_its_group() {
        let token = token(None, None);
        assert!(token.proves(&TokenText::new("t1", &[7; 32]), "g"));
        assert!(!token.proves(&TokenText::new("t1", &[8; 32]), "g"));
        assert!(!token.proves(&TokenText::new("t1", &[7; 32]), "other"));
    }

    #[test]
    fn a_token_is_good_once_for_its_device_until_it_expires() {
        let fresh = token(None, None);
        assert_eq!(
            fresh.judge(&id("Camera-1"), None, at(999)),
            Ok(TokenUse::First)
        );
        assert_eq!(
            fresh
                .judge(&id("camera-2"), None, at(999))
                .unwrap_err()
                .reason,
            Reason::IdNotAllowed
        );
        assert_eq!(
            fresh
                .judge(&id("camera-1"), None, at(1000))
                .unwrap_err()
                .reason,
            Reason::TokenExpired
        );
        let many = token(Some("camera-[0-9]+"), None);
        assert_eq!(
            many.judge(&id("camera-9"), None, at(1)),
            Ok(TokenUse::First)
        );
        assert_eq!(
            many.judge(&id("camera-x"), None, at(1)).unwrap_err().reason,
            Reason::IdNotAllowed
        );
    }

    #[test]
    fn whoever_consumed_it_may_try_again_for_ten_minutes_or_until_the_certificate_is_used() {
        let used = token(Some("camera-.*"), Some(900));
        let reason = |result: Result<TokenUse, Refusal>| result.unwrap_err().reason;
        assert_eq!(
            used.judge(&id("camera-1"), None, at(1500)),
            Ok(TokenUse::Again)
        );
        assert_eq!(
            used.judge(&id("camera-1"), Some(("Token/t1", at(901))), at(1500)),
            Ok(TokenUse::Again)
        );
        // The process was killed after the token was consumed; the device has an older certificate.
        assert_eq!(
            used.judge(&id("camera-1"), Some(("Device/00", at(800))), at(1500)),
            Ok(TokenUse::Again)
        );
        assert_eq!(
            reason(used.judge(&id("camera-1"), Some(("Device/00", at(901))), at(902))),
            Reason::TokenConsumed
        );
        assert_eq!(
            reason(used.judge(&id("camera-1"), None, at(1501))),
            Reason::TokenConsumed
        );
        // The clock was set back.
        assert_eq!(
            reason(used.judge(&id("camera-1"), None, at(299))),
            Reason::TokenConsumed
        );
        assert_eq!(
            reason(used.judge(&id("camera-2"), None, at(901))),
            Reason::TokenConsumed
        );
    }
}
