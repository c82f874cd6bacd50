//! Indexes over DeviceIdentities: by the certificates and keys on record, and by group.

use std::{
    collections::{HashMap, HashSet, hash_map},
    sync::Arc,
};

use kube::runtime::watcher::Event;

use crate::{
    api::{DeviceIdentity, DeviceIdentityStatus},
    pki::Fingerprint,
    policy::GroupKey,
};

/// Namespace and name.
pub(super) type Key = (String, String);

#[derive(Default)]
pub(super) struct Index {
    by_certificate: Holders,
    by_key: Holders,
    by_group: HashMap<GroupKey, HashSet<String>>,
    entries: HashMap<Arc<Key>, Entry>,
    changed: HashSet<GroupKey>,
}

struct Entry {
    group: GroupKey,
    certificates: Vec<Fingerprint>,
    keys: Vec<Fingerprint>,
}

/// On whose record a fingerprint is. Nearly always there is one device.
#[derive(Default)]
struct Holders(HashMap<Fingerprint, Vec<Arc<Key>>>);

impl Holders {
    fn of(&self, fingerprint: &Fingerprint) -> &[Arc<Key>] {
        self.0.get(fingerprint).map_or(&[], Vec::as_slice)
    }

    fn insert(&mut self, fingerprint: Fingerprint, key: &Arc<Key>) {
        let holders = self.0.entry(fingerprint).or_default();
        if !holders.contains(key) {
            holders.reserve_exact(1);
            holders.push(key.clone());
        }
    }

    fn remove(&mut self, fingerprint: Fingerprint, key: &Key) {
        if let hash_map::Entry::Occupied(mut entry) = self.0.entry(fingerprint) {
            entry.get_mut().retain(|holder| **holder != *key);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }
}

impl Index {
    /// The device of a namespace that has a certificate on its record: a status in one namespace cannot claim what is on
    /// record in another.
    pub(super) fn owner(&self, namespace: &str, fingerprint: &Fingerprint) -> Option<String> {
        let holders = self.by_certificate.of(fingerprint);
        let here = holders.iter().find(|key| key.0 == namespace)?;
        Some(here.1.clone())
    }

    /// All devices that have a certificate on their record.
    pub(super) fn owners(&self, fingerprint: &Fingerprint) -> Vec<Arc<Key>> {
        self.by_certificate.of(fingerprint).to_vec()
    }

    /// All devices that have a certificate for a key on their record.
    pub(super) fn key_owners(&self, fingerprint: &Fingerprint) -> Vec<Arc<Key>> {
        self.by_key.of(fingerprint).to_vec()
    }

    pub(super) fn members(&self, group: &GroupKey) -> Vec<String> {
        self.by_group
            .get(group)
            .map(|names| names.iter().cloned().collect())
            .unwrap_or_default()
    }

    pub(super) fn count(&self, group: &GroupKey) -> usize {
        self.by_group.get(group).map_or(0, HashSet::len)
    }

    pub(super) fn take_changed(&mut self) -> Vec<GroupKey> {
        self.changed.drain().collect()
    }

    /// Follows a watch of `namespace` (`None`: the whole cluster). `listed` collects the keys of a list in progress.
    pub(super) fn follow(
        &mut self,
        namespace: Option<&str>,
        listed: &mut HashSet<Key>,
        event: &Event<DeviceIdentity>,
    ) {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(device) => {
                listed.insert(key(device));
                self.insert(device);
            }
            Event::InitDone => {
                let gone: Vec<Arc<Key>> = self
                    .entries
                    .keys()
                    .filter(|key| {
                        namespace.is_none_or(|watched| watched == key.0)
                            && !listed.contains(key.as_ref())
                    })
                    .cloned()
                    .collect();
                gone.iter().for_each(|key| self.remove(key));
                *listed = HashSet::new();
            }
            Event::Apply(device) => self.insert(device),
            Event::Delete(device) => self.remove(&key(device)),
        }
    }

