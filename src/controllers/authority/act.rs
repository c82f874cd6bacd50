//! Carries out a plan for a CertificateAuthority: the key first, then the status that shows it.

use std::{collections::BTreeMap, sync::Arc};

use jiff::SignedDuration;
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Time};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams},
    runtime::controller::Action,
};
use serde_json::json;

use super::{
    AUTHORITY,
    decide::{Key, NewAuthority, Observed, Parent, Plan},
};
use crate::{
    api::{
        AuthorityCertificate, AuthorityGeneration, CertificateAuthority,
        CertificateAuthorityStatus, FINALIZER, GenerationState, KeyDeletion,
    },
    cluster::{self, ApiError, MANAGED_BY, Outcome, patch_metadata, patch_status},
    controllers::Context,
    pki::{Certificate, pem_chain},
    policy::{Reason, Refusal, Statement, set_condition},
    registrar::{AuthorityTemplate, CaKey, Rejection},
};

/// How often a CA whose key is in place is looked at without cause.
const IDLE: SignedDuration = SignedDuration::from_mins(5);

pub(super) async fn act(
    authority: &Arc<CertificateAuthority>,
    context: &Context,
    observed: Observed,
    plan: Plan,
) -> Result<Action, Rejection> {
    match plan {
        Plan::Protect => {
            let mut finalizers = authority.finalizers().to_vec();
            finalizers.push(FINALIZER.into());
            patch_metadata(
                &api(authority, context),
                authority.as_ref(),
                json!({ "finalizers": finalizers }),
            )
            .await?;
            Ok(Action::await_change())
        }
        Plan::Create(new) => {
            let key = create(authority, context, &observed, *new).await?;
            show(authority, context, &observed, &key).await
        }
        Plan::Show { adopted } => {
            let Key::Found(key) = &observed.key else {
                return Ok(Action::await_change());
            };
            if adopted {
                let note = format!(
                    "took up the existing key in Secret {}",
                    observed.secret_name
                );
                context
                    .events
                    .normal(authority.object_ref(&()), Reason::Adopted, &note);
            }
            show(authority, context, &observed, key).await
        }
        Plan::Wait { statement, again } => {
            let old = authority.status.clone().unwrap_or_default();
            let mut new = old.clone();
            new.observed_generation = authority.metadata.generation;
            let (reason, message) = (statement.reason, statement.message.clone());
            set_condition(
                &mut new.conditions,
                statement,
                authority.metadata.generation,
                cluster::now(),
            );
            match patch_status(&api(authority, context), authority.as_ref(), &old, &new).await? {
                Some(_) => context
                    .events
                    .warning(authority.object_ref(&()), reason, &message),
                None => wake_dependents(authority, context, &new).await,
            }
            Ok(again.map_or_else(Action::await_change, |again| {
                Action::requeue(again.unsigned_abs())
            }))
        }
        Plan::Release => release(authority, context, &observed).await,
    }
}

fn api(authority: &CertificateAuthority, context: &Context) -> Api<CertificateAuthority> {
    Api::namespaced(
        context.clients.calls.clone(),
        &authority.namespace().unwrap_or_default(),
    )
}

/// Makes key and certificate and stores both in one immutable Secret. If a Secret of that name appeared meanwhile, it
/// wins: the next look adopts it.
async fn create(
    authority: &CertificateAuthority,
    context: &Context,
    observed: &Observed,
    new: NewAuthority,
) -> Result<CaKey, Rejection> {
    let key = context.registrar.new_key(new.algorithm).await?;
    let issued_by = match &observed.parent {
        Parent::Authority(facts) => Some((facts.namespace.clone(), facts.name.clone())),
        _ => None,
    };
    let NewAuthority {
        subject,
        validity,
        path_length,
        ..
    } = new;
    let template = AuthorityTemplate {
        subject,
        validity,
        path_length,
        issued_by,
    };
    let (certificate, issuers) = context.registrar.sign_authority(&key, template).await?;
    let chain: Vec<Certificate> = std::iter::once(certificate.clone())
        .chain(issuers.iter().cloned())
        .collect();
    let (namespace, name) = (
        authority.namespace().unwrap_or_default(),
        authority.name_any(),
    );
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(observed.secret_name.clone()),
            namespace: Some(context.key_namespace.clone()),
            labels: Some([(MANAGED_BY.0.to_string(), MANAGED_BY.1.to_string())].into()),
            annotations: Some([(AUTHORITY.to_string(), format!("{namespace}/{name}"))].into()),
            finalizers: Some(vec![FINALIZER.into()]),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        type_: Some("devicecert.dev/authority-key".into()),
        data: Some(BTreeMap::from([
            (
                "tls.crt".to_string(),
                ByteString(pem_chain(&chain).into_bytes()),
            ),
            (
                "tls.key".to_string(),
                ByteString(key.to_pkcs8_pem().as_bytes().to_vec()),
            ),
        ])),
        ..Secret::default()
    };
    match context
        .keyring
        .secrets()
        .create(&PostParams::default(), &secret)
        .await
    {
        Ok(_) => Ok(CaKey {
            key,
            certificate,
            issuers,
        }),
        Err(error) => {
            let error = ApiError::new("store the key Secret", &observed.secret_name, error);
            Err(match error.outcome() {
                Outcome::Exists => Refusal::new(
                    Reason::Conflict,
                    "a key Secret of this name has just appeared",
                )
                .into(),
                _ => error.into(),
            })
        }
    }
}

