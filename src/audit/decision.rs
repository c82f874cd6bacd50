//! The schema of an audit event; docs/audit.md explains it to its readers. Every text and list in it is bounded.

use std::{borrow::Cow, net::IpAddr};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::{
    cluster,
    pki::{Certificate, Csr, SubjectAltNames, SubjectPublicKey},
    policy::{GroupKey, Principal, Reason},
};

/// How many alternative names one event tells.
const MOST_NAMES: usize = 64;

/// One decision. What is not known is left out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// Names this event alone: 32 hexadecimal digits.
    pub id: String,
    /// Through which door was asked: `est`, or `operator` for a device whose key the operator keeps.
    pub door: &'static str,
    /// `enroll`, `reenroll` or `serverKeygen` over EST, `issue` by the operator.
    pub operation: &'static str,
    /// The address of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// The EST label that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Text<128>>,
    /// The group whose rules held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupRef>,
    /// Who asked, as proven. Nobody proved anything where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalFacts>,
    /// The name of the DeviceIdentity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Text<253>>,
    /// What was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<Requested>,
    /// How it was decided.
    pub outcome: Outcome,
    /// Why, in one word.
    #[serde(serialize_with = "word")]
    pub reason: Reason,
    /// Why, in a sentence.
    pub message: Text<1024>,
    /// The certificate, where one was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<GrantedCertificate>,
}

/// How a request was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// A certificate was recorded and released.
    Granted,
    /// There is none.
    Refused,
    /// A person must approve first.
    Pending,
}

impl Outcome {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Pending => "pending",
        }
    }
}

/// A group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupRef {
    namespace: Text<63>,
    name: Text<253>,
}

impl From<&GroupKey> for GroupRef {
    fn from(key: &GroupKey) -> Self {
        Self {
            namespace: Text::new(&key.namespace),
            name: Text::new(&key.name),
        }
    }
}

/// Who asked, as proven.
#[derive(Clone, Debug, Serialize)]
pub struct PrincipalFacts {
    /// The kind of proof: `Device`, `Password`, `Operator`, …
    #[serde(rename = "type")]
    kind: Text<64>,
    /// The user, where the proof is that of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Text<255>>,
    /// SHA-256 of the certificate that was presented.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

impl From<&Principal> for PrincipalFacts {
    fn from(principal: &Principal) -> Self {
        // A principal is written as its kind, and after a slash the name or fingerprint that was proved.
        let text = principal.to_string();
        let certificate = principal.certificate();
        let name = text.split_once('/').map(|(_, name)| name);
        Self {
            kind: Text::new(principal.kind()),
            name: name.filter(|_| certificate.is_none()).map(Text::new),
            fingerprint: certificate.map(|certificate| certificate.fingerprint().to_string()),
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requested {
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Text<1024>>,
    subject_alt_names: Names,
    key_algorithm: String,
    key_fingerprint: String,
}

impl From<&Csr> for Requested {
    fn from(csr: &Csr) -> Self {
        Self {
            subject: Some(Text::new(csr.subject())),
            subject_alt_names: Names::from(csr.sans()),
            ..Self::from(csr.key())
        }
    }
}

impl From<&SubjectPublicKey> for Requested {
    fn from(key: &SubjectPublicKey) -> Self {
        Self {
            subject: None,
            subject_alt_names: Names(Vec::new()),
            key_algorithm: key.algorithm().to_string(),
            key_fingerprint: key.fingerprint().to_string(),
        }
    }
}

/// The certificate that was granted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantedCertificate {
    serial_number: String,
    fingerprint: String,
    issuer: Text<1024>,
    subject: Text<1024>,
    subject_alt_names: Names,
    not_before: String,
    not_after: String,
}

impl From<&Certificate> for GrantedCertificate {
    fn from(certificate: &Certificate) -> Self {
        let validity = certificate.validity();
        Self {
            serial_number: certificate.serial().to_string(),
            fingerprint: certificate.fingerprint().to_string(),
            issuer: Text::new(certificate.issuer()),
            subject: Text::new(certificate.subject()),
            subject_alt_names: Names::from(certificate.sans()),
            not_before: validity.not_before.to_string(),
            not_after: validity.not_after.to_string(),
        }
    }
}

/// Alternative names, at most 64; a last `…` stands for more.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Names(Vec<Text<300>>);

impl From<&SubjectAltNames> for Names {
    fn from(names: &SubjectAltNames) -> Self {
        let all = names.to_texts();
        let mut told: Vec<_> = all.iter().take(MOST_NAMES).map(Text::new).collect();
        if all.len() > MOST_NAMES {
            told.push(Text::new("…"));
        }
        Self(told)
    }
}

/// Text of at most so many characters. What is longer ends in `…`; control characters become U+FFFD, so that nothing in an
/// event can move the cursor of whoever reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<const MOST: usize>(String);

impl<const MOST: usize> Text<MOST> {
    /// Cuts and cleans.
    pub fn new(text: impl ToString) -> Self {
        let text = text.to_string();
        let clean = |c: char| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        };
        if text.chars().nth(MOST).is_none() {
            return Self(text.chars().map(clean).collect());
        }
        let cut = text.chars().take(MOST.saturating_sub(1)).map(clean);
        Self(cut.chain(['…']).collect())
    }
}

impl<const MOST: usize> Serialize for Text<MOST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<const MOST: usize> std::fmt::Display for Text<MOST> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Decision {
    /// A time as it stands in an event, to the microsecond.
    pub fn time(moment: Timestamp) -> String {
        format!("{moment:.6}")
    }

