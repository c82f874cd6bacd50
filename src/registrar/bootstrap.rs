//! Bootstrap certificates: whether one leads to a trust anchor of the group, and which ID it has claimed.

use jiff::Timestamp;
use kube::{
    Api, Resource,
    api::{ObjectMeta, PostParams},
};

use super::{Rejection, local::LocalRegistrar};
use crate::{
    api::{BootstrapClaim, BootstrapClaimSpec, DeviceIdentity, DeviceState, LocalRef},
    cluster::{ApiError, Outcome},
    pki::{Certificate, chain},
    policy::{BootstrapRules, Device, Group, Principal, Reason, Refusal, RegistrationId},
};

impl LocalRegistrar {
    /// The principal that a certificate proves which is on no record here.
    pub(super) async fn by_bootstrap(
        &self,
        certificate: Certificate,
        presented: &[Vec<u8>],
        group: &Group,
        now: Timestamp,
    ) -> Result<Principal, Rejection> {
        let unknown = |why: String| Rejection::from(Refusal::new(Reason::UnknownCertificate, why));
        let Some(rules) = &group.bootstrap else {
            return Err(unknown(
                "the client certificate is on no device's record here".into(),
            ));
        };
        if rules.denied.contains(&certificate.fingerprint()) {
            let message = "this bootstrap certificate is on the group's list of denied ones";
            return Err(Refusal::new(Reason::BootstrapDenied, message).into());
        }
        let anchors = self.anchors(rules, group).await?;
        let presented: Vec<Certificate> = presented
            .iter()
            .filter_map(|der| Certificate::from_der(der).ok())
            .collect();
        chain::verify(&certificate, &presented, &anchors, now).map_err(|why| {
            unknown(format!(
                "the client certificate is on no device's record here, and as a bootstrap certificate it is not trusted: {why}"
            ))
        })?;
        let own_name = self.own_name(&certificate)?;
        let claimed = self
            .read_claim(&group.namespace, &certificate)
            .await?
            .map(|claim| RegistrationId::parse(&claim.spec.registration_id))
            .transpose()?;
        Ok(Principal::Bootstrap {
            certificate: Box::new(certificate),
            claimed,
            own_name,
        })
    }

    /// The trust anchors of a group. An authority that cannot be used is none.
    async fn anchors(
        &self,
        rules: &BootstrapRules,
        group: &Group,
    ) -> Result<Vec<Certificate>, Rejection> {
        let mut anchors = rules.anchors.clone();
        for name in &rules.authorities {
            match self.authority(&group.namespace, name).await {
                Ok((authority, _)) => anchors.extend(authority.usable().ok().cloned()),
                Err(rejection) if rejection.reason == Reason::AuthorityNotFound => {}
                Err(rejection) => return Err(rejection),
            }
        }
        Ok(anchors)
    }

    /// The only ID that a certificate may claim which one of our own authorities signed: such a certificate was a device's, and
    /// must never become another's. One whose device is suspended or revoked may claim nothing.
    fn own_name(&self, certificate: &Certificate) -> Result<Option<RegistrationId>, Rejection> {
        let owners = self
            .fleet()
            .devices_by_certificate(&certificate.fingerprint());
        if owners
            .iter()
            .any(|owner| owner.spec.state != DeviceState::Active)
        {
            let message =
                "the client certificate is that of a device which is suspended or revoked";
            return Err(Refusal::new(Reason::Revoked, message).into());
        }
        if owners.is_empty() && !self.is_signed_here(certificate, None) {
            return Ok(None);
        }
        let name = certificate.subject().common_name().unwrap_or_default();
        let id = RegistrationId::parse(&name).map_err(|_| {
            Refusal::new(
                Reason::UnknownCertificate,
                "the client certificate was issued here and names no device, so it opens nothing",
            )
        })?;
        Ok(Some(id))
    }

    fn claims(&self, namespace: &str) -> Api<BootstrapClaim> {
        Api::namespaced(self.client().clone(), namespace)
    }

    async fn read_claim(
        &self,
        namespace: &str,
        certificate: &Certificate,
    ) -> Result<Option<BootstrapClaim>, Rejection> {
        let name = certificate.fingerprint().to_string();
        let claim = self.claims(namespace).get_opt(&name).await;
        Ok(claim.map_err(|e| ApiError::new("read BootstrapClaim", &name, e))?)
    }

    /// Ties a bootstrap certificate to a device, for ever. The claim's name is the fingerprint, so of two replicas at once only
    /// one can make it; the other finds out whose it is.
    pub(super) async fn claim(
        &self,
        certificate: &Certificate,
        device: &Device,
        object: &DeviceIdentity,
    ) -> Result<(), Rejection> {
        let name = certificate.fingerprint().to_string();
        let claim = BootstrapClaim {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(device.namespace.clone()),
                owner_references: object.controller_owner_ref(&()).map(|mut owner| {
                    owner.block_owner_deletion = None;
                    vec![owner]
                }),
                ..ObjectMeta::default()
            },
            spec: BootstrapClaimSpec {
                group_ref: LocalRef {
                    name: device.group.clone(),
                },
                registration_id: device.id.folded().into(),
                fingerprint: name.clone(),
            },
        };
        let made = self
            .claims(&device.namespace)
            .create(&PostParams::default(), &claim)
            .await;
        let Err(error) = made.map_err(|e| ApiError::new("create BootstrapClaim", &name, e)) else {
            return Ok(());
        };
        if error.outcome() != Outcome::Exists {
            return Err(error.into());
        }
        match self.read_claim(&device.namespace, certificate).await? {
            Some(other) if other.spec.registration_id == device.id.folded() => Ok(()),
            Some(other) => Err(Refusal::new(
                Reason::BootstrapPinned,
                format!(
                    "the bootstrap certificate belongs to the registration ID {}, so it cannot claim {}",
                    other.spec.registration_id, device.id
                ),
            )
            .into()),
            None => Err(Refusal::new(Reason::Conflict, "the claim of the bootstrap certificate was deleted just now").into()),
        }
    }
}
