//! Bootstrap certificates: whether one leads to a trust anchor of the group, and which ID it has claimed.

use jiff::Timestamp;
use kube::{
    Api, Resource,
    api::{ObjectMeta, PostParams},
};

use super::{Rejection, local::LocalRegistrar};
use crate::{
    api::{BootstrapClaim, BootstrapClaimSpec, DeviceIdentity, LocalRef},
    cluster::{ApiError, Outcome},
    pki::Certificate,
    policy::{
        BootstrapRules, Device, Group, Principal, Reason, Refusal, RegistrationId, pinned, proof,
    },
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
        let rules = proof::bootstrap_rules(&certificate, group)?;
        let anchors = self.anchors(rules, group).await?;
        proof::leads_to(
            &certificate,
            presented,
            &anchors,
            &self.known_authorities(),
            now,
        )?;
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

    /// The only ID that a certificate may claim which one of our own authorities signed.
    fn own_name(&self, certificate: &Certificate) -> Result<Option<RegistrationId>, Refusal> {
        let owners = self
            .fleet()
            .devices_by_certificate(&certificate.fingerprint());
        proof::own_name(certificate, &owners, &self.known_authorities())
    }

    fn claims(&self, namespace: &str) -> Api<BootstrapClaim> {
        Api::namespaced(self.client().clone(), namespace)
    }

    async fn read_claim(
        &self,
        namespace: &str,
        certificate: &Certificate,
    ) -> Result<Option<BootstrapClaim>, Rejection> {
        let name = certificate.content_digest().to_string();
        let claim = self.claims(namespace).get_opt(&name).await;
        Ok(claim.map_err(|e| ApiError::new("read BootstrapClaim", &name, e))?)
    }

    /// Ties a bootstrap certificate to a device, for ever. The claim's name is the certificate's, so of two replicas at once only
    /// one can make it; the other finds out whose it is.
    pub(super) async fn claim(
        &self,
        certificate: &Certificate,
        device: &Device,
        object: &DeviceIdentity,
    ) -> Result<(), Rejection> {
        let name = certificate.content_digest().to_string();
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
                fingerprint: certificate.fingerprint().to_string(),
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
            Some(other) => Err(pinned(other.spec.registration_id, &device.id).into()),
            None => Err(Refusal::new(
                Reason::Conflict,
                "the claim of the bootstrap certificate was deleted just now",
            )
            .into()),
        }
    }
}
