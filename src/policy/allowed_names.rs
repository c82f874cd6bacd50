//! Which subject alternative names a group allows, with the device's own ID filled in.

use std::net::IpAddr;

use super::{Reason, Refusal, RegistrationId};
use crate::{api, pki::SubjectAltNames};

/// Where a part of a URI ends (RFC 3986 §3): a host that holds one of them is not the host that others read.
const URI_STOPS: &str = "/?#@";

/// The compiled `allowedNames` of a group. Empty allows nothing.
#[derive(Clone, Debug, Default)]
pub struct AllowedNames {
    dns: Vec<String>,
    ip: Vec<Network>,
    uri: Vec<String>,
}

impl AllowedNames {
    /// Compiles what a user wrote; an entry that cannot be understood is an error, never an omission.
    pub fn parse(spec: &api::AllowedNames) -> Result<Self, String> {
        for pattern in spec.dns_names.iter().chain(&spec.uris) {
            let rest = pattern.replace("${registrationId}", "");
            if rest.contains("${") {
                return Err(format!(
                    "{pattern:?} has a placeholder other than ${{registrationId}}"
                ));
            }
        }
        Ok(Self {
            dns: spec
                .dns_names
                .iter()
                .map(|name| {
                    name.to_ascii_lowercase()
                        .replace("${registrationid}", "${registrationId}")
                })
                .collect(),
            ip: spec
                .ip_addresses
                .iter()
                .map(|text| Network::parse(text))
                .collect::<Result<_, _>>()?,
            uri: spec.uris.clone(),
        })
    }

    /// Refuses the first name that is not allowed to this device.
    pub fn check(&self, names: &SubjectAltNames, id: &RegistrationId) -> Result<(), Refusal> {
        let refuse = |kind: &str, field: &str, name: &str| {
            Err(Refusal::new(
                Reason::NameNotAllowed,
                format!(
                    "the {kind} {name:?} is not within the group's allowedNames.{field} for {id}: leave it out of the \
                     request, or have the group allow it"
                ),
            ))
        };
        for name in &names.dns {
            if name.starts_with("system:")
                || is_ambiguous(name)
                || !self
                    .dns
                    .iter()
                    .any(|pattern| matches(pattern, name, id.folded(), "."))
            {
                return refuse("DNS name", "dnsNames", name);
            }
        }
        for ip in &names.ip {
            if !self.ip.iter().any(|network| network.contains(*ip)) {
                return refuse("IP address", "ipAddresses", &ip.to_string());
            }
        }
        for uri in &names.uri {
            if uri.starts_with("system:")
                || is_ambiguous(uri)
                || !self
                    .uri
                    .iter()
                    .any(|pattern| matches(pattern, uri, id.as_str(), URI_STOPS))
            {
                return refuse("URI", "uris", uri);
            }
        }
        if let Some(kind) = names.other.first() {
            return Err(Refusal::new(
                Reason::NameNotAllowed,
                format!(
                    "the request has a subject alternative name of type {kind}: only DNS, IP and URI can be granted"
                ),
            ));
        }
        Ok(())
    }
}

/// Whether `text` fits `pattern`, where `*` stands for one or more characters other than `stops`.
fn matches(pattern: &str, text: &str, id: &str, stops: &str) -> bool {
    // The ID goes in after the pattern was split at its stars, so an ID cannot bring a star along.
    let pieces: Vec<String> = pattern
        .split('*')
        .map(|piece| piece.replace("${registrationId}", id))
        .collect();
    fits(&pieces, text, stops)
}

/// Follows all ways to fit at once, so the time is bounded by pattern times text, whatever they say.
fn fits(pieces: &[String], text: &str, stops: &str) -> bool {
    let bytes = text.as_bytes();
    // Where in the text the pieces so far can end.
    let mut ends = vec![false; bytes.len() + 1];
    ends[0] = true;
    for (number, piece) in pieces.iter().enumerate() {
        let starts = if number == 0 {
            ends
        } else {
            after_star(&ends, bytes, stops)
        };
        ends = vec![false; bytes.len() + 1];
        for start in (0..=bytes.len()).filter(|start| starts[*start]) {
            if bytes[start..].starts_with(piece.as_bytes()) {
                ends[start + piece.len()] = true;
            }
        }
    }
    ends[bytes.len()]
}

/// Where a star can end that begins at one of these places and takes at least one character, but no stop.
fn after_star(begins: &[bool], text: &[u8], stops: &str) -> Vec<bool> {
    let mut ends = vec![false; begins.len()];
    let mut within = false;
    for (at, byte) in text.iter().enumerate() {
        within = (within || begins[at]) && !stops.contains(char::from(*byte));
        ends[at + 1] = within;
    }
    ends
}

/// A name that stands for several, or that others may read as another one, is bound to no device.
fn is_ambiguous(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let escapes = lower.contains("%2f") || lower.contains("%2e") || lower.contains("%5c");
    name.contains('*') || escapes || name.split('/').any(|part| part == "." || part == "..")
}

