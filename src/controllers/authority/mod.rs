//! The CertificateAuthority controller: a key and a certificate for each authority, made once and never replaced.

mod act;
mod decide;

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{ResourceExt, runtime::controller::Action};

use super::Context;
use crate::{
    api::{CertificateAuthority, FINALIZER},
    cluster::{self, ApiError},
    fleet::Fleet,
    policy::Reason,
    registrar::{CaKey, Rejection, key_secret_name},
};
use decide::{Dependents, Key, Observed, Parent, decide};

/// The annotation on a key Secret that names its authority, `namespace/name`.
const AUTHORITY: &str = "devicecert.dev/authority";

/// The authority that a key Secret belongs to.
pub(super) fn owner_of_key(metadata: &ObjectMeta) -> Option<(&str, &str)> {
    metadata
        .annotations
        .as_ref()?
        .get(AUTHORITY)?
        .split_once('/')
}

/// Observes, decides, acts.
pub(super) fn reconcile(
    authority: Arc<CertificateAuthority>,
    context: Arc<Context>,
) -> BoxFuture<'static, Result<Action, Rejection>> {
    async move {
        let observed = observe(&authority, &context).await?;
        let plan = decide(&observed, cluster::now());
        act::act(&authority, &context, observed, plan).await
    }
    .boxed()
}

async fn observe(
    authority: &CertificateAuthority,
    context: &Context,
) -> Result<Observed, Rejection> {
    let (namespace, name) = (
        authority.namespace().unwrap_or_default(),
        authority.name_any(),
    );
    let secret_name = key_secret_name(&namespace, &name, 1);
    let key = match context
        .keyring
        .secrets()
        .get_opt(&secret_name)
        .await
        .map_err(|e| ApiError::new("read the key Secret", &secret_name, e))?
    {
        None => Key::Absent,
        // A Secret whose deletion waits for our finalizer is still there, and still the key.
        Some(secret) => match CaKey::from_secret(&secret) {
            Ok(key) => Key::Found(Box::new(key)),
            Err(refusal) => Key::Unreadable(refusal.message),
        },
    };
    let parent = match &authority.spec.issued_by {
        None => Parent::SelfSigned,
        Some(parent) => match context.registrar.authority(&namespace, &parent.name).await {
            Ok((facts, _)) => Parent::Authority(Box::new(facts)),
            Err(rejection) if rejection.reason == Reason::AuthorityNotFound => {
                Parent::NotFound(parent.name.clone())
            }
            Err(rejection) if rejection.reason == Reason::ApiUnavailable => return Err(rejection),
            Err(rejection) => Parent::Unusable(rejection.message),
        },
    };
    let dependents = match authority.metadata.deletion_timestamp {
        Some(_) => dependents(authority, &key, &context.fleet),
        None => Dependents::default(),
    };
    Ok(Observed {
        has_finalizer: authority
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == FINALIZER),
        object: authority.clone(),
        secret_name,
        key,
        parent,
        dependents,
    })
}

/// What would suffer if the authority went. Which certificates are its own is read off the key, as a status can be lost or
/// forged.
fn dependents(authority: &CertificateAuthority, key: &Key, fleet: &Fleet) -> Dependents {
    let namespace = authority.metadata.namespace.as_deref();
    let name = authority.name_any();
    let shown = authority
        .status
        .as_ref()
        .and_then(|status| status.certificate.as_ref());
    let own = match key {
        Key::Found(key) => Some(key.certificate.fingerprint().to_string()),
        Key::Absent | Key::Unreadable(_) => shown.map(|shown| shown.fingerprint.clone()),
    };
    let now = cluster::now();
    let mut found = Dependents::default();
    let Some(own) = own else { return found };
    for device in fleet
        .devices()
        .iter()
        .filter(|device| device.metadata.namespace.as_deref() == namespace)
    {
        let Some(status) = &device.status else {
            continue;
        };
        let current = status
            .certificate
            .iter()
            .map(|c| (&c.issuer_fingerprint, c.not_after.0));
        let past = status
            .previous
            .iter()
            .map(|p| (&p.issuer_fingerprint, p.not_after.0));
        for (_, end) in current
            .chain(past)
            .filter(|(issuer, end)| **issuer == own && *end > now)
        {
            found.leaves += 1;
            found.last_leaf = found.last_leaf.max(Some(end));
        }
    }
    // A child without a certificate waits for nobody, and an authority is no child of its own.
    let is_child = |child: &CertificateAuthority| {
        child.metadata.namespace.as_deref() == namespace
            && child.name_any() != name
            && child
                .status
                .as_ref()
                .is_some_and(|status| status.certificate.is_some())
            && child
                .spec
                .issued_by
                .as_ref()
                .is_some_and(|parent| parent.name == name)
    };
    found.children = fleet
        .authorities()
        .iter()
        .filter(|child| is_child(child))
        .count();
    found
}
