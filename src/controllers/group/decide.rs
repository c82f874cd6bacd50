//! What the status of an EnrollmentGroup should say: one pure function.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        DeviceIdentity, DevicePhase, EnrollmentGroup, EnrollmentGroupStatus, ProvisioningStatus,
    },
    policy::{Reason, Refusal, Statement, set_condition},
};

/// The condition that warns of a root that signs both devices and CAs of devices.
const OVERLAP: &str = "TrustOverlap";

/// What was observed.
pub(super) struct Observed {
    generation: Option<i64>,
    terminating: bool,
    disabled: bool,
    hindrance: Option<Refusal>,
    /// What is dangerous about the CAs that the group makes.
    overlap: Option<String>,
    devices: usize,
    phases: BTreeMap<String, i32>,
    /// When the live certificates expire, replaced ones among them.
    pub live: Vec<Timestamp>,
    /// When the first of the devices' newest live certificates expires.
    next_expiry: Option<Timestamp>,
}

impl Observed {
    pub(super) fn new(
        group: &EnrollmentGroup,
        devices: &[Arc<DeviceIdentity>],
        hindrance: Option<Refusal>,
        overlap: Option<String>,
        now: Timestamp,
    ) -> Self {
        let mut phases = BTreeMap::new();
        let mut live = Vec::new();
        let mut next_expiry = None;
        for status in devices.iter().map(|device| device.status.as_ref()) {
            let phase = status
                .and_then(|status| status.phase)
                .unwrap_or(DevicePhase::Pending);
            *phases.entry(phase.as_str().to_string()).or_insert(0) += 1;
            let Some(status) = status.filter(|_| phase != DevicePhase::Revoked) else {
                continue;
            };
            let current = status
                .certificate
                .iter()
                .map(|certificate| certificate.not_after.0);
            let newest = current.clone().filter(|end| *end > now);
            next_expiry = next_expiry.into_iter().chain(newest).min();
            live.extend(
                current
                    .chain(status.previous.iter().map(|past| past.not_after.0))
                    .filter(|end| *end > now),
            );
        }
        Self {
            generation: group.metadata.generation,
            terminating: group.metadata.deletion_timestamp.is_some(),
            disabled: group.spec.provisioning_status == ProvisioningStatus::Disabled,
            hindrance,
            overlap,
            devices: devices.len(),
            phases,
            live,
            next_expiry,
        }
    }

    /// The one word for the group's state.
    pub(super) fn reason(&self) -> Reason {
        match &self.hindrance {
            Some(refusal) => refusal.reason,
            None if self.disabled => Reason::GroupDisabled,
            None => Reason::GroupReady,
        }
    }
}

/// Decides what the status should say.
pub(super) fn decide(
    old: &EnrollmentGroupStatus,
    observed: &Observed,
    now: Timestamp,
) -> EnrollmentGroupStatus {
    let mut status = old.clone();
    status.observed_generation = observed.generation;
    status.devices = i32::try_from(observed.devices).ok();
    status.phases = observed.phases.clone();
    let next_expiry = observed.next_expiry;
    status.next_expiry = next_expiry.map(Time);
    let ready = match (&observed.hindrance, observed.disabled, next_expiry) {
        (Some(refusal), _, _) => Statement::no("Ready", refusal.reason, refusal.message.clone()),
        (None, true, Some(expiry)) => Statement::no(
            "Ready",
            Reason::GroupDisabled,
            format!(
                "the group is Disabled: nothing is issued or renewed. Its first certificate expires at {expiry}"
            ),
        ),
        (None, true, None) => Statement::no(
            "Ready",
            Reason::GroupDisabled,
            "the group is Disabled: nothing is issued or renewed",
        ),
        (None, false, _) => Statement::yes(
            "Ready",
            Reason::GroupReady,
            "the group gives out certificates",
        ),
    };
    set_condition(&mut status.conditions, ready, observed.generation, now);
    let told_before = status
        .conditions
        .iter()
        .any(|condition| condition.type_ == OVERLAP);
    let overlap = match &observed.overlap {
        Some(message) => Some(Statement::yes(
            OVERLAP,
            Reason::UnconstrainedAuthority,
            message.clone(),
        )),
        None if told_before => Some(Statement::no(
            OVERLAP,
            Reason::GroupReady,
            "no root signs both devices and CAs of devices",
        )),
        None => None,
    };
    if let Some(overlap) = overlap {
        set_condition(&mut status.conditions, overlap, observed.generation, now);
    }
    if observed.terminating {
        let message = format!(
            "deletion waits: {} certificates of this group are still valid. Delete its DeviceIdentities first, or let the \
             certificates expire",
            observed.live.len()
        );
        let statement = Statement::yes("Terminating", Reason::InUse, message);
        set_condition(&mut status.conditions, statement, observed.generation, now);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(status: ProvisioningStatus) -> EnrollmentGroup {
        let mut group = EnrollmentGroup::new("g", Default::default());
        group.spec.provisioning_status = status;
        group
    }

    fn decided(group: &EnrollmentGroup, hindrance: Option<Refusal>) -> EnrollmentGroupStatus {
        let now = Timestamp::UNIX_EPOCH;
        decide(
            &EnrollmentGroupStatus::default(),
            &Observed::new(group, &[], hindrance, None, now),
            now,
        )
    }

    #[test]
    fn a_group_is_ready_only_when_nothing_hinders_it() {
        let ready = |status: &EnrollmentGroupStatus| status.conditions[0].reason.clone();
        assert_eq!(
            ready(&decided(&group(ProvisioningStatus::Enabled), None)),
            "GroupReady"
        );
        assert_eq!(
            ready(&decided(&group(ProvisioningStatus::Disabled), None)),
            "GroupDisabled"
        );
        let refusal = Refusal::new(Reason::AuthorityNotFound, "no CA");
        assert_eq!(
            ready(&decided(&group(ProvisioningStatus::Enabled), Some(refusal))),
            "AuthorityNotFound"
        );
    }
}
