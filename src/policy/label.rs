//! EST path labels: which group a client addresses.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::{Reason, Refusal, registration_id::is_dns_name};

/// An EnrollmentGroup, by namespace and name. Written `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKey {
    /// metadata.namespace.
    pub namespace: String,
    /// metadata.name.
    pub name: String,
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for GroupKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self {
                    namespace: namespace.into(),
                    name: name.into(),
                })
            }
            _ => Err(format!("{text:?} is not of the form NAMESPACE/NAME")),
        }
    }
}

/// What the operator's configuration says about labels. Only the configuration binds short labels, so no tenant can
/// take another's path; `<namespace>.<group>` always works.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// Short labels.
    pub short: BTreeMap<String, GroupKey>,
    /// The group that is served without a label.
    pub default: Option<GroupKey>,
}

impl Labels {
    /// The group that a label addresses.
    pub fn resolve(&self, label: Option<&str>) -> Result<GroupKey, Refusal> {
        let Some(label) = label else {
            return self.default.clone().ok_or_else(|| {
                Refusal::new(
                    Reason::UnknownLabel,
                    "no group is served without a label: use the path /.well-known/est/<namespace>.<group>/…, or start \
                     the operator with --est-default NAMESPACE/GROUP",
                )
            });
        };
        if let Some(group) = self.short.get(label) {
            return Ok(group.clone());
        }
        // A namespace has no dot, so the first one ends it.
        match label.split_once('.') {
            Some((namespace, name)) if is_dns_name(namespace) && is_dns_name(name) => {
                Ok(GroupKey {
                    namespace: namespace.into(),
                    name: name.into(),
                })
            }
            _ => Err(Refusal::new(
                Reason::UnknownLabel,
                format!(
                    "the label {label:?} names no group: use <namespace>.<group>, or a label bound by --est-label"
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_labels_come_from_the_configuration_only() {
        let labels = Labels {
            short: [("factory".to_string(), "a/b".parse().unwrap())].into(),
            default: Some("c/d".parse().unwrap()),
        };
        assert_eq!(labels.resolve(Some("factory")).unwrap().to_string(), "a/b");
        assert_eq!(labels.resolve(None).unwrap().to_string(), "c/d");
        assert_eq!(
            labels.resolve(Some("ns.group.v2")).unwrap().to_string(),
            "ns/group.v2"
        );
        for bad in ["default...", "a..b", "A.b", "a.b/c", "-a.b"] {
            assert!(labels.resolve(Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(
            labels.resolve(Some("other")).unwrap_err().reason,
            Reason::UnknownLabel
        );
        assert_eq!(
            Labels::default().resolve(None).unwrap_err().reason,
            Reason::UnknownLabel
        );
    }

    #[test]
    fn group_keys_need_both_parts() {
        for bad in ["", "a", "a/", "/b", "a/b/c"] {
            assert!(bad.parse::<GroupKey>().is_err(), "{bad}");
        }
    }
}
