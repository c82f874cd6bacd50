//! The device that a request is for: found by its registration ID, or registered by it.

use kube::api::{ObjectMeta, PostParams};

use super::{
    Rejection,
    local::{LocalRegistrar, Requester},
};
use crate::{
    api::{DeviceIdentity, DeviceIdentitySpec, LocalRef, REGISTERED_BY},
    cluster::{ApiError, Outcome},
    pki::Csr,
    policy::{
        Asked, Device, Group, Principal, Purpose, Reason, Refusal, RegistrationId, may_register,
    },
};

impl LocalRegistrar {
    /// The device that a request asks for; registered now if the group is open to unknown ones.
    pub(super) async fn device_named_by(
        &self,
        csr: &Csr,
        group: &Group,
        requester: &Requester,
        asked: Asked<'_>,
    ) -> Result<DeviceIdentity, Rejection> {
        let id = wanted_id(csr, group, &requester.principal)?;
        let object_name = id.object_name();
        let known = match self.fleet().device(&group.namespace, &object_name) {
            Some(device) => Some(device.as_ref().clone()),
            None => self.read_device(&group.namespace, &object_name).await?,
        };
        if let Some(device) = known {
            if Device::compile(&device)?.id != id {
                let message =
                    format!("the name {object_name} is held by another registration ID than {id}");
                return Err(Refusal::new(Reason::NameTaken, message).into());
            }
            return Ok(device);
        }
        may_register(&requester.principal, group, &id)?;
        self.register(id, group, requester, asked).await
    }

    /// Creates the DeviceIdentity of a device that may enrol; nothing is created for one that may not. One that a person must
    /// approve first is created, so that there is something to approve.
    async fn register(
        &self,
        id: RegistrationId,
        group: &Group,
        requester: &Requester,
        asked: Asked<'_>,
    ) -> Result<DeviceIdentity, Rejection> {
        let device = Device::unregistered(&group.namespace, &group.name, id);
        match self.decide(&device, requester, asked, Purpose::New).await {
            Ok(_) => {}
            Err(rejection) if is_pending(rejection.reason) => {
                self.check_room_for_pending(group)?;
            }
            Err(rejection) => return Err(rejection),
        }
        self.check_room(group)?;
        let object = DeviceIdentity {
            metadata: ObjectMeta {
                name: Some(device.name.clone()),
                namespace: Some(device.namespace.clone()),
                labels: Some([("devicecert.dev/group".to_string(), device.group.clone())].into()),
                annotations: Some(
                    [(REGISTERED_BY.to_string(), requester.principal.to_string())].into(),
                ),
                ..ObjectMeta::default()
            },
            spec: DeviceIdentitySpec {
                group_ref: LocalRef {
                    name: device.group.clone(),
                },
                registration_id: Some(device.id.as_str().into()),
                ..DeviceIdentitySpec::default()
            },
            status: None,
        };
        let created = self
            .devices(&device.namespace)
            .create(&PostParams::default(), &object)
            .await;
        match created.map_err(|e| ApiError::new("register DeviceIdentity", &device.name, e)) {
            Ok(created) => Ok(created),
            Err(error) if error.outcome() == Outcome::Exists => {
                let known = self.read_device(&device.namespace, &device.name).await?;
                Ok(known.ok_or_else(|| {
                    Refusal::new(
                        Reason::Conflict,
                        "the device was registered and deleted just now",
                    )
                })?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn check_room(&self, group: &Group) -> Result<(), Refusal> {
        let Some(limit) = group.limits.devices else {
            return Ok(());
        };
        let devices = self.fleet().count_of(&group.key());
        if usize::try_from(limit).is_ok_and(|limit| devices < limit) {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::GroupFull,
            format!(
                "group {} has {devices} devices, and its limits.devices is {limit}: raise it, or delete devices that are gone",
                group.key()
            ),
        ))
    }

    /// Refuses one more request that waits for approval where there are many.
    pub(super) fn check_room_for_pending(&self, group: &Group) -> Result<(), Refusal> {
        let waiting = self
            .fleet()
            .devices_of(&group.key())
            .iter()
            .filter(|device| {
                device
                    .status
                    .as_ref()
                    .is_some_and(|status| status.pending_request.is_some())
            })
            .count();
        let limit = group.limits.pending_requests;
        if usize::try_from(limit).is_ok_and(|limit| waiting < limit) {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::GroupFull,
            format!(
                "{waiting} requests wait for approval in group {}, as many as its limits.pendingRequests: approve or deny some first",
                group.key()
            ),
        ))
    }
}

pub(super) fn is_pending(reason: Reason) -> bool {
    matches!(reason, Reason::PendingApproval | Reason::ApprovalRequired)
}

/// The registration ID that is asked for. Credentials that are good for one ID need not be told again which.
fn wanted_id(csr: &Csr, group: &Group, principal: &Principal) -> Result<RegistrationId, Refusal> {
    let only = match principal {
        Principal::Bootstrap { certificate, .. } => Some(group.bootstrap_id(certificate, csr)?),
        Principal::Token { token } => token.id().cloned(),
        _ => None,
    };
    if let Some(id) = only.filter(|_| csr.subject().is_empty()) {
        return Ok(id);
    }
    let name = csr.subject().common_name().ok_or_else(|| {
        Refusal::new(
            Reason::InvalidRegistrationId,
            "the CSR's subject must have exactly one common name (CN): the device's registration ID",
        )
    })?;
    group.ids.id_of(&name)
}
