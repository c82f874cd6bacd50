//! What groups and authorities compile to, kept until the object changes: every enrolment and every look at a device needs it, and
//! it is made of PEM, regular expressions and CEL.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::local::LocalRegistrar;
use crate::{
    api::{CertificateAuthority, EnrollmentGroup},
    pki::Certificate,
    policy::{Authority, Group, KnownAuthority, Refusal, authority_chain, authority_facts},
};

/// How many objects are remembered before all are forgotten.
const REMEMBERED: usize = 4096;

/// By UID: the version that was compiled, and what came of it.
struct Memory<T>(Mutex<HashMap<String, (String, T)>>);

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Memory<T> {
    /// What was made of this version, or is now. An object without a UID is not remembered.
    fn get(&self, uid: Option<&str>, version: String, make: impl FnOnce() -> T) -> T {
        let Some(uid) = uid else {
            return make();
        };
        {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((seen, made)) = known.get(uid)
                && *seen == version
            {
                return made.clone();
            }
        }
        let made = make();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(uid.into(), (version, made.clone()));
        made
    }
}

/// Everything that was compiled so far.
#[derive(Default)]
pub(super) struct Compiled {
    chains: Memory<Option<Arc<[Certificate]>>>,
    groups: Memory<Result<Arc<Group>, Refusal>>,
}

impl LocalRegistrar {
    /// A group's rules. They follow from its spec and from whether it is being deleted, so its status makes no new version.
    pub fn compiled_group(&self, group: &EnrollmentGroup) -> Result<Arc<Group>, Refusal> {
        let ObjectMeta {
            uid,
            generation,
            deletion_timestamp,
            ..
        } = &group.metadata;
        let version = format!("{generation:?} {}", deletion_timestamp.is_some());
        self.compiled.groups.get(uid.as_deref(), version, || {
            Group::compile(group).map(Arc::new)
        })
    }

    /// The certificate that signs for an authority now, and its issuers up to the root.
    pub(super) fn chain_of(&self, authority: &CertificateAuthority) -> Option<Arc<[Certificate]>> {
        let metadata = &authority.metadata;
        let version = metadata.resource_version.clone().unwrap_or_default();
        let read = || authority_chain(authority).map(Arc::from);
        self.compiled
            .chains
            .get(metadata.uid.as_deref(), version, read)
    }

    /// An authority as policy sees it.
    pub fn facts_of(&self, authority: &CertificateAuthority) -> Authority {
        let certificate = self
            .chain_of(authority)
            .and_then(|chain| chain.first().cloned());
        authority_facts(authority, certificate)
    }

    /// The authorities of the fleet that have certificates, with these.
    pub(super) fn known_authorities(&self) -> Vec<KnownAuthority> {
        let authorities = self.fleet().authorities().into_iter();
        authorities
            .filter_map(|object| {
                let chain = self.chain_of(&object)?;
                Some(KnownAuthority { object, chain })
            })
            .collect()
    }
}
