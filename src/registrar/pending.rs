//! Requests that wait for a person: put on the device's record, and protected by the cluster.

use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::Api;

use super::{
    Rejection,
    local::{LocalRegistrar, Requester},
};
use crate::{
    api::{DeviceIdentity, DevicePhase, PendingRequest},
    cluster::{self, ApiError, Outcome, patch_status},
    policy::{self, Asked, Device, Group, Reason, Statement, approval_policy, set_condition},
};

/// For how long another request of the same device does not take the place of the one that waits.
const SHOWN: jiff::SignedDuration = jiff::SignedDuration::from_mins(1);

impl LocalRegistrar {
    /// Puts a request on the device's record. Asking again for the same writes nothing.
    pub async fn hold(
        &self,
        object: &DeviceIdentity,
        requester: &Requester,
        asked: Asked<'_>,
        rejection: &Rejection,
    ) -> Result<(), Rejection> {
        let device = Device::compile(object)?;
        let group = self.group(&requester.group).await?;
        let now = cluster::now();
        let old = object.status.clone().unwrap_or_default();
        let key = policy::approval_key(&asked, &device).to_string();
        let request = pending_request(&device, requester, &asked, key, now);
        match &old.pending_request {
            Some(known) if is_shown(known, &request, now) => return Ok(()),
            Some(_) => {}
            None => self.check_room_for_pending(&group)?,
        }
        let mut new = old.clone();
        new.pending_request = Some(request);
        if device.live(now).is_none() {
            new.phase = Some(DevicePhase::PendingApproval);
            let statement =
                Statement::no("Ready", Reason::PendingApproval, rejection.message.clone());
            set_condition(
                &mut new.conditions,
                statement,
                object.metadata.generation,
                now,
            );
        }
        patch_status(&self.devices(&device.namespace), object, &old, &new).await?;
        Ok(())
    }

    /// Where a person must approve, the cluster must let nobody else do it.
    pub async fn check_approval_is_protected(&self, group: &Group) -> Result<(), Rejection> {
        if group.approval == crate::api::Approval::Automatic || self.approval_is_protected().await?
        {
            return Ok(());
        }
        Err(approval_policy::missing(group).into())
    }

    async fn approval_is_protected(&self) -> Result<bool, Rejection> {
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(self.client().clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client().clone());
        let (policy, binding) = tokio::join!(
            policies.get_opt(approval_policy::NAME),
            bindings.get_opt(approval_policy::NAME)
        );
        let failed = |e| ApiError::new("read the admission policy", approval_policy::NAME, e);
        let unreadable = |error: ApiError| match error.outcome() {
            // Without the right to read it nobody knows whether it is there.
            Outcome::Forbidden => Ok(false),
            _ => Err(Rejection::from(error)),
        };
        match (policy.map_err(failed), binding.map_err(failed)) {
            (Ok(Some(policy)), Ok(Some(binding))) => {
                Ok(approval_policy::protects(&policy, &binding))
            }
            (Ok(_), Ok(_)) => Ok(false),
            (Err(error), _) | (_, Err(error)) => unreadable(error),
        }
    }
}

/// Whether what is on record may stay: it is the same request, or has not been there long enough for a person to look at it.
fn is_shown(known: &PendingRequest, request: &PendingRequest, now: jiff::Timestamp) -> bool {
    let same = known.key_fingerprint == request.key_fingerprint
        && known.subject == request.subject
        && known.subject_alt_names == request.subject_alt_names;
    same || now.duration_since(known.requested_at.0) < SHOWN
}

fn pending_request(
    device: &Device,
    requester: &Requester,
    asked: &Asked<'_>,
    key: String,
    now: jiff::Timestamp,
) -> PendingRequest {
    let csr = asked.csr();
    let mut names = csr.map(|csr| csr.sans().to_texts()).unwrap_or_default();
    names.extend(device.declared_names.to_texts());
    names.sort();
    names.dedup();
    let cut = |text: String, length: usize| -> String { text.chars().take(length).collect() };
    PendingRequest {
        key_fingerprint: key,
        key_algorithm: cut(asked.key().algorithm().to_string(), 16),
        subject: cut(
            csr.map_or_else(
                || format!("CN={}", device.id),
                |csr| csr.subject().to_string(),
            ),
            2000,
        ),
        subject_alt_names: names
            .into_iter()
            .map(|name| cut(name, 512))
            .take(96)
            .collect(),
        requester: cut(requester.principal.to_string(), 256),
        requested_at: Time(now),
    }
}
