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
        Asked, Device, Group, Purpose, Reason, Refusal, RegistrationId, is_waiting, may_register,
        name_taken, wanted_id,
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
                return Err(name_taken(&id).into());
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
            Err(rejection) if rejection.reason.awaits_approval() => {
                self.check_room_for_pending(group)?;
            }
            Err(rejection) => return Err(rejection),
        }
        group.check_room(self.fleet().count_of(&group.key()))?;
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

    /// Refuses one more request that waits for approval where there are many.
    pub(super) fn check_room_for_pending(&self, group: &Group) -> Result<(), Refusal> {
        let devices = self.fleet().devices_of(&group.key());
        group.check_room_for_pending(devices.iter().filter(|device| is_waiting(device)).count())
    }
}
