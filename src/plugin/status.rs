//! `kubectl devicecert status`: what is not in order, with the reason in words.

use clap::Args;
use kube::{Api, ResourceExt};

use super::{
    PluginError,
    connection::{Connection, Namespaced, list},
    words::{printable, say},
};
use crate::{
    api::{CertificateAuthority, Condition, ConditionStatus, DeviceIdentity, EnrollmentGroup},
    cluster::ApiError,
};

/// Where to look, and how to tell.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Look into all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Exit with 1 if something is not in order.
    #[arg(long)]
    exit_code: bool,
}

/// What was found.
#[derive(Default)]
struct Findings {
    seen: usize,
    lines: Vec<String>,
}

impl Status {
    pub async fn run(self, connection: &Connection) -> Result<(), PluginError> {
        let mut findings = Findings::default();
        if !self.all_namespaces {
            connection.check_namespace().await?;
        }
        self.look(
            connection,
            &mut findings,
            |object: &CertificateAuthority| {
                object.status.as_ref().map(|status| &*status.conditions)
            },
        )
        .await?;
        self.look(connection, &mut findings, |object: &EnrollmentGroup| {
            object.status.as_ref().map(|status| &*status.conditions)
        })
        .await?;
        self.look(connection, &mut findings, |object: &DeviceIdentity| {
            object.status.as_ref().map(|status| &*status.conditions)
        })
        .await?;
        for line in &findings.lines {
            say(format_args!("{line}\n"))?;
        }
        let place = match self.all_namespaces {
            true => "all namespaces".to_string(),
            false => format!("namespace {}", connection.namespace),
        };
        let (wrong, seen) = (findings.lines.len(), findings.seen);
        let summary = format!("{wrong} of {seen} objects in {place} are not in order");
        if self.exit_code && wrong > 0 {
            return Err(PluginError::No(summary));
        }
        Ok(say(format_args!("{summary}\n"))?)
    }

    async fn look<K: Namespaced>(
        &self,
        connection: &Connection,
        findings: &mut Findings,
        conditions: impl Fn(&K) -> Option<&[Condition]>,
    ) -> Result<(), ApiError> {
        let kind = K::kind(&()).to_lowercase();
        let api: Api<K> = match self.all_namespaces {
            true => connection.everywhere(),
            false => connection.here(),
        };
        let mut seen = 0;
        let lines = list(&api, |object| {
            seen += 1;
            let name = match (self.all_namespaces, object.namespace()) {
                (true, Some(namespace)) => format!("{kind}/{} in {namespace}", object.name_any()),
                _ => format!("{kind}/{}", object.name_any()),
            };
            problem(&name, conditions(&object).unwrap_or_default())
        })
        .await?;
        findings.seen += seen;
        findings.lines.extend(lines);
        Ok(())
    }
}

/// One line about an object that is not Ready, or whose last attempt at a certificate was refused.
fn problem(name: &str, conditions: &[Condition]) -> Option<String> {
    let find = |aspect: &str| {
        conditions
            .iter()
            .find(|condition| condition.type_ == aspect)
    };
    let leaving = find("Terminating").filter(|leaving| leaving.status == ConditionStatus::True);
    let wrong = match (leaving, find("Ready")) {
        (Some(leaving), _) => leaving,
        (None, None) => {
            return Some(format!(
                "{name}: the operator has not looked at it yet: is it running, and does it watch this namespace?"
            ));
        }
        (None, Some(ready)) if ready.status != ConditionStatus::True => ready,
        (None, Some(_)) => {
            find("Issued").filter(|issued| issued.status == ConditionStatus::False)?
        }
    };
    Some(format!(
        "{name}: {}: {}",
        wrong.reason,
        printable(&wrong.message)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster,
        policy::{Reason, Statement, set_condition},
    };

    #[test]
    fn only_what_is_not_in_order_is_listed() {
        let now = cluster::now();
        let mut conditions = Vec::new();
        assert!(
            problem("a/b", &conditions)
                .unwrap()
                .contains("is it running")
        );
        let fine = Statement::yes("Ready", Reason::CertificateReady, "fine");
        set_condition(&mut conditions, fine, None, now);
        assert_eq!(problem("a/b", &conditions), None);
        let off = Statement::no("Issued", Reason::GroupDisabled, "off");
        set_condition(&mut conditions, off, None, now);
        assert_eq!(
            problem("a/b", &conditions).unwrap(),
            "a/b: GroupDisabled: off"
        );
    }
}
