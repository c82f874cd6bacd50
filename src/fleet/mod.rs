//! What we know: the watched objects without their bulk, and indexes over them. Reading it costs no API call.
//!
//! A watch is never proof of freshness: decisions to sign confirm their inputs with a read (see `registrar::fresh`).

mod feed;
mod index;
mod sync;

pub use feed::{Feed, Touched};

use std::sync::{Arc, RwLock};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    core::PartialObjectMeta,
    runtime::reflector::{ObjectRef, Store},
};

use crate::{
    api::{CertificateAuthority, DeviceIdentity, EnrollmentGroup},
    pki::Fingerprint,
    policy::GroupKey,
};
use index::Index;
use sync::Synced;

/// The watched part of the cluster: everything, or one entry per watched namespace.
pub struct Fleet {
    scopes: Vec<Scope>,
    /// CA key Secrets in the operator's own namespace, without contents.
    keys: Store<PartialObjectMeta<Secret>>,
    index: Arc<RwLock<Index>>,
    sync: Synced,
}

/// The stores that one set of watches fills.
#[derive(Clone)]
pub struct Scope {
    /// `None` is the whole cluster.
    pub namespace: Option<String>,
    /// CertificateAuthorities.
    pub authorities: Store<CertificateAuthority>,
    /// EnrollmentGroups.
    pub groups: Store<EnrollmentGroup>,
    /// DeviceIdentities, without PEM.
    pub devices: Store<DeviceIdentity>,
    /// Our Secrets, without contents.
    pub secrets: Store<PartialObjectMeta<Secret>>,
}

impl Fleet {
    /// Whether the namespace is watched at all.
    pub fn watches(&self, namespace: &str) -> bool {
        self.scope(namespace).is_some()
    }

    fn scope(&self, namespace: &str) -> Option<&Scope> {
        self.scopes.iter().find(|scope| {
            scope
                .namespace
                .as_deref()
                .is_none_or(|watched| watched == namespace)
        })
    }

    /// A CertificateAuthority.
    pub fn authority(&self, namespace: &str, name: &str) -> Option<Arc<CertificateAuthority>> {
        self.scope(namespace)?
            .authorities
            .get(&ObjectRef::new(name).within(namespace))
    }

    /// An EnrollmentGroup.
    pub fn group(&self, key: &GroupKey) -> Option<Arc<EnrollmentGroup>> {
        self.scope(&key.namespace)?
            .groups
            .get(&ObjectRef::new(&key.name).within(&key.namespace))
    }

    /// A DeviceIdentity.
    pub fn device(&self, namespace: &str, name: &str) -> Option<Arc<DeviceIdentity>> {
        self.scope(namespace)?
            .devices
            .get(&ObjectRef::new(name).within(namespace))
    }

    /// One of our Secrets.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<Arc<PartialObjectMeta<Secret>>> {
        self.scope(namespace)?
            .secrets
            .get(&ObjectRef::new(name).within(namespace))
    }

    /// A CA key Secret in the operator's own namespace.
    pub fn key_secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<PartialObjectMeta<Secret>>> {
        self.keys.get(&ObjectRef::new(name).within(namespace))
    }

    /// The DeviceIdentity of a namespace on whose record a certificate is.
    pub fn device_by_certificate(
        &self,
        namespace: &str,
        fingerprint: &Fingerprint,
    ) -> Option<Arc<DeviceIdentity>> {
        let name = self.index().owner(namespace, fingerprint)?;
        self.device(namespace, &name)
    }

    /// The DeviceIdentities of all namespaces on whose record a certificate is.
    pub fn devices_by_certificate(&self, fingerprint: &Fingerprint) -> Vec<Arc<DeviceIdentity>> {
        let owners = self.index().owners(fingerprint);
        self.all(&owners)
    }

    /// The DeviceIdentities of all namespaces that have a certificate for a key on their record.
    pub fn devices_by_key(&self, fingerprint: &Fingerprint) -> Vec<Arc<DeviceIdentity>> {
        let owners = self.index().key_owners(fingerprint);
        self.all(&owners)
    }

    fn all(&self, keys: &[Arc<index::Key>]) -> Vec<Arc<DeviceIdentity>> {
        keys.iter()
            .filter_map(|key| self.device(&key.0, &key.1))
            .collect()
    }

    /// How many DeviceIdentities a group has.
    pub fn count_of(&self, group: &GroupKey) -> usize {
        self.index().count(group)
    }

    /// The DeviceIdentities of a group.
    pub fn devices_of(&self, group: &GroupKey) -> Vec<Arc<DeviceIdentity>> {
        let members = self.index().members(group);
        members
            .iter()
            .filter_map(|name| self.device(&group.namespace, name))
            .collect()
    }

    /// The groups in which something changed since the last call.
    pub fn take_changed_groups(&self) -> Vec<GroupKey> {
        self.index
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take_changed()
    }

    /// All watched CertificateAuthorities.
    pub fn authorities(&self) -> Vec<Arc<CertificateAuthority>> {
        self.scopes
            .iter()
            .flat_map(|scope| scope.authorities.state())
            .collect()
    }

    /// All watched EnrollmentGroups.
    pub fn groups(&self) -> Vec<Arc<EnrollmentGroup>> {
        self.scopes
            .iter()
            .flat_map(|scope| scope.groups.state())
            .collect()
    }

    /// All watched DeviceIdentities.
    pub fn devices(&self) -> Vec<Arc<DeviceIdentity>> {
        self.scopes
            .iter()
            .flat_map(|scope| scope.devices.state())
            .collect()
    }

    /// Whether every watch has delivered its first list.
    pub fn is_synced(&self) -> bool {
        self.sync.is_done()
    }

    /// Waits until every watch has delivered its first list.
    pub async fn wait_until_synced(&self) {
        self.sync.wait().await;
    }

    fn index(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.index
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
