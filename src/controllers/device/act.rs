//! Carries out a plan for a DeviceIdentity: a certificate on record first, then the Secret, then Ready.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::controller::Action,
};
use serde_json::json;

use super::{
    decide::{Observed, Plan, SecretState, Standing, Why, refused},
    secret,
};
use crate::{
    api::{ConditionStatus, DeviceIdentity, DevicePhase},
    cluster::{self, ApiError, Outcome, patch_status},
    controllers::Context,
    pki::{Csr, KeyAlgorithm, PrivateKey},
    policy::{Asked, Origin, Reason, Refusal, secret_ready, set_condition},
    registrar::{Issued, Rejection},
};

pub(super) async fn act(
    object: &DeviceIdentity,
    context: &Context,
    observed: &Observed,
    plan: Plan,
) -> Result<Action, Rejection> {
    let why = match plan {
        Plan::Settle(standing) => return settle(object, context, standing, cluster::now()).await,
        Plan::Look(again) => {
            return Ok(Action::requeue(wait_until(again, cluster::now())));
        }
        Plan::Issue(why) => why,
    };
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    if let Some(wait) = context.devices.must_wait(uid) {
        return Ok(Action::requeue(wait));
    }
    // The object as it was written last: what comes after a record must be said of that version.
    let mut latest = object.clone();
    let result = match &observed.device.origin {
        Origin::Secret(name) => issue_into_secret(&mut latest, context, observed, name, &why).await,
        Origin::Request | Origin::Outside => issue_for_request(object, context, observed).await,
    };
    match result {
        Ok(()) => {
            let note = match &why {
                Why::First => "the first certificate was issued".to_string(),
                Why::Renewal => "the certificate was renewed".to_string(),
                Why::NamesChanged => "a certificate for the changed names was issued".to_string(),
                Why::SecretLost(what) => format!("{what}; a new certificate was put in its place"),
            };
            let reason = match why {
                Why::First => Reason::Issued,
                Why::Renewal | Why::NamesChanged => Reason::Renewed,
                Why::SecretLost(_) => Reason::SecretRestored,
            };
            context.events.normal(object.object_ref(&()), reason, &note);
            // What was written comes back through the watch, and with it the next renewal time.
            Ok(Action::requeue(Duration::from_secs(30)))
        }
        Err(rejection) if is_ours_to_retry(rejection.reason) => Err(rejection),
        Err(rejection) => {
            let now = cluster::now();
            let refusal = Refusal::new(rejection.reason, rejection.message);
            let action = settle(&latest, context, refused(observed, &refusal, now), now).await?;
            Ok(context
                .devices
                .must_wait(uid)
                .map_or(action, Action::requeue))
        }
    }
}

/// Failures that say nothing about the device: tried again soon, and not written into its status.
fn is_ours_to_retry(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ApiUnavailable
            | Reason::Conflict
            | Reason::NotReady
            | Reason::Overloaded
            | Reason::AuditUnavailable
    )
}

/// Makes the status say how the device stands; writes only what differs.
pub(super) async fn settle(
    object: &DeviceIdentity,
    context: &Context,
    standing: Standing,
    now: Timestamp,
) -> Result<Action, Rejection> {
    let old = object.status.clone().unwrap_or_default();
    let mut new = old.clone();
    new.phase = Some(standing.phase);
    new.observed_generation = object.metadata.generation;
    let problem = standing
        .statements
        .iter()
        .rev()
        .find(|statement| statement.status != ConditionStatus::True)
        .cloned();
    for statement in standing.statements {
        set_condition(
            &mut new.conditions,
            statement,
            object.metadata.generation,
            now,
        );
    }
    let api: Api<DeviceIdentity> = Api::namespaced(
        context.clients.calls.clone(),
        &object.namespace().unwrap_or_default(),
    );
    if let Some(written) = patch_status(&api, object, &old, &new).await? {
        context.devices.wrote(&written);
        if let Some(problem) =
            problem.filter(|problem| problem.reason != Reason::AwaitingEnrollment)
        {
            context
                .events
                .warning(object.object_ref(&()), problem.reason, &problem.message);
        }
    }
    Ok(match standing.again {
        Some(again) => Action::requeue(wait_until(again, now)),
        None => Action::await_change(),
    })
}

fn wait_until(moment: Timestamp, now: Timestamp) -> Duration {
    moment
        .duration_since(now)
        .try_into()
        .unwrap_or(Duration::ZERO)
}

async fn issue_for_request(
    object: &DeviceIdentity,
    context: &Context,
    observed: &Observed,
) -> Result<(), Rejection> {
    // The fleet does not keep the CSR; the object as it is now has it.
    let api: Api<DeviceIdentity> =
        Api::namespaced(context.clients.calls.clone(), &observed.device.namespace);
    let name = object.name_any();
    let full = api
        .get(&name)
        .await
        .map_err(|e| ApiError::new("read DeviceIdentity", &name, e))?;
    if full.resource_version() != object.resource_version() {
        return Err(Refusal::new(Reason::Conflict, "the DeviceIdentity changed just now").into());
    }
    let pem = full.spec.request.as_deref().unwrap_or_default();
    let csr = Csr::from_pem_or_der(pem.as_bytes())
        .map_err(|e| Refusal::new(Reason::InvalidCsr, format!("spec.request: {e}")))?;
    issue(&full, context, observed, Asked::Csr(&csr)).await?;
    Ok(())
}

