//! Registration authorities: devices that enrol others in their stead. RFC 7030 §3.7, RFC 6402 §2.10.

use kube::ResourceExt;

use super::{Rejection, authenticate::Authenticated, local::LocalRegistrar};
use crate::{
    api::DeviceIdentity,
    pki::Csr,
    policy::{Group, Principal, proof},
};

/// Who asks, and the device that its certificate led to, as an object of its own.
pub(super) struct ForDevice {
    pub principal: Principal,
    pub device: Option<DeviceIdentity>,
}

impl LocalRegistrar {
    /// A device whose certificate has the purpose cmcRA and that asks for another device is a registration authority, if the
    /// group lists it. RFC 7030 §3.7, RFC 6402 §2.10.
    pub(super) async fn as_registration_authority(
        &self,
        authenticated: Authenticated,
        csr: &Csr,
        group: &Group,
    ) -> Result<ForDevice, Rejection> {
        let Authenticated { principal, device } = authenticated;
        let own = device.map(|device| device.as_ref().clone());
        let name = own.as_ref().map(|own| own.name_any()).unwrap_or_default();
        let Some(certificate) = proof::speaks_for_another(&principal, &name, csr, group) else {
            return Ok(ForDevice {
                principal,
                device: own,
            });
        };
        let authorities: Vec<_> = self.chains_in(Some(&group.namespace)).collect();
        proof::check_listed(certificate, &name, group, &authorities)?;
        // It acts for others, so what the watch last said of it is not enough.
        let now = self.read_device(&group.namespace, &name).await?;
        Ok(ForDevice {
            principal: proof::registration_authority(certificate, &name, now.as_ref())?,
            device: None,
        })
    }
}
