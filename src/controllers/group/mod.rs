//! The EnrollmentGroup controller: says whether the group gives out certificates, and counts its devices.

mod decide;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use kube::{Api, Resource, ResourceExt, runtime::controller::Action};
use serde_json::json;

use super::Context;
use crate::{
    api::{ConditionStatus, EnrollmentGroup, FINALIZER},
    cluster::{self, patch_metadata, patch_status},
    pki::Certificate,
    policy::{GroupKey, Reason, Refusal, read_authority_facts},
    registrar::{ACCEPTED, Rejection, authority_chain},
};
use decide::{Observed, decide};

/// The shortest time between two writes of a group's counts.
const PACE: Duration = Duration::from_secs(10);
/// How often a group is looked at without cause.
const IDLE: Duration = Duration::from_secs(60);

/// How often one with passwords is: its Secret is read then. Whoever watches Secrets without a label watches all of the
/// cluster, which is not for this operator to see.
const PASSWORDS: Duration = Duration::from_secs(10);

/// How often a group is looked at that gives out nothing: what hinders it may be nothing that is watched.
const HINDERED: Duration = Duration::from_secs(5);

/// When each group's status was last written.
#[derive(Default)]
pub struct Memory {
    written: Mutex<HashMap<String, Instant>>,
}

impl Memory {
    /// How long a write of mere counts must still wait.
    fn must_wait(&self, uid: &str) -> Option<Duration> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written
            .get(uid)
            .and_then(|at| PACE.checked_sub(at.elapsed()))
    }

    fn wrote(&self, uid: &str) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, at| at.elapsed() < PACE);
        written.insert(uid.into(), Instant::now());
    }
}

/// Observes, decides, acts.
pub(super) fn reconcile(
    group: Arc<EnrollmentGroup>,
    context: Arc<Context>,
) -> BoxFuture<'static, Result<Action, Rejection>> {
    async move {
        let key = GroupKey {
            namespace: group.namespace().unwrap_or_default(),
            name: group.name_any(),
        };
        let api: Api<EnrollmentGroup> =
            Api::namespaced(context.clients.calls.clone(), &key.namespace);
        let terminating = group.metadata.deletion_timestamp.is_some();
        let protected = group
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == FINALIZER);
        if !terminating && !protected {
            let mut finalizers = group.finalizers().to_vec();
            finalizers.push(FINALIZER.into());
            patch_metadata(&api, group.as_ref(), json!({ "finalizers": finalizers })).await?;
            return Ok(Action::await_change());
        }

        let observed = observe(&group, &key, &context).await?;
        let now = cluster::now();
        let old = group.status.clone().unwrap_or_default();
        let new = decide(&old, &observed, now);
        if terminating && observed.live.is_empty() {
            if protected {
                let others: Vec<_> = group
                    .finalizers()
                    .iter()
                    .filter(|other| *other != FINALIZER)
                    .cloned()
                    .collect();
                patch_metadata(&api, group.as_ref(), json!({ "finalizers": others })).await?;
            }
            return Ok(Action::await_change());
        }

        let uid = group.metadata.uid.as_deref().unwrap_or_default();
        let only_counts =
            old.conditions == new.conditions && old.observed_generation == new.observed_generation;
        if let Some(wait) = context
            .groups
            .must_wait(uid)
            .filter(|_| only_counts && old != new)
        {
            return Ok(Action::requeue(wait));
        }
        if patch_status(&api, group.as_ref(), &old, &new)
            .await?
            .is_some()
        {
            context.groups.wrote(uid);
            if let Some(ready) = new
                .conditions
                .iter()
                .find(|c| c.type_ == "Ready" && c.status != ConditionStatus::True)
                && !only_counts
            {
                context
                    .events
                    .warning(group.object_ref(&()), observed.reason(), &ready.message);
            }
        }
        let ready = new
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        let what_matters = (
            group.metadata.generation,
            group.metadata.uid.as_deref(),
            ready.map(|ready| (ready.reason.as_str(), ready.message.as_str())),
            terminating,
        );
        if context.wake.is_news(&format!("group/{key}"), what_matters) {
            context.wake.devices_of_group(&context.fleet, &key).await;
        }
        let in_order = ready.is_some_and(|ready| ready.status == ConditionStatus::True);
        Ok(Action::requeue(
            match &group.spec.authentication.passwords {
                _ if !in_order => HINDERED,
                Some(_) => PASSWORDS,
                None => IDLE,
            },
        ))
    }
    .boxed()
}

async fn observe(
    group: &EnrollmentGroup,
    key: &GroupKey,
    context: &Context,
) -> Result<Observed, Rejection> {
    let devices = context.fleet.devices_of(key);
    let hindrance = match hindrance(group, context).await {
        Ok(()) => None,
        Err(rejection) if rejection.reason == Reason::ApiUnavailable => return Err(rejection),
        Err(rejection) => Some(Refusal::new(rejection.reason, rejection.message)),
    };
    let overlap = overlap(group, key, context);
    Ok(Observed::new(
        group,
        &devices,
        hindrance,
        overlap,
        cluster::now(),
    ))
}

/// Why the group gives out nothing, or one of its ways in is closed.
async fn hindrance(group: &EnrollmentGroup, context: &Context) -> Result<(), Rejection> {
    let compiled = context.registrar.compiled_group(group)?;
    let (authority, _) = context
        .registrar
        .authority(&compiled.namespace, &compiled.authority)
        .await?;
    authority.usable()?;
    compiled.check_fits_below(&authority)?;
    context
        .registrar
        .check_approval_is_protected(&compiled)
        .await?;
    if let Some(rules) = &compiled.passwords {
        let passwords = context
            .registrar
            .passwords(&compiled.namespace, &rules.secret)
            .await?;
        if !passwords.unusable().is_empty() {
            let lines: Vec<String> = passwords
                .unusable()
                .iter()
                .map(ToString::to_string)
                .collect();
            return Err(Refusal::new(
                Reason::PasswordsUnavailable,
                format!(
                    "the password Secret {} has hashes that are not accepted, in the lines {}: {ACCEPTED}. The other users can log in",
                    rules.secret,
                    lines.join(", ")
                ),
            )
            .into());
        }
    }
    // Watched, so that the group is woken by a change.
    let watched = |name: &str| {
        let authority = context.fleet.authority(&compiled.namespace, name)?;
        Some(read_authority_facts(&authority))
    };
    Ok(compiled.check_ways_in(watched)?)
}

/// Where a group makes CAs: another group whose devices the same root certifies. Whoever lets devices in because the root
/// signed them then also lets in whatever such a CA signs, under any name, unless a certificate in between constrains names.
fn overlap(group: &EnrollmentGroup, key: &GroupKey, context: &Context) -> Option<String> {
    if !group.spec.profile.is_ca {
        return None;
    }
    let chain = |name: &str| authority_chain(&*context.fleet.authority(&key.namespace, name)?);
    let own = chain(&group.spec.authority_ref.name)?;
    if own.iter().any(Certificate::has_name_constraints) {
        return None;
    }
    let root = own.last()?;
    let groups = context.fleet.groups();
    let other = groups.iter().find(|other| {
        other.metadata.namespace.as_deref() == Some(&key.namespace)
            && !other.spec.profile.is_ca
            && chain(&other.spec.authority_ref.name).is_some_and(|chain| chain.last() == Some(root))
    })?;
    Some(format!(
        "the root {} certifies the devices of group {} as well as the CAs that this group makes, and nothing limits the names that these \
         CAs may certify: whoever trusts that root lets in what they sign. Use a root of its own for this group",
        root.subject(),
        other.name_any()
    ))
}