/// Writes what the key Secret says into the status.
async fn show(
    authority: &Arc<CertificateAuthority>,
    context: &Context,
    observed: &Observed,
    key: &CaKey,
) -> Result<Action, Rejection> {
    let now = cluster::now();
    let validity = key.certificate.validity();
    let old = authority.status.clone().unwrap_or_default();
    let mut new = old.clone();
    new.observed_generation = authority.metadata.generation;
    let fingerprint = key.certificate.fingerprint().to_string();
    new.certificate = Some(AuthorityCertificate {
        serial_number: key.certificate.serial().to_string(),
        subject: key.certificate.subject().to_string(),
        issuer: key.certificate.issuer().to_string(),
        not_before: Time(validity.not_before),
        not_after: Time(validity.not_after),
        fingerprint: fingerprint.clone(),
    });
    let chain: Vec<Certificate> = std::iter::once(&key.certificate)
        .chain(&key.issuers)
        .cloned()
        .collect();
    new.chain = Some(pem_chain(&chain));
    new.generations = vec![AuthorityGeneration {
        number: 1,
        state: GenerationState::Active,
        key_secret_name: observed.secret_name.clone(),
        fingerprint,
    }];
    let statement = if validity.not_after <= now {
        Statement::no(
            "Ready",
            Reason::Expired,
            format!(
                "the CA certificate expired at {}: create a new CertificateAuthority and point the groups at it",
                validity.not_after
            ),
        )
    } else if authority.spec.suspended {
        Statement::no(
            "Ready",
            Reason::Suspended,
            "spec.suspended is true: the CA signs nothing",
        )
    } else {
        Statement::yes(
            "Ready",
            Reason::AuthorityReady,
            format!("the CA signs until {}", validity.not_after),
        )
    };
    let ready = statement.clone();
    set_condition(
        &mut new.conditions,
        statement,
        authority.metadata.generation,
        now,
    );
    match patch_status(&api(authority, context), authority.as_ref(), &old, &new).await? {
        Some(_) if old.certificate.is_none() => {
            context
                .events
                .normal(authority.object_ref(&()), ready.reason, &ready.message);
        }
        Some(_) => {}
        None => wake_dependents(authority, context, &new).await,
    }
    let until_expiry = validity.not_after.duration_since(now);
    Ok(Action::requeue(
        if until_expiry.is_positive() {
            until_expiry.min(IDLE)
        } else {
            IDLE
        }
        .unsigned_abs(),
    ))
}

/// Wakes what depends on the authority if it has changed. To be called with a status that the watch has shown, not with
/// one that was only just written: whoever is woken looks at what the watch has shown, and would see the one before.
async fn wake_dependents(
    authority: &CertificateAuthority,
    context: &Context,
    status: &CertificateAuthorityStatus,
) {
    let (namespace, name) = (
        authority.namespace().unwrap_or_default(),
        authority.name_any(),
    );
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready");
    let what_matters = (
        ready.map(|ready| ready.reason.as_str()),
        status
            .certificate
            .as_ref()
            .map(|certificate| certificate.fingerprint.as_str()),
        authority.metadata.deletion_timestamp.is_some(),
        authority.metadata.uid.as_deref(),
    );
    if context
        .wake
        .is_news(&format!("authority/{namespace}/{name}"), what_matters)
    {
        context
            .wake
            .dependents_of_authority(&context.fleet, &namespace, &name)
            .await;
    }
}

/// Nothing depends on the authority any more: the key goes if its owner said so, then the object.
async fn release(
    authority: &CertificateAuthority,
    context: &Context,
    observed: &Observed,
) -> Result<Action, Rejection> {
    context.keyring.forget(&observed.secret_name);
    if authority.spec.key_deletion == KeyDeletion::Delete {
        let secrets = context.keyring.secrets();
        let name = &observed.secret_name;
        if let Some(secret) = secrets
            .get_opt(name)
            .await
            .map_err(|e| ApiError::new("read the key Secret", name, e))?
        {
            let others: Vec<_> = secret
                .finalizers()
                .iter()
                .filter(|other| *other != FINALIZER)
                .cloned()
                .collect();
            patch_metadata(secrets, &secret, json!({ "finalizers": others })).await?;
            match secrets.delete(name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(error) => {
                    let error = ApiError::new("delete the key Secret", name, error);
                    if error.outcome() != Outcome::NotFound {
                        return Err(error.into());
                    }
                }
            }
        }
    }
    if observed.has_finalizer {
        let others: Vec<_> = authority
            .finalizers()
            .iter()
            .filter(|other| *other != FINALIZER)
            .cloned()
            .collect();
        patch_metadata(
            &api(authority, context),
            authority,
            json!({ "finalizers": others }),
        )
        .await?;
    }
    Ok(Action::await_change())
}
