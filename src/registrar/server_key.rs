//! Keys that the operator makes for devices outside (serverkeygen). RFC 7030 §4.4.

use zeroize::Zeroizing;

use super::{
    MadeKey, Rejection,
    local::{LocalRegistrar, Requester},
};
use crate::{
    api::ServerKeygen,
    pki::{Csr, PrivateKey, SubjectPublicKey},
    policy::{Group, Reason, Refusal},
};

/// A fresh key for a device, and how it is to be delivered. It is kept nowhere.
pub(super) struct ServerKey {
    key: PrivateKey,
}

impl ServerKey {
    /// The public half.
    pub(super) fn public(&self) -> &SubjectPublicKey {
        self.key.public()
    }

    /// The key in the form that the device asked for.
    pub(super) fn deliver(&self) -> Result<MadeKey, Rejection> {
        let pkcs8: Zeroizing<Vec<u8>> = self.key.to_pkcs8_der();
        Ok(MadeKey::Plain(pkcs8))
    }
}

impl LocalRegistrar {
    /// Makes a key where the group lets it. Whoever asks has proved who it is already: keys cost time.
    pub(super) async fn make_server_key(
        &self,
        _requester: &Requester,
        _csr: &Csr,
        group: &Group,
    ) -> Result<ServerKey, Rejection> {
        if group.server_keygen == ServerKeygen::Disabled {
            let message = "this group does not let the server make keys: make the key on the device and use simpleenroll";
            return Err(Refusal::new(Reason::ServerKeygenDisabled, message).into());
        }
        let key = self.new_key(group.key_algorithm).await?;
        Ok(ServerKey { key })
    }
}