    /// A name for a new event.
    pub fn new_id() -> String {
        format!("{:016x}{:016x}", cluster::random(), cluster::random())
    }

    /// What it is about: the namespace and name of the device, or of the group.
    pub(super) fn subject(&self) -> Option<String> {
        let group = self.group.as_ref()?;
        let name = match &self.device {
            Some(device) => device.to_string(),
            None => group.name.to_string(),
        };
        Some(format!("{}/{name}", group.namespace))
    }

    /// The event as one line, with its end.
    pub(super) fn to_line(&self) -> Cow<'static, str> {
        match serde_json::to_string(self) {
            Ok(mut line) => {
                line.push('\n');
                line.into()
            }
            // Our types have string keys only, which is all that could fail here.
            Err(_) => "{\"outcome\":\"refused\",\"reason\":\"Internal\"}\n".into(),
        }
    }
}

fn word<S: Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refused(message: &str) -> Decision {
        Decision {
            time: Decision::time("2026-01-02T03:04:05Z".parse().unwrap()),
            id: "0".repeat(32),
            door: "est",
            operation: "enroll",
            peer: Some("192.0.2.7".parse().unwrap()),
            label: Some(Text::new("factory")),
            group: Some(GroupRef::from(&"ns/g".parse::<GroupKey>().unwrap())),
            principal: Some(PrincipalFacts::from(&Principal::Password {
                user: "a/b".into(),
            })),
            device: None,
            requested: None,
            outcome: Outcome::Refused,
            reason: Reason::WrongPassword,
            message: Text::new(message),
            granted: None,
        }
    }

    #[test]
    fn the_names_of_fields_are_a_contract() {
        let line: Value = serde_json::from_str(&refused("No.").to_line()).unwrap();
        let expected = json!({
            "time": "2026-01-02T03:04:05.000000Z",
            "id": "00000000000000000000000000000000",
            "door": "est",
            "operation": "enroll",
            "peer": "192.0.2.7",
            "label": "factory",
            "group": { "namespace": "ns", "name": "g" },
            "principal": { "type": "Password", "name": "a/b" },
            "outcome": "refused",
            "reason": "WrongPassword",
            "message": "No.",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn one_event_is_one_line_of_bounded_length_whatever_is_in_it() {
        let hostile = format!("\n\r\u{7f}\u{9b}31m\"{}", "\u{1f980}".repeat(5000));
        let line = refused(&hostile).to_line();
        assert_eq!(line.matches('\n').count(), 1);
        assert!(
            line.ends_with("…\"}\n") && line.len() < 6000,
            "{}",
            line.len()
        );
        assert!(!line.trim_end().chars().any(char::is_control));
    }

    #[test]
    fn text_at_its_limit_is_whole() {
        assert_eq!(Text::<4>::new("abcd").to_string(), "abcd");
        assert_eq!(Text::<4>::new("abcde").to_string(), "abc…");
        assert_eq!(Text::<4>::new("ä\nöü").to_string(), "ä\u{fffd}öü");
    }

    #[test]
    fn many_names_are_cut() {
        let names: Vec<String> = (0..100).map(|n| format!("h{n}.example.com")).collect();
        let names = SubjectAltNames::parse(&names, &[], &[]).unwrap();
        let told = Names::from(&names);
        assert_eq!(told.0.len(), MOST_NAMES + 1);
        assert_eq!(told.0.last(), Some(&Text::new("…")));
    }

    #[test]
    fn ids_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| Decision::new_id()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
