//! Wakes what depends on an object that changed: an authority's children and groups, a group's devices.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError, RwLock},
    time::Duration,
};

use futures::{
    SinkExt,
    channel::mpsc::{Receiver, Sender, channel},
};
use kube::runtime::reflector::ObjectRef;

use crate::{
    api::{CertificateAuthority, DeviceIdentity, EnrollmentGroup},
    fleet::Fleet,
    policy::GroupKey,
};

/// How many references may wait for a controller before their sender waits too.
const WAITING: usize = 1024;
/// How often groups are told of changes among their devices.
const TICK: Duration = Duration::from_secs(1);

/// The ways to the controllers of each scope.
#[derive(Default)]
pub struct Wake {
    scopes: RwLock<Vec<(Option<String>, Bells)>>,
    seen: Mutex<HashMap<String, u64>>,
}

#[derive(Clone)]
struct Bells {
    authorities: Sender<ObjectRef<CertificateAuthority>>,
    groups: Sender<ObjectRef<EnrollmentGroup>>,
    devices: Sender<ObjectRef<DeviceIdentity>>,
}

/// Where the controllers of one scope listen.
pub(super) struct Ears {
    pub authorities: Receiver<ObjectRef<CertificateAuthority>>,
    pub groups: Receiver<ObjectRef<EnrollmentGroup>>,
    pub devices: Receiver<ObjectRef<DeviceIdentity>>,
}

impl Wake {
    pub(super) fn connect(&self, namespace: Option<String>) -> Ears {
        let (authorities, authority_ears) = channel(WAITING);
        let (groups, group_ears) = channel(WAITING);
        let (devices, device_ears) = channel(WAITING);
        let mut scopes = self.scopes.write().unwrap_or_else(PoisonError::into_inner);
        scopes.push((
            namespace,
            Bells {
                authorities,
                groups,
                devices,
            },
        ));
        Ears {
            authorities: authority_ears,
            groups: group_ears,
            devices: device_ears,
        }
    }

    fn bells(&self, namespace: &str) -> Option<Bells> {
        let scopes = self.scopes.read().unwrap_or_else(PoisonError::into_inner);
        let fits = |(watched, _): &&(Option<String>, Bells)| {
            watched
                .as_deref()
                .is_none_or(|watched| watched == namespace)
        };
        scopes.iter().find(fits).map(|(_, bells)| bells.clone())
    }

    /// Whether what matters about an object differs from the last time this was asked.
    pub(super) fn is_news(&self, object: &str, what_matters: impl Hash) -> bool {
        let mut hasher = DefaultHasher::new();
        what_matters.hash(&mut hasher);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(object.into(), hasher.finish()) != Some(hasher.finish())
    }

    /// One authority is to be looked at.
    pub(super) async fn authority(&self, namespace: &str, name: &str) {
        if let Some(mut bells) = self.bells(namespace) {
            // The other end is gone only when the process ends.
            let _ = bells
                .authorities
                .send(ObjectRef::new(name).within(namespace))
                .await;
        }
    }

    /// What depends on an authority: its children, its groups and their devices.
    pub(super) async fn dependents_of_authority(&self, fleet: &Fleet, namespace: &str, name: &str) {
        let Some(mut bells) = self.bells(namespace) else {
            return;
        };
        for child in fleet.authorities() {
            let parent = child
                .spec
                .issued_by
                .as_ref()
                .map(|parent| parent.name.as_str());
            if child.metadata.namespace.as_deref() == Some(namespace) && parent == Some(name) {
                let _ = bells
                    .authorities
                    .send(ObjectRef::from_obj(child.as_ref()))
                    .await;
            }
        }
        for group in fleet.groups() {
            if group.metadata.namespace.as_deref() != Some(namespace) {
                continue;
            }
            let signs = group.spec.authority_ref.name == name;
            if signs || lets_in(&group, name) {
                let _ = bells.groups.send(ObjectRef::from_obj(group.as_ref())).await;
            }
            if signs {
                // Not by way of the group alone: it may have read the authority before the watch showed it to anybody.
                let key = GroupKey {
                    namespace: namespace.into(),
                    name: group.metadata.name.clone().unwrap_or_default(),
                };
                self.devices_of_group(fleet, &key).await;
            }
        }
    }

    /// The devices of a group.
    pub(super) async fn devices_of_group(&self, fleet: &Fleet, group: &GroupKey) {
        let Some(mut bells) = self.bells(&group.namespace) else {
            return;
        };
        for device in fleet.devices_of(group) {
            let _ = bells
                .devices
                .send(ObjectRef::from_obj(device.as_ref()))
                .await;
        }
    }

    /// Tells groups, once a second, that something changed among their devices.
    pub(super) async fn tell_groups(&self, fleet: &Fleet) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            for group in fleet.take_changed_groups() {
                if let Some(mut bells) = self.bells(&group.namespace) {
                    let _ = bells
                        .groups
                        .send(ObjectRef::new(&group.name).within(&group.namespace))
                        .await;
                }
            }
        }
    }
}

/// Whether an authority's certificates open a way into the group.
fn lets_in(group: &EnrollmentGroup, authority: &str) -> bool {
    let ways = &group.spec.authentication;
    let bootstrap = ways
        .bootstrap
        .iter()
        .flat_map(|rules| &rules.authority_refs);
    let others = ways.registration_authorities.iter();
    bootstrap
        .chain(others.map(|rule| &rule.authority_ref))
        .any(|reference| reference.name == authority)
}
