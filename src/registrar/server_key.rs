//! Keys that the operator makes for devices outside (serverkeygen). RFC 7030 §4.4.

use std::sync::{Arc, PoisonError};

use super::{
    MadeKey, Rejection,
    local::{LocalRegistrar, Requester},
};
use crate::{
    api::{DeviceIdentity, ServerKeygen},
    pki::{
        Certificate, Csr, DecryptKey, Fingerprint, PrivateKey, SubjectPublicKey,
        server_key::{Maker, Recipient, envelope},
    },
    policy::{Asked, Device, Group, Purpose, Reason, Refusal, wanted_id},
};

/// The EST server's certificate with its issuers, leaf first, and its key.
pub struct ServerPair {
    /// Leaf first.
    pub chain: Vec<Certificate>,
    /// The key of the leaf.
    pub key: PrivateKey,
}

/// A fresh key for a device, in the form in which it is delivered. It is kept nowhere.
pub(super) struct ServerKey {
    public: SubjectPublicKey,
    made: MadeKey,
}

impl ServerKey {
    /// The public half.
    pub(super) fn public(&self) -> &SubjectPublicKey {
        &self.public
    }

    /// The key for the device.
    pub(super) fn deliver(&self) -> MadeKey {
        match &self.made {
            MadeKey::Plain(pkcs8) => MadeKey::Plain(pkcs8.clone()),
            MadeKey::Enveloped(cms) => MadeKey::Enveloped(cms.clone()),
        }
    }
}

impl LocalRegistrar {
    /// Makes a key where the group lets it. Whoever asks has proved who it is already: keys cost time. Where the CSR asks for
    /// encryption it must be possible, or nothing is issued: a key is never sent in a lesser form than was asked.
    pub(super) async fn make_server_key(
        &self,
        requester: &Requester,
        csr: &Csr,
        group: &Group,
        device: Option<&DeviceIdentity>,
    ) -> Result<ServerKey, Rejection> {
        if group.server_keygen == ServerKeygen::Disabled {
            let message = "this group does not let the server make keys: make the key on the device and use simpleenroll";
            return Err(Refusal::new(Reason::ServerKeygenDisabled, message).into());
        }
        let wanted = csr
            .decrypt_key()
            .map(|wanted| recipient(wanted, requester))
            .transpose()?;
        self.check_key_is_worth_making(requester, csr, group, device)
            .await?;
        let _turn = self.turns.take(&requester.group).await?;
        let key = self.new_key(group.key_algorithm).await?;
        let made = match &wanted {
            None => MadeKey::Plain(key.to_pkcs8_der()),
            Some((recipient, id)) => MadeKey::Enveloped(self.seal(&key, recipient, id)?),
        };
        Ok(ServerKey {
            public: key.public().clone(),
            made,
        })
    }

    /// Decides beforehand, with the key of the CSR in place of the one to be made: keys cost time, and who gets no certificate
    /// gets none. What is wrong with that key says nothing about the other.
    async fn check_key_is_worth_making(
        &self,
        requester: &Requester,
        csr: &Csr,
        group: &Group,
        device: Option<&DeviceIdentity>,
    ) -> Result<(), Rejection> {
        let wanted = match device {
            Some(device) => Device::compile(device)?,
            None => Device::unregistered(
                &group.namespace,
                &group.name,
                wanted_id(csr, group, &requester.principal)?,
            ),
        };
        // Nobody is refused for what a watch last said.
        let device = match self.read_device(&wanted.namespace, &wanted.name).await? {
            Some(known) => Device::compile(&known)?,
            None => wanted,
        };
        self.check_pace(&device, group, &requester.principal)?;
        let asked = Asked::MadeKey {
            csr,
            key: csr.key(),
        };
        match self.decide(&device, requester, asked, Purpose::New).await {
            Err(rejection)
                if !matches!(
                    rejection.reason,
                    Reason::KeyNotAllowed
                        | Reason::KeyInUse
                        | Reason::SameKeyRequired
                        | Reason::PendingApproval
                        | Reason::ApprovalRequired
                ) =>
            {
                Err(rejection)
            }
            _ => Ok(()),
        }
    }

    fn seal(
        &self,
        key: &PrivateKey,
        recipient: &SubjectPublicKey,
        id: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let server = self.server().ok_or_else(|| {
            Refusal::new(
                Reason::NotReady,
                "the EST server has no certificate yet, with which it signs keys",
            )
        })?;
        let maker = Maker {
            chain: &server.chain,
            key: server.key.signer(),
        };
        let recipient = Recipient {
            key: recipient,
            key_id: id,
        };
        envelope(key, maker, recipient, &mut |bytes| {
            aws_lc_rs::rand::fill(bytes)
        })
        .map_err(|e| Refusal::new(Reason::UnknownDecryptKey, e.to_string()))
    }

    /// Remembers the EST server's certificate and key: the key must be nobody else's, and it signs the keys that are made for
    /// devices.
    pub fn set_server(&self, server: Arc<ServerPair>) {
        *self.server.write().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }

    fn server(&self) -> Option<Arc<ServerPair>> {
        self.server
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn server_key(&self) -> Option<Fingerprint> {
        Some(self.server()?.key.public().fingerprint())
    }
}

/// The key for which the new one is to be encrypted: that of the certificate in TLS, and no other. RFC 7030 §4.4.1.
fn recipient(
    wanted: &DecryptKey,
    requester: &Requester,
) -> Result<(SubjectPublicKey, Vec<u8>), Refusal> {
    let unknown = |what: &str| {
        Refusal::new(
            Reason::UnknownDecryptKey,
            format!(
                "{what}: authenticate with a certificate in TLS and name its subject key identifier in \
                 AsymmetricDecryptKeyIdentifier, or leave the attribute out to get the key under TLS alone"
            ),
        )
    };
    let id = match wanted {
        DecryptKey::Symmetric(_) => {
            return Err(unknown(
                "the DecryptKeyIdentifier names a shared secret, and there is none here",
            ));
        }
        DecryptKey::Asymmetric(id) => id,
    };
    let not_found =
        || unknown("the AsymmetricDecryptKeyIdentifier names no key that is known here");
    let certificate = requester.principal.certificate().ok_or_else(not_found)?;
    let key = certificate
        .public_key()
        .map_err(|e| unknown(&e.to_string()))?;
    let names = [
        certificate.subject_key_id().map(<[u8]>::to_vec),
        Some(key.key_id().to_vec()),
        Some(key.fingerprint().as_bytes().to_vec()),
    ];
    if names.iter().flatten().any(|name| name == id) {
        return Ok((key, id.clone()));
    }
    Err(not_found())
}