    fn insert(&mut self, device: &DeviceIdentity) {
        let key = key(device);
        self.remove(&key);
        let group = GroupKey {
            namespace: key.0.clone(),
            name: device.spec.group_ref.name.clone(),
        };
        let key = Arc::new(key);
        let status = device.status.iter();
        let certificates: Vec<Fingerprint> = status
            .clone()
            .flat_map(DeviceIdentityStatus::fingerprints)
            .filter_map(|text| text.parse().ok())
            .collect();
        let mut keys: Vec<Fingerprint> = status
            .flat_map(DeviceIdentityStatus::key_fingerprints)
            .filter_map(|text| text.parse().ok())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        for fingerprint in &certificates {
            self.by_certificate.insert(*fingerprint, &key);
        }
        for fingerprint in &keys {
            self.by_key.insert(*fingerprint, &key);
        }
        self.by_group
            .entry(group.clone())
            .or_default()
            .insert(key.1.clone());
        self.changed.insert(group.clone());
        let entry = Entry {
            group,
            certificates,
            keys,
        };
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: &Key) {
        let Some(entry) = self.entries.remove(key) else {
            return;
        };
        for fingerprint in entry.certificates {
            self.by_certificate.remove(fingerprint, key);
        }
        for fingerprint in entry.keys {
            self.by_key.remove(fingerprint, key);
        }
        if let Some(members) = self.by_group.get_mut(&entry.group) {
            members.remove(&key.1);
            if members.is_empty() {
                self.by_group.remove(&entry.group);
            }
        }
        self.changed.insert(entry.group);
    }
}

fn key(device: &DeviceIdentity) -> Key {
    (
        device.metadata.namespace.clone().unwrap_or_default(),
        device.metadata.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PreviousCertificate;

    fn device(name: &str, group: &str, past: u8) -> DeviceIdentity {
        let mut device = DeviceIdentity::new(name, Default::default());
        device.metadata.namespace = Some("ns".into());
        device.spec.group_ref.name = group.into();
        device.status = Some(DeviceIdentityStatus {
            previous: vec![PreviousCertificate {
                serial_number: "1".into(),
                not_after: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                    jiff::Timestamp::UNIX_EPOCH,
                ),
                fingerprint: format!("{past:02x}").repeat(32),
                key_fingerprint: "00".repeat(32),
                issuer_fingerprint: "00".repeat(32),
            }],
            ..Default::default()
        });
        device
    }

    fn fingerprint(byte: u8) -> Fingerprint {
        format!("{byte:02x}").repeat(32).parse().unwrap()
    }

    #[test]
    fn a_device_is_found_by_the_certificates_it_has_and_no_longer_by_those_it_had() {
        let (mut index, mut listed) = (Index::default(), HashSet::new());
        index.follow(None, &mut listed, &Event::Apply(device("a", "g", 1)));
        assert!(index.owner("ns", &fingerprint(1)).is_some());
        index.follow(None, &mut listed, &Event::Apply(device("a", "g", 2)));
        assert!(index.owner("ns", &fingerprint(1)).is_none());
        assert!(index.owner("ns", &fingerprint(2)).is_some());
        index.follow(None, &mut listed, &Event::Delete(device("a", "g", 2)));
        assert!(index.owner("ns", &fingerprint(2)).is_none());
        assert!(index.members(&"ns/g".parse().unwrap()).is_empty());
    }

    #[test]
    fn a_new_list_forgets_what_it_does_not_name_in_its_own_namespace_only() {
        let (mut index, mut listed) = (Index::default(), HashSet::new());
        for name in ["a", "b"] {
            index.follow(Some("ns"), &mut listed, &Event::Apply(device(name, "g", 1)));
        }
        let other: &mut HashSet<Key> = &mut HashSet::new();
        index.follow(Some("elsewhere"), other, &Event::Init);
        index.follow(Some("elsewhere"), other, &Event::InitDone);
        assert_eq!(index.members(&"ns/g".parse().unwrap()).len(), 2);
        index.follow(Some("ns"), &mut listed, &Event::Init);
        index.follow(
            Some("ns"),
            &mut listed,
            &Event::InitApply(device("b", "g", 1)),
        );
        index.follow(Some("ns"), &mut listed, &Event::InitDone);
        assert_eq!(index.members(&"ns/g".parse().unwrap()), ["b"]);
    }
}
