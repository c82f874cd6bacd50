//! Registration IDs, and the fixed function from an ID to the name of its DeviceIdentity.

use std::fmt;

use super::{Reason, Refusal};
use crate::pki::Fingerprint;

/// How many characters an ID may have: the upper bound of an X.509 common name.
const LONGEST: usize = 64;

/// A device's ID: letters, digits and `-._:`, beginning and ending with a letter or digit, at most 64 characters.
/// Upper and lower case are the same ID; the spelling of the first registration is kept for the certificate.
#[derive(Clone, Debug)]
pub struct RegistrationId {
    spelled: String,
    folded: String,
}

impl RegistrationId {
    /// Parses an ID. Never shortens one.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = |message: String| Err(Refusal::new(Reason::InvalidRegistrationId, message));
        if text.is_empty() {
            return refuse(
                "the registration ID is empty: put the device's ID into the CSR's common name (CN)"
                    .into(),
            );
        }
        if text.len() > LONGEST {
            return refuse(format!(
                "the registration ID has {} characters: use at most {LONGEST}, it is never cut",
                text.chars().count()
            ));
        }
        if let Some(bad) = text
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || "-._:".contains(*c)))
        {
            return refuse(format!(
                "the registration ID {text:?} has the character {bad:?}: use letters, digits and -._: only"
            ));
        }
        let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        if !ends_well(text.chars().next()) || !ends_well(text.chars().next_back()) {
            return refuse(format!(
                "the registration ID {text:?} must begin and end with a letter or digit"
            ));
        }
        let folded = text.to_ascii_lowercase();
        if folded.starts_with("system:") {
            return refuse(
                "registration IDs that begin with 'system:' are kept for Kubernetes itself".into(),
            );
        }
        Ok(Self {
            spelled: text.into(),
            folded,
        })
    }

    /// The ID as it was first spelled; what goes into certificates.
    pub fn as_str(&self) -> &str {
        &self.spelled
    }

    /// The ID in lower case; what comparisons and patterns see.
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// The one metadata.name that this ID may have: the ID in lower case where that is a DNS name (RFC 1123) and could
    /// not be mistaken for a made name, else a readable part and ten hexadecimal digits of the ID's SHA-256. Different
    /// IDs that are DNS names never share a name; made names end in a mark (`--x` and the digits) that no such ID has.
    pub fn object_name(&self) -> String {
        if is_dns_name(&self.folded) && !looks_made(&self.folded) {
            return self.folded.clone();
        }
        let digest = Fingerprint::of(self.folded.as_bytes()).to_string();
        let hash: String = digest.chars().take(10).collect();
        let mut readable: String = self
            .folded
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        readable.truncate(40);
        format!("{}--x{hash}", readable.trim_end_matches('-'))
    }
}

impl PartialEq for RegistrationId {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for RegistrationId {}

impl fmt::Display for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelled)
    }
}

/// Whether this can be the name of an object (RFC 1123 subdomain).
pub(super) fn is_dns_name(name: &str) -> bool {
    name.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    })
}

fn looks_made(name: &str) -> bool {
    name.rsplit_once("--x")
        .is_some_and(|(_, hash)| hash.len() == 10 && hash.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(id: &str) -> String {
        RegistrationId::parse(id).unwrap().object_name()
    }

    #[test]
    fn an_id_that_is_a_dns_name_is_its_own_object_name() {
        assert_eq!(name("sensor-1"), "sensor-1");
        assert_eq!(name("Sensor-1.Line4"), "sensor-1.line4");
    }

    #[test]
    fn other_ids_get_a_readable_name_with_a_hash() {
        let made = name("AA:BB:CC");
        assert!(
            made.starts_with("aa-bb-cc--x") && looks_made(&made),
            "{made}"
        );
        assert_ne!(name("a:b"), name("a_b"));
        assert_ne!(name("a:b"), "a-b");
    }

    #[test]
    fn an_id_cannot_pose_as_the_made_name_of_another() {
        let made = name("aa:bb:cc");
        assert_ne!(name(&made), made);
    }

    #[test]
    fn bad_ids_are_refused_in_words() {
        for (id, word) in [
            ("", "empty"),
            (&"x".repeat(65) as &str, "at most 64"),
            ("iotedged workload ca edge1", "character ' '"),
            ("-a", "begin and end"),
            ("system:admin", "Kubernetes"),
            ("System:Admin", "Kubernetes"),
            ("dév", "character 'é'"),
        ] {
            let refusal = RegistrationId::parse(id).unwrap_err();
            assert_eq!(refusal.reason, Reason::InvalidRegistrationId);
            assert!(refusal.message.contains(word), "{id}: {}", refusal.message);
        }
    }

    proptest! {
        #[test]
        fn every_object_name_is_a_dns_name_and_follows_the_case_folded_id(id in "[A-Za-z0-9][A-Za-z0-9._:-]{0,62}[A-Za-z0-9]") {
            if let Ok(parsed) = RegistrationId::parse(&id) {
                prop_assert!(is_dns_name(&parsed.object_name()), "{}", parsed.object_name());
                prop_assert_eq!(parsed.object_name(), name(&id.to_ascii_uppercase().to_ascii_lowercase()));
            }
        }

        #[test]
        fn different_ids_have_different_object_names(a in "[a-z0-9][a-z0-9.:_-]{0,8}[a-z0-9]", b in "[a-z0-9][a-z0-9.:_-]{0,8}[a-z0-9]") {
            prop_assume!(a != b);
            prop_assert_ne!(name(&a), name(&b));
        }
    }
}
