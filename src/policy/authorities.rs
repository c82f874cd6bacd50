//! Whether the authorities that a group names are there: its own with room for what the profile makes, and those of its ways in.

use super::{Authority, Group, Reason, Refusal};
use crate::pki::Role;

impl Group {
    /// Refuses an authority whose path length leaves no room for the CAs that the group makes. RFC 5280 §4.2.1.9.
    pub fn check_fits_below(&self, authority: &Authority) -> Result<(), Refusal> {
        let Role::Authority { path_length } = self.role else {
            return Ok(());
        };
        let below = path_length.unwrap_or(0);
        match authority.usable()?.path_length() {
            Some(room) if room <= below => Err(Refusal::new(
                Reason::AuthorityNotAllowed,
                format!(
                    "CertificateAuthority {}/{} has pathLength {room}, so it cannot certify a CA with pathLength {below}: let the \
                     group use an authority without pathLength or with a greater one",
                    authority.namespace, authority.name
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Refuses a way in that nobody can take, because an authority that it names is missing, or not ready. This is for the
    /// group's condition: the other ways in are not affected.
    pub fn check_ways_in(&self, find: impl Fn(&str) -> Option<Authority>) -> Result<(), Refusal> {
        let found = |field: &str, name: &str| {
            find(name).ok_or_else(|| {
                self.closed(
                    Reason::AuthorityNotFound,
                    &format!(
                        "{field} names the CertificateAuthority {}/{name}, which does not exist: create it, or correct the name",
                        self.namespace
                    ),
                )
            })
        };
        for name in self.bootstrap.iter().flat_map(|rules| &rules.authorities) {
            let field = "authentication.bootstrap.authorityRefs";
            if let Err(why) = found(field, name)?.usable() {
                return Err(self.closed(why.reason, &format!("{field}: {}", why.message)));
            }
        }
        for rule in &self.registration_authorities {
            let field = "authentication.registrationAuthorities";
            // One that is suspended has signed certificates that still speak for others.
            if found(field, &rule.authority)?.certificate.is_none() {
                let name = &rule.authority;
                let why = format!(
                    "{field}: CertificateAuthority {}/{name} has no certificate yet",
                    self.namespace
                );
                return Err(self.closed(Reason::AuthorityNotReady, &why));
            }
        }
        Ok(())
    }

    fn closed(&self, reason: Reason, why: &str) -> Refusal {
        Refusal::new(
            reason,
            format!(
                "{why}. Until then this way in is closed; the group's other ways, and renewals, are open"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{api::EnrollmentGroup, pki::fixtures::Ca};

    fn group(more: serde_json::Value) -> Group {
        let mut object = EnrollmentGroup::new("g", Default::default());
        let mut spec = json!({ "authorityRef": { "name": "ca" } });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        object.spec = serde_json::from_value(spec).unwrap();
        object.metadata.namespace = Some("ns".into());
        Group::compile(&object).unwrap()
    }

    fn authority(name: &str, ready: bool) -> Authority {
        Authority {
            namespace: "ns".into(),
            name: name.into(),
            certificate: Some(Ca::root(&format!("CN={name}")).certificate),
            hindrance: (!ready).then(|| Refusal::new(Reason::AuthorityNotReady, "it is not ready")),
            terminating: false,
        }
    }

    #[test]
    fn an_authority_of_a_way_in_must_exist_and_be_ready() {
        let bootstrap = group(
            json!({ "authentication": { "bootstrap": { "authorityRefs": [{ "name": "vendor" }] } } }),
        );
        let missing = bootstrap.check_ways_in(|_| None).unwrap_err();
        assert_eq!(missing.reason, Reason::AuthorityNotFound);
        assert!(missing.message.starts_with(
            "authentication.bootstrap.authorityRefs names the CertificateAuthority ns/vendor, which does not exist: create it"
        ));
        let waiting = bootstrap.check_ways_in(|name| Some(authority(name, false)));
        assert_eq!(waiting.unwrap_err().reason, Reason::AuthorityNotReady);
        let there = bootstrap.check_ways_in(|name| Some(authority(name, true)));
        assert_eq!(there, Ok(()));
        assert_eq!(group(json!({})).check_ways_in(|_| None), Ok(()));
    }

    #[test]
    fn an_authority_of_registration_authorities_must_have_a_certificate() {
        let listed = json!([{ "authorityRef": { "name": "line" }, "subject": "CN=ra" }]);
        let group = group(json!({ "authentication": { "registrationAuthorities": listed } }));
        let missing = group.check_ways_in(|_| None).unwrap_err();
        assert_eq!(missing.reason, Reason::AuthorityNotFound);
        assert!(
            missing
                .message
                .contains("authentication.registrationAuthorities names")
        );
        let none_yet = |name: &str| {
            let mut authority = authority(name, true);
            authority.certificate = None;
            Some(authority)
        };
        let waiting = group.check_ways_in(none_yet).unwrap_err();
        assert_eq!(waiting.reason, Reason::AuthorityNotReady);
        let suspended = group.check_ways_in(|name| Some(authority(name, false)));
        assert_eq!(suspended, Ok(()));
    }
}
