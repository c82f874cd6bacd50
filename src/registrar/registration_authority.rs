//! Registration authorities: devices that enrol others in their stead. RFC 7030 §3.7, RFC 6402 §2.10.

use kube::ResourceExt;

use super::{
    Rejection,
    authenticate::{Authenticated, has_on_record},
    local::LocalRegistrar,
};
use crate::{
    api::{DeviceIdentity, DeviceState},
    pki::{Certificate, Csr, ExtendedKeyUsage},
    policy::{AuthorityRule, Group, Principal, Reason, Refusal, Standing},
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
        let certificate = match (&principal, &own) {
            (
                Principal::Device {
                    certificate,
                    standing: Standing::Valid,
                },
                Some(_),
            ) if certificate
                .extended_key_usages()
                .contains(&ExtendedKeyUsage::CmcRa) =>
            {
                certificate
            }
            _ => {
                return Ok(ForDevice {
                    principal,
                    device: own,
                });
            }
        };
        let name = own.as_ref().map(|own| own.name_any()).unwrap_or_default();
        let asked = csr
            .subject()
            .common_name()
            .map(|name| group.ids.id_of(&name));
        if matches!(&asked, Some(Ok(id)) if id.object_name() == name) {
            return Ok(ForDevice {
                principal,
                device: own,
            });
        }
        let is_listed = group
            .registration_authorities
            .iter()
            .any(|rule| self.is_listed(rule, certificate, group));
        if !is_listed {
            let message = format!(
                "the certificate of {name} is that of a registration authority, but this group does not list it: add its authority \
                 and subject to authentication.registrationAuthorities"
            );
            return Err(Refusal::new(Reason::RegistrationAuthorityNotListed, message).into());
        }
        // It acts for others, so what the watch last said of it is not enough.
        let now = self.read_device(&group.namespace, &name).await?;
        let fingerprint = certificate.fingerprint().to_string();
        match now {
            Some(now) if now.spec.state != DeviceState::Active => {
                let message = format!("the registration authority {name} is suspended or revoked");
                Err(Refusal::new(Reason::Suspended, message).into())
            }
            Some(now) if has_on_record(&now, &fingerprint) => Ok(ForDevice {
                principal: Principal::RegistrationAuthority {
                    certificate: certificate.clone(),
                },
                device: None,
            }),
            _ => {
                let message = format!("the registration authority {name} was deleted just now");
                Err(Refusal::new(Reason::UnknownCertificate, message).into())
            }
        }
    }

    fn is_listed(&self, rule: &AuthorityRule, certificate: &Certificate, group: &Group) -> bool {
        let authority = self.fleet().authority(&group.namespace, &rule.authority);
        let signer = authority.and_then(|authority| self.chain_of(&authority)?.first().cloned());
        rule.subject.same_text(certificate.subject())
            && signer.is_some_and(|signer| certificate.is_signed_by(&signer))
    }
}
