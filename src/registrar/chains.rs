//! The certificates of authorities, read once for each version of the object: every enrolment looks at them, and they are PEM.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::local::LocalRegistrar;
use crate::{api::CertificateAuthority, pki::Certificate, policy::authority_chain};

/// How many authorities are remembered before all are forgotten.
const REMEMBERED: usize = 4096;

/// By UID: the version that was read, and what was in it.
type Known = HashMap<String, (String, Option<Arc<[Certificate]>>)>;

/// What was read so far.
#[derive(Default)]
pub(super) struct Chains {
    known: Mutex<Known>,
}

impl Chains {
    /// The certificate that signs for an authority now, and its issuers up to the root.
    fn of(&self, authority: &CertificateAuthority) -> Option<Arc<[Certificate]>> {
        let read = || authority_chain(authority).map(Arc::from);
        let (Some(uid), Some(version)) = (
            &authority.metadata.uid,
            &authority.metadata.resource_version,
        ) else {
            return read();
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, chain)) = known.get(uid)
            && seen == version
        {
            return chain.clone();
        }
        if known.len() >= REMEMBERED {
            known.clear();
        }
        let chain: Option<Arc<[Certificate]>> = read();
        known.insert(uid.clone(), (version.clone(), chain.clone()));
        chain
    }
}

impl LocalRegistrar {
    /// The certificate that signs for an authority now, and its issuers up to the root.
    pub(super) fn chain_of(&self, authority: &CertificateAuthority) -> Option<Arc<[Certificate]>> {
        self.chains.of(authority)
    }

    /// The authorities of the fleet, of one namespace or of all, each with its certificates.
    pub(super) fn chains_in(
        &self,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = (Arc<CertificateAuthority>, Arc<[Certificate]>)> {
        let authorities = self.fleet().authorities().into_iter();
        authorities
            .filter(move |authority| {
                namespace.is_none() || authority.metadata.namespace.as_deref() == namespace
            })
            .filter_map(|authority| {
                let chain = self.chain_of(&authority)?;
                Some((authority, chain))
            })
    }
}
