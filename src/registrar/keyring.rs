//! CA keys: one immutable Secret per generation in the operator's own namespace, read once and kept in memory.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::Rejection;
use crate::{
    cluster::ApiError,
    pki::{Certificate, Fingerprint, PrivateKey, parse_pem_chain},
    policy::{Reason, Refusal},
};

/// The name of the Secret that holds a generation's key. A namespace has no dot, so no two authorities share a name.
pub fn key_secret_name(namespace: &str, authority: &str, generation: i32) -> String {
    format!("{namespace}.{authority}.{generation}")
}

/// A CA's key with the certificate over it.
pub struct CaKey {
    /// The key.
    pub key: PrivateKey,
    /// The certificate, whose public key is that of `key`.
    pub certificate: Certificate,
    /// The certificate's issuers, up to the root.
    pub issuers: Vec<Certificate>,
}

impl CaKey {
    /// Reads a key Secret. The refusal says what is wrong with it.
    pub fn from_secret(secret: &Secret) -> Result<Self, Refusal> {
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let wrong = |why: &dyn std::fmt::Display| {
            Refusal::new(
                Reason::KeyMismatch,
                format!("the key Secret {name} in the operator's namespace: {why}"),
            )
        };
        let text = |field: &str| {
            let bytes = secret
                .data
                .as_ref()
                .and_then(|data| data.get(field))
                .ok_or_else(|| wrong(&format!("{field} is missing")))?;
            std::str::from_utf8(&bytes.0).map_err(|e| wrong(&format!("{field}: {e}")))
        };
        let key = PrivateKey::from_pkcs8_pem(text("tls.key")?).map_err(|e| wrong(&e))?;
        let mut chain = parse_pem_chain(text("tls.crt")?).map_err(|e| wrong(&e))?;
        if chain.is_empty() {
            return Err(wrong(&"tls.crt has no certificate"));
        }
        let certificate = chain.remove(0);
        if certificate.key() != key.spki_der() {
            return Err(wrong(
                &"tls.key is not the key of the certificate in tls.crt",
            ));
        }
        Ok(Self {
            key,
            certificate,
            issuers: chain,
        })
    }
}

/// The keys that were read so far.
pub struct Keyring {
    secrets: Api<Secret>,
    keys: RwLock<HashMap<String, Arc<CaKey>>>,
}

impl Keyring {
    /// Reads keys from `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            keys: RwLock::default(),
        }
    }

    /// The API of the key Secrets.
    pub fn secrets(&self) -> &Api<Secret> {
        &self.secrets
    }

    /// Forgets a key that is to be destroyed.
    pub fn forget(&self, secret: &str) {
        self.keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(secret);
    }

    /// The key in `secret`, whose certificate must be the one with this fingerprint.
    pub async fn get(
        &self,
        secret: &str,
        certificate: Fingerprint,
    ) -> Result<Arc<CaKey>, Rejection> {
        let known = self
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(secret)
            .cloned();
        if let Some(known) = known.filter(|known| known.certificate.fingerprint() == certificate) {
            return Ok(known);
        }
        let object = self
            .secrets
            .get_opt(secret)
            .await
            .map_err(|e| ApiError::new("read the key Secret", secret, e))?
            .ok_or_else(|| {
                Refusal::new(
                    Reason::KeyLost,
                    format!("the key Secret {secret} is missing"),
                )
            })?;
        let key = Arc::new(CaKey::from_secret(&object)?);
        if key.certificate.fingerprint() != certificate {
            let message = format!(
                "the key Secret {secret} holds another certificate than the authority's status"
            );
            return Err(Refusal::new(Reason::KeyMismatch, message).into());
        }
        self.keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(secret.into(), key.clone());
        Ok(key)
    }
}
