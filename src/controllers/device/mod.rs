//! The DeviceIdentity controller: keeps the certificate of each device in the cluster valid and in its Secret, and says
//! of every device how it stands.

mod act;
mod decide;
mod memory;
mod secret;

pub use memory::Memory;

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt, runtime::controller::Action};

use super::Context;
use crate::{
    api::{ConditionStatus, DeviceIdentity, ProvisioningStatus, REGISTERED_BY},
    cluster::{self, ApiError},
    policy::{Device, Group, GroupKey, Origin, Reason, Refusal},
    registrar::Rejection,
};
use decide::{Observed, SecretState, decide, unreadable};

/// How long the enrolment of a device that registers itself may take.
const ENROLLING: SignedDuration = SignedDuration::from_secs(5);

/// Observes, decides, acts.
pub(super) fn reconcile(
    object: Arc<DeviceIdentity>,
    context: Arc<Context>,
) -> BoxFuture<'static, Result<Action, Rejection>> {
    async move {
        if object.metadata.deletion_timestamp.is_some() || context.devices.is_outdated(&object) {
            // A newer version of the object is on its way here and will be looked at.
            return Ok(Action::await_change());
        }
        let now = cluster::now();
        let device = match Device::compile(&object) {
            Ok(device) => device,
            Err(refusal) => {
                return act::settle(&object, &context, unreadable(&object, refusal), now).await;
            }
        };
        let observed = observe(&object, device, &context).await?;
        let plan = decide(&observed, now);
        act::act(&object, &context, &observed, plan).await
    }
    .boxed()
}

async fn observe(
    object: &DeviceIdentity,
    device: Device,
    context: &Context,
) -> Result<Observed, Rejection> {
    let key = GroupKey {
        namespace: device.namespace.clone(),
        name: device.group.clone(),
    };
    let group = match context.fleet.group(&key) {
        Some(group) => context.registrar.compiled_group(&group),
        None => Err(Refusal::new(
            Reason::GroupNotFound,
            format!(
                "there is no EnrollmentGroup {key}: create it, or create this DeviceIdentity with another spec.groupRef"
            ),
        )),
    };
    let hindrance = match &group {
        Err(refusal) => Some(refusal.clone()),
        Ok(group) => hindrance(group, context),
    };
    let secret = match &device.origin {
        Origin::Secret(name) => secret_state(object, &device, name, context).await?,
        Origin::Request | Origin::Outside => SecretState::NotWanted,
    };
    Ok(Observed {
        group: group.ok(),
        hindrance,
        secret,
        renew_after: object
            .spec
            .renew_after
            .as_ref()
            .map(|time| next_second(time.0)),
        sweep: context.devices.sweep_time(object),
        was_refused: was_refused(object),
        pending: object.status.as_ref().and_then(|status| {
            status
                .pending_request
                .as_ref()?
                .key_fingerprint
                .parse()
                .ok()
        }),
        enrolling_until: enrolling_until(object),
        device,
    })
}

/// Certificates count whole seconds, so one that is made within the second of `time` would seem older than it. Kubernetes
/// itself writes no fractions, but takes them.
fn next_second(time: Timestamp) -> Timestamp {
    let up = TimestampRound::new()
        .smallest(Unit::Second)
        .mode(RoundMode::Ceil);
    // Fails only in the last second that there is.
    time.round(up).unwrap_or(time)
}

/// A device that registered itself has its certificate recorded in the next moment.
fn enrolling_until(object: &DeviceIdentity) -> Option<Timestamp> {
    object.annotations().get(REGISTERED_BY)?;
    let created = object.metadata.creation_timestamp.as_ref()?;
    created.0.checked_add(ENROLLING).ok()
}

fn was_refused(object: &DeviceIdentity) -> bool {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == "Issued")
        .any(|condition| condition.status == ConditionStatus::False)
}

/// What the fleet already knows to stand in the way; the registrar has the last word.
fn hindrance(group: &Group, context: &Context) -> Option<Refusal> {
    if group.provisioning == ProvisioningStatus::Disabled {
        let message = format!(
            "group {}/{} is Disabled: it gives out no certificates",
            group.namespace, group.name
        );
        return Some(Refusal::new(Reason::GroupDisabled, message));
    }
    let Some(authority) = context.fleet.authority(&group.namespace, &group.authority) else {
        return Some(Refusal::new(
            Reason::AuthorityNotFound,
            format!(
                "there is no CertificateAuthority {}/{}: create it, or correct the group's authorityRef",
                group.namespace, group.authority
            ),
        ));
    };
    context.registrar.facts_of(&authority).usable().err()
}

async fn secret_state(
    object: &DeviceIdentity,
    device: &Device,
    name: &str,
    context: &Context,
) -> Result<SecretState, Rejection> {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let seen = context.fleet.secret(&device.namespace, name);
    if let (Some(seen), Some(current)) = (&seen, &device.current)
        && secret::is_owned(&seen.metadata, uid)
        && secret::shows(&seen.metadata, current.fingerprint)
        && context
            .devices
            .trusts(uid, seen.metadata.resource_version.as_deref())
    {
        let uid = seen.metadata.uid.clone().unwrap_or_default();
        return Ok(SecretState::Intact { uid });
    }
    let api: Api<Secret> = Api::namespaced(context.clients.calls.clone(), &device.namespace);
    let found = api
        .get_opt(name)
        .await
        .map_err(|e| ApiError::new("read Secret", name, e))?;
    let Some(found) = found else {
        return Ok(SecretState::Absent);
    };
    if !secret::is_owned(&found.metadata, uid) {
        return Ok(SecretState::Foreign(secret::owner_in_words(
            &found.metadata,
        )));
    }
    let checked = match &device.current {
        Some(current) => secret::check(&found, current.fingerprint),
        None => Err("no certificate is on record for it".into()),
    };
    let found_uid = found.uid().unwrap_or_default();
    Ok(match checked {
        Ok(()) => {
            context
                .devices
                .verified(uid, found.resource_version().as_deref());
            SecretState::Intact { uid: found_uid }
        }
        Err(why) => SecretState::Damaged {
            why,
            uid: found_uid,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_a_second_counts_as_the_next_second() {
        for (time, expected) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01T00:00:00.001Z", "2026-01-01T00:00:01Z"),
            ("2026-12-31T23:59:59.999999999Z", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(
                next_second(time.parse().unwrap()),
                expected.parse().unwrap()
            );
        }
    }
}
