//! Whose a public key is already.

use std::borrow::Borrow;

use super::{Device, KeyHolder};
use crate::{
    api::{CertificateAuthority, DeviceIdentity, DeviceState, RevocationReason},
    pki::{Certificate, Fingerprint, SubjectPublicKey},
};

/// Who, other than this device, has a certificate for a key. `holders` are the devices on whose record the key is,
/// `authorities` come with their certificates, and `server` is the key of the EST server.
pub fn key_holder(
    key: &SubjectPublicKey,
    device: &Device,
    holders: &[impl Borrow<DeviceIdentity>],
    authorities: &[(impl Borrow<CertificateAuthority>, impl AsRef<[Certificate]>)],
    server: Option<Fingerprint>,
) -> KeyHolder {
    let mut holder = KeyHolder::Nobody;
    for other in holders.iter().map(Borrow::borrow) {
        if is_compromised(other) {
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
    if server == Some(key.fingerprint()) {
        return KeyHolder::Server;
    }
    let has_key = |chain: &[Certificate]| chain.iter().any(|own| own.key() == key.spki_der());
    let owner = authorities
        .iter()
        .find(|(_, chain)| has_key(chain.as_ref()));
    match owner.map(|(authority, _)| authority.borrow().metadata.name.clone()) {
        Some(name) => KeyHolder::Authority(name.unwrap_or_default()),
        None => KeyHolder::Nobody,
    }
}

fn is_compromised(device: &DeviceIdentity) -> bool {
    device.spec.state == DeviceState::Revoked
        && device.spec.revocation_reason == Some(RevocationReason::KeyCompromise)
}
