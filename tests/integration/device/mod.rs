//! DeviceIdentities in the cluster: their Secrets, requests, renewals, and the words that explain why there is none.

mod foreign;
mod forged;
mod groups;
mod renewal;
mod request;
mod secret;
mod state;
mod words;

use std::collections::BTreeMap;

use devicecert::api::DeviceIdentity;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{KeyPair, PublicKeyData};

use crate::harness::{Facts, World, split_pem};

/// The contents of a device's Secret, as text.
struct Contents {
    /// The leaf and its issuers without the root.
    chain: String,
    key: String,
    /// The root.
    roots: String,
    annotations: BTreeMap<String, String>,
    version: String,
}

impl Contents {
    async fn of(world: &World, name: &str) -> Self {
        Self::read(&world.get::<Secret>(name).await)
            .unwrap_or_else(|wrong| panic!("{name}: {wrong}"))
    }

    fn read(secret: &Secret) -> Result<Self, String> {
        let text = |field: &str| {
            let data = secret.data.as_ref().ok_or("no data")?;
            let bytes = data.get(field).ok_or(format!("no {field}"))?;
            String::from_utf8(bytes.0.clone()).map_err(|e| e.to_string())
        };
        let chain = text("tls.crt")?;
        if split_pem(&chain).is_empty() {
            return Err("tls.crt holds no certificate".into());
        }
        Ok(Self {
            chain,
            key: text("tls.key")?,
            roots: text("ca.crt")?,
            annotations: secret.metadata.annotations.clone().unwrap_or_default(),
            version: secret.metadata.resource_version.clone().unwrap_or_default(),
        })
    }

    fn leaf(&self) -> Facts {
        Facts::of_pem(&self.chain)
    }

    /// Whether everything in it fits together: openssl accepts the chain, the key is that of the leaf.
    fn check(&self) -> Result<(), String> {
        let leaf = self.leaf();
        let between = self
            .chain
            .split_inclusive("-----END CERTIFICATE-----\n")
            .skip(1);
        leaf.verify(&self.roots, &between.collect::<String>())?;
        let key = KeyPair::from_pem(&self.key).map_err(|e| e.to_string())?;
        match key.subject_public_key_info() == leaf.key {
            true => Ok(()),
            false => Err("tls.key is not the key of tls.crt".into()),
        }
    }
}

/// Whether a device is Ready with the certificate that its Secret holds.
async fn in_order(world: &World, device: &str, secret: &str) -> Result<Contents, String> {
    let found = world.api::<Secret>().get_opt(secret).await.unwrap();
    let contents = Contents::read(&found.ok_or("no Secret")?)?;
    contents.check()?;
    let object: DeviceIdentity = world.get(device).await;
    let recorded = object
        .status
        .unwrap_or_default()
        .certificate
        .ok_or("no record")?;
    let shown = contents.leaf().fingerprint();
    match recorded.fingerprint == shown {
        true => Ok(contents),
        false => Err(format!(
            "the Secret holds {shown}, the record {}",
            recorded.fingerprint
        )),
    }
}
