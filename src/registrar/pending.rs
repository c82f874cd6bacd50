//! Requests that wait for a person: put on the device's record, and protected by the cluster.

use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::Client;

use super::{
    Rejection,
    fresh::Fresh,
    local::{LocalRegistrar, Requester},
};
use crate::{
    api::{DeviceIdentity, DevicePhase, PendingRequest},
    cluster::{self, Outcome, patch_status},
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
        // An approval stays one for what that person saw.
        new.approved_request = policy::approved_request(&old, &device);
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
        if group.approval == crate::api::Approval::Automatic || self.protection.holds().await? {
            return Ok(());
        }
        Err(approval_policy::missing(group).into())
    }
}

/// Whether the cluster protects approvals, as of at most a second ago.
pub(super) struct Protection {
    policies: Fresh<ValidatingAdmissionPolicy, bool>,
    bindings: Fresh<ValidatingAdmissionPolicyBinding, bool>,
}

impl Protection {
    pub(super) fn new(client: &Client) -> Self {
        let what = "read the admission policy";
        Self {
            policies: Fresh::of_cluster(client.clone(), what, |policy| {
                approval_policy::is_whole(&policy)
            }),
            bindings: Fresh::of_cluster(client.clone(), what, |binding| {
                approval_policy::is_bound(&binding)
            }),
        }
    }

    async fn holds(&self) -> Result<bool, Rejection> {
        let (policy, binding) = tokio::join!(
            self.policies.get("", approval_policy::NAME, None),
            self.bindings.get("", approval_policy::NAME, None)
        );
        match (policy, binding) {
            (Ok(policy), Ok(binding)) => Ok(policy.unwrap_or(false) && binding.unwrap_or(false)),
            // Without the right to read it nobody knows whether it is there.
            (Err(error), _) | (_, Err(error)) if error.outcome() == Outcome::Forbidden => Ok(false),
            (Err(error), _) | (_, Err(error)) => Err(error.into()),
        }
    }
}

/// Whether what is on record may stay: it is the same request, or has not been there long enough for a person to look at it.
fn is_shown(known: &PendingRequest, request: &PendingRequest, now: jiff::Timestamp) -> bool {
    let same = known.key_fingerprint == request.key_fingerprint
        && known.subject == request.subject
        && known.subject_alt_names == request.subject_alt_names;
    // Either way: a clock that was set back must not keep others out for a day.
    same || now.duration_since(known.requested_at.0).abs() < SHOWN
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

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
    };

    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    fn policy() -> Value {
        json!({
            "metadata": { "name": approval_policy::NAME, "resourceVersion": "1" },
            "spec": {
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": ["devicecert.dev"], "apiVersions": ["*"], "operations": ["*"],
                    "resources": ["deviceidentities"] }] },
                "validations": [{ "expression": approval_policy::EXPRESSION }],
            },
        })
    }

    fn binding(action: &str) -> Value {
        json!({
            "metadata": { "name": approval_policy::NAME, "resourceVersion": "1" },
            "spec": { "policyName": approval_policy::NAME, "validationActions": [action] },
        })
    }

    fn error(code: u16) -> (u16, Value) {
        let reason = if code == 404 { "NotFound" } else { "Other" };
        let status = json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "no" });
        (code, status)
    }

    /// An API server that answers with these, and how often it was asked.
    fn protection(
        policy: (u16, Value),
        binding: (u16, Value),
    ) -> (Arc<Protection>, Arc<AtomicUsize>) {
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = reads.clone();
        let server = tower::service_fn(move |request: http::Request<Body>| {
            counted.fetch_add(1, Relaxed);
            let is_binding = request.uri().path().contains("policybindings");
            let (code, answer) = if is_binding { &binding } else { &policy };
            let body = Body::from(answer.to_string().into_bytes());
            let answer = http::Response::builder().status(*code).body(body).unwrap();
            async move { Ok::<_, Infallible>(answer) }
        });
        let protection = Protection::new(&Client::new(server, "default"));
        (Arc::new(protection), reads)
    }

    #[test]
    fn a_request_gives_way_after_its_minute_also_where_the_clock_was_set_back() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let request = |key: &str| PendingRequest {
            key_fingerprint: key.into(),
            key_algorithm: "ECDSA-P256".into(),
            subject: "CN=a".into(),
            subject_alt_names: Vec::new(),
            requester: "Password/u".into(),
            requested_at: Time(at(86_400)),
        };
        let gives_way = |now| !is_shown(&request("a"), &request("b"), at(now));
        assert!(!gives_way(86_400) && !gives_way(86_459) && !gives_way(86_341));
        assert!(gives_way(86_460) && gives_way(0));
    }

    #[tokio::test]
    async fn one_read_of_policy_and_binding_serves_many_decisions() {
        let (protection, reads) = protection((200, policy()), (200, binding("Deny")));
        let decisions = (0..50).map(|_| protection.holds());
        for holds in futures::future::join_all(decisions).await {
            assert!(holds.unwrap());
        }
        assert!(protection.holds().await.unwrap());
        assert_eq!(reads.load(Relaxed), 2);
    }

    #[tokio::test]
    async fn what_is_missing_weaker_or_not_for_us_to_read_protects_nothing() {
        for (policy, binding) in [
            ((200, policy()), (200, binding("Audit"))),
            (error(404), (200, binding("Deny"))),
            ((200, policy()), error(404)),
            (error(403), (200, binding("Deny"))),
            ((200, policy()), error(403)),
        ] {
            let (protection, _) = protection(policy, binding);
            assert!(!protection.holds().await.unwrap());
        }
        let (protection, _) = protection((200, policy()), error(500));
        assert_eq!(
            protection.holds().await.unwrap_err().reason,
            Reason::ApiUnavailable
        );
    }
}