/// An IP network, such as `10.0.0.0/8`; a single address is the network of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("ipAddresses: {text:?} is neither an IP address nor a CIDR such as 10.0.0.0/8")
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix
                .parse::<u8>()
                .ok()
                .filter(|bits| *bits <= longest)
                .ok_or_else(wrong)?,
            None => longest,
        };
        Ok(Self { address, prefix })
    }

    fn contains(self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.prefix);
                (u64::from(net.to_bits()) >> shift) == (u64::from(ip.to_bits()) >> shift)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.prefix);
                net.to_bits().checked_shr(shift) == ip.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed(dns: &[&str], ip: &[&str], uri: &[&str]) -> AllowedNames {
        let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        AllowedNames::parse(&api::AllowedNames {
            dns_names: strings(dns),
            ip_addresses: strings(ip),
            uris: strings(uri),
        })
        .unwrap()
    }

    fn dns(allowed: &AllowedNames, name: &str, id: &str) -> bool {
        let names = SubjectAltNames {
            dns: vec![name.into()],
            ..Default::default()
        };
        allowed
            .check(&names, &RegistrationId::parse(id).unwrap())
            .is_ok()
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        assert!(!dns(&AllowedNames::default(), "a.example.com", "a"));
    }

    #[test]
    fn the_own_id_binds_a_name_to_one_device() {
        let names = allowed(&["${registrationId}.dev.example.com"], &[], &[]);
        assert!(dns(&names, "cam1.dev.example.com", "Cam1"));
        assert!(!dns(&names, "cam2.dev.example.com", "cam1"));
    }

    #[test]
    fn a_star_stays_within_one_label() {
        let names = allowed(&["*.example.com", "db-*.internal"], &[], &[]);
        assert!(dns(&names, "a.example.com", "x"));
        assert!(!dns(&names, "a.b.example.com", "x"));
        assert!(!dns(&names, ".example.com", "x"));
        assert!(!dns(&names, "example.com", "x"));
        assert!(dns(&names, "db-7.internal", "x"));
        assert!(!dns(&names, "db-.internal", "x"));
    }

    #[test]
    fn a_pattern_full_of_stars_is_still_quick() {
        let stars = allowed(&[], &[], &[&format!("x:{}b", "*a".repeat(126))]);
        let uri = format!("x:{}", "a".repeat(2000));
        let names = SubjectAltNames {
            uri: vec![uri],
            ..Default::default()
        };
        assert!(
            stars
                .check(&names, &RegistrationId::parse("x").unwrap())
                .is_err()
        );
        assert!(matches("*a*b*c", "1a2b3c", "", "/") && !matches("*a*b*c", "1a/2b3c", "", "/"));
        assert!(
            matches("*", "a", "", ".")
                && !matches("*", "", "", ".")
                && matches("a*", "abc", "", ".")
        );
    }

    #[test]
    fn wildcards_and_disguised_paths_are_never_granted() {
        let names = allowed(&["*.example.com", "*"], &[], &["spiffe://x/*"]);
        assert!(!dns(&names, "*.example.com", "x"));
        for uri in [
            "spiffe://x/*",
            "spiffe://x/a%2Fb",
            "spiffe://x/..",
            "spiffe://x/%2e%2e",
        ] {
            let sans = SubjectAltNames {
                uri: vec![uri.into()],
                ..Default::default()
            };
            assert!(
                names
                    .check(&sans, &RegistrationId::parse("x").unwrap())
                    .is_err(),
                "{uri}"
            );
        }
    }

    #[test]
    fn a_star_in_a_uri_stays_within_its_part_of_it() {
        let host = allowed(
            &[],
            &[],
            &["https://*.example.com/", "https://example.com:*/"],
        );
        let passes = |uri: &str| {
            let sans = SubjectAltNames {
                uri: vec![uri.into()],
                ..Default::default()
            };
            host.check(&sans, &RegistrationId::parse("x").unwrap())
                .is_ok()
        };
        assert!(passes("https://a.example.com/") && passes("https://example.com:8443/"));
        // Whoever reads these sees another host.
        for uri in [
            "https://evil.test?.example.com/",
            "https://evil.test#.example.com/",
            "https://example.com:x@evil.test/",
        ] {
            assert!(!passes(uri), "{uri}");
        }
    }

    #[test]
    fn addresses_must_be_inside_a_network() {
        let names = allowed(
            &[],
            &["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::/0"],
            &[],
        );
        let check = |ip: &str| {
            let sans = SubjectAltNames {
                ip: vec![ip.parse().unwrap()],
                ..Default::default()
            };
            names
                .check(&sans, &RegistrationId::parse("x").unwrap())
                .is_ok()
        };
        assert!(check("10.255.0.1") && check("192.0.2.7") && check("2001:db8::1"));
        assert!(!check("11.0.0.1") && !check("192.0.2.8"));
    }

    #[test]
    fn unknown_kinds_and_malformed_entries_fail_closed() {
        let sans = SubjectAltNames {
            other: vec!["rfc822Name".into()],
            ..Default::default()
        };
        let refusal = allowed(&["*"], &[], &[])
            .check(&sans, &RegistrationId::parse("x").unwrap())
            .unwrap_err();
        assert_eq!(refusal.reason, Reason::NameNotAllowed);
        let bad = api::AllowedNames {
            ip_addresses: vec!["10.0.0.0/33".into()],
            ..Default::default()
        };
        assert!(AllowedNames::parse(&bad).is_err());
        let bad = api::AllowedNames {
            dns_names: vec!["${device}.x".into()],
            ..Default::default()
        };
        assert!(AllowedNames::parse(&bad).is_err());
    }

    proptest! {
        #[test]
        fn a_device_never_gets_a_name_bound_to_another(a in "[a-z0-9]{1,8}", b in "[a-z0-9]{1,8}") {
            prop_assume!(a != b);
            let names = allowed(&["${registrationId}.example.com"], &[], &[]);
            let own = format!("{}.example.com", a);
            let others = format!("{}.example.com", b);
            prop_assert!(dns(&names, &own, &a));
            prop_assert!(!dns(&names, &others, &a));
        }
    }
}
