//! Whose a public key is already: devices, authorities and the EST server, as far as the fleet knows.

use super::local::LocalRegistrar;
use crate::{
    api::{DeviceIdentity, DeviceState, RevocationReason},
    pki::SubjectPublicKey,
    policy::{Device, KeyHolder},
};

impl LocalRegistrar {
    /// Who, other than this device, has a certificate for a key.
    pub(super) fn key_holder(&self, key: &SubjectPublicKey, device: &Device) -> KeyHolder {
        let fingerprint = key.fingerprint();
        let mut holder = KeyHolder::Nobody;
        for other in self.fleet().devices_by_key(&fingerprint) {
            if is_compromised(&other) {
                return KeyHolder::Compromised;
            }
            let name = other.metadata.name.as_deref().unwrap_or_default();
            let namespace = other.metadata.namespace.as_deref().unwrap_or_default();
            if (namespace, name) != (&device.namespace, &device.name) {
                holder = KeyHolder::Device(format!("{namespace}/{name}"));
            }
        }
        if holder != KeyHolder::Nobody {
            return holder;
        }
        if self.server_key() == Some(fingerprint) {
            return KeyHolder::Server;
        }
        let owner = self
            .chains_in(None)
            .find(|(_, chain)| chain.iter().any(|own| own.key() == key.spki_der()))
            .map(|(authority, _)| authority);
        match owner {
            Some(owner) => KeyHolder::Authority(owner.metadata.name.clone().unwrap_or_default()),
            None => KeyHolder::Nobody,
        }
    }
}

fn is_compromised(device: &DeviceIdentity) -> bool {
    device.spec.state == DeviceState::Revoked
        && device.spec.revocation_reason == Some(RevocationReason::KeyCompromise)
}
