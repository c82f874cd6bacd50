//! Whose a public key is already: devices, authorities and the EST server, as far as the fleet knows.

use super::local::LocalRegistrar;
use crate::{
    pki::SubjectPublicKey,
    policy::{self, Device, KeyHolder},
};

impl LocalRegistrar {
    /// Who, other than this device, has a certificate for a key.
    pub(super) fn key_holder(&self, key: &SubjectPublicKey, device: &Device) -> KeyHolder {
        let holders = self.fleet().devices_by_key(&key.fingerprint());
        let authorities: Vec<_> = self.chains_in(None).collect();
        policy::key_holder(key, device, &holders, &authorities, self.server_key())
    }
}
