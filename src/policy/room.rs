//! How many devices, and how many requests that wait for a person, a group takes.

use super::{Group, Reason, Refusal};
use crate::api::DeviceIdentity;

impl Group {
    /// Refuses one more device in a group that has `devices`.
    pub fn check_room(&self, devices: usize) -> Result<(), Refusal> {
        let Some(limit) = self.limits.devices else {
            return Ok(());
        };
        if usize::try_from(limit).is_ok_and(|limit| devices < limit) {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::GroupFull,
            format!(
                "group {} has {devices} devices, and its limits.devices is {limit}: raise it, or delete devices that are gone",
                self.key()
            ),
        ))
    }

    /// Refuses one more request where `waiting` ones wait for a person.
    pub fn check_room_for_pending(&self, waiting: usize) -> Result<(), Refusal> {
        let limit = self.limits.pending_requests;
        if usize::try_from(limit).is_ok_and(|limit| waiting < limit) {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::GroupFull,
            format!(
                "{waiting} requests wait for approval in group {}, as many as its limits.pendingRequests: approve or deny some first",
                self.key()
            ),
        ))
    }
}

/// Whether a request of the device waits for a person.
pub fn is_waiting(device: &DeviceIdentity) -> bool {
    device
        .status
        .as_ref()
        .is_some_and(|status| status.pending_request.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::EnrollmentGroup;

    #[test]
    fn a_group_is_full_at_its_limit_and_not_before() {
        let mut object = EnrollmentGroup::new("g", Default::default());
        object.spec = serde_json::from_value(json!({
            "authorityRef": { "name": "ca" }, "limits": { "devices": 2, "pendingRequests": 1 },
        }))
        .unwrap();
        let group = Group::compile(&object).unwrap();
        assert_eq!(group.check_room(1), Ok(()));
        assert_eq!(group.check_room(2).unwrap_err().reason, Reason::GroupFull);
        assert_eq!(group.check_room_for_pending(0), Ok(()));
        let full = group.check_room_for_pending(1).unwrap_err();
        assert_eq!(full.reason, Reason::GroupFull);
        object.spec.limits.devices = None;
        let open = Group::compile(&object).unwrap();
        assert_eq!(open.check_room(1_000_000), Ok(()));
    }
}