/// A certificate on the device's record.
async fn issue(
    object: &DeviceIdentity,
    context: &Context,
    observed: &Observed,
    asked: Asked<'_>,
) -> Result<Issued, Rejection> {
    let requester = observed.requester();
    let result = context.registrar.issue(object, &requester, asked).await;
    match &result {
        Ok(issued) => context.devices.wrote(&issued.device),
        Err(rejection) => {
            context.counters.refused(requester.door, rejection.reason);
            if rejection.reason.awaits_approval() {
                context
                    .registrar
                    .hold(object, &requester, asked, rejection)
                    .await?;
            }
        }
    }
    result
}

async fn issue_into_secret(
    object: &mut DeviceIdentity,
    context: &Context,
    observed: &Observed,
    name: &str,
    why: &Why,
) -> Result<(), Rejection> {
    let secrets: Api<Secret> =
        Api::namespaced(context.clients.calls.clone(), &observed.device.namespace);
    let key = device_key(context, observed, &secrets, name, why).await?;
    let issued = issue(object, context, observed, Asked::OwnKey(key.public())).await?;
    object.clone_from(&issued.device);
    let pem = key.to_pkcs8_pem();
    let wanted = secret::build(object, name, &issued.certificate, &issued.chain, &pem);
    let written = match &observed.secret {
        SecretState::Intact { uid } | SecretState::Damaged { uid, .. } => {
            patch_secret(&secrets, name, uid, &wanted).await
        }
        SecretState::Absent | SecretState::NotWanted | SecretState::Foreign(_) => {
            secrets.create(&PostParams::default(), &wanted).await
        }
    };
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let written = written.map_err(|e| secret_failed(context, uid, name, e))?;
    context.devices.secret_written(uid);
    context
        .devices
        .verified(uid, written.resource_version().as_deref());
    become_ready(context, name, issued).await
}

/// A certificate is on record, but its Secret could not be written and its key is lost. The next attempt waits longer each
/// time, or each would put one more certificate on record.
fn secret_failed(context: &Context, uid: &str, name: &str, error: kube::Error) -> Rejection {
    context.devices.secret_failed(uid);
    let error = ApiError::new("write Secret", name, error);
    match error.outcome() {
        Outcome::Exists => Refusal::new(
            Reason::SecretNotOwned,
            format!("a Secret {name} has just appeared and is left alone"),
        )
        .into(),
        Outcome::Forbidden | Outcome::Refused => {
            let message = format!(
                "{error}. Make room for the Secret, or lift what forbids it; it is tried again"
            );
            Refusal::new(Reason::SecretRefused, message).into()
        }
        Outcome::NotFound | Outcome::Conflict | Outcome::Unavailable => error.into(),
    }
}

/// The key for the next certificate: the one in the Secret where the group keeps keys, else a new one.
async fn device_key(
    context: &Context,
    observed: &Observed,
    secrets: &Api<Secret>,
    name: &str,
    why: &Why,
) -> Result<PrivateKey, Rejection> {
    let keeps = observed
        .group
        .as_ref()
        .is_some_and(|group| !group.rotate_key);
    if keeps
        && matches!(why, Why::Renewal | Why::NamesChanged)
        && matches!(observed.secret, SecretState::Intact { .. })
    {
        let found = secrets
            .get_opt(name)
            .await
            .map_err(|e| ApiError::new("read Secret", name, e))?;
        if let Some(key) = found.as_ref().and_then(secret::key) {
            return Ok(key);
        }
    }
    let algorithm = observed
        .group
        .as_ref()
        .map_or(KeyAlgorithm::EcdsaP256, |group| group.key_algorithm);
    context.registrar.new_key(algorithm).await
}

/// Merges our fields into our Secret, if it is still the object that was looked at.
async fn patch_secret(
    secrets: &Api<Secret>,
    name: &str,
    uid: &str,
    wanted: &Secret,
) -> Result<Secret, kube::Error> {
    let body = json!({
        "metadata": { "uid": uid, "labels": wanted.metadata.labels, "annotations": wanted.metadata.annotations },
        "data": wanted.data,
    });
    secrets
        .patch(name, &PatchParams::default(), &Patch::Merge(&body))
        .await
}

/// The Secret is there: now, and not before, the device is Ready.
async fn become_ready(context: &Context, name: &str, issued: Issued) -> Result<(), Rejection> {
    let device = issued.device;
    let old = device.status.clone().unwrap_or_default();
    let mut new = old.clone();
    new.phase = Some(DevicePhase::Active);
    let statement = secret_ready(name);
    set_condition(
        &mut new.conditions,
        statement,
        device.metadata.generation,
        cluster::now(),
    );
    let api: Api<DeviceIdentity> = Api::namespaced(
        context.clients.calls.clone(),
        &device.namespace().unwrap_or_default(),
    );
    if let Some(written) = patch_status(&api, &device, &old, &new).await? {
        context.devices.wrote(&written);
    }
    Ok(())
}
