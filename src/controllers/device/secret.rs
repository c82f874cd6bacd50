//! The Secret of a device: what is in it, whose it is, and whether it is as we wrote it.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use zeroize::Zeroizing;

use crate::{
    api::DeviceIdentity,
    cluster::MANAGED_BY,
    pki::{Certificate, Fingerprint, PrivateKey, parse_pem_chain, pem_chain},
};

const SERIAL: &str = "devicecert.dev/serial-number";
const FINGERPRINT: &str = "devicecert.dev/certificate-fingerprint";
const CONTENT: &str = "devicecert.dev/content-digest";
const FIELDS: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// Whether the Secret belongs to the device with this UID.
pub(super) fn is_owned(metadata: &ObjectMeta, uid: &str) -> bool {
    metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.uid == uid && owner.kind == "DeviceIdentity")
}

/// Whose Secret it is, for a message.
pub(super) fn owner_in_words(metadata: &ObjectMeta) -> String {
    match metadata.owner_references.iter().flatten().next() {
        Some(owner) => format!("{} {}", owner.kind, owner.name),
        None => "nobody that Kubernetes knows of".into(),
    }
}

/// Whether its annotations name this certificate.
pub(super) fn shows(metadata: &ObjectMeta, certificate: Fingerprint) -> bool {
    metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(FINGERPRINT))
        .is_some_and(|text| *text == certificate.to_string())
}

/// The Secret for a certificate: `tls.crt` is the leaf and its issuers without the root, `ca.crt` the root.
pub(super) fn build(
    device: &DeviceIdentity,
    name: &str,
    certificate: &Certificate,
    issuers: &[Certificate],
    key_pem: &Zeroizing<String>,
) -> Secret {
    let (roots, intermediates): (Vec<_>, Vec<_>) = issuers
        .iter()
        .cloned()
        .partition(Certificate::is_self_issued);
    let chain: Vec<Certificate> = std::iter::once(certificate.clone())
        .chain(intermediates)
        .collect();
    let data = BTreeMap::from([
        (
            "tls.crt".to_string(),
            ByteString(pem_chain(&chain).into_bytes()),
        ),
        (
            "tls.key".to_string(),
            ByteString(key_pem.as_bytes().to_vec()),
        ),
        (
            "ca.crt".to_string(),
            ByteString(pem_chain(&roots).into_bytes()),
        ),
    ]);
    let annotations = BTreeMap::from([
        (SERIAL.to_string(), certificate.serial().to_string()),
        (
            FINGERPRINT.to_string(),
            certificate.fingerprint().to_string(),
        ),
        (CONTENT.to_string(), digest(&data)),
    ]);
    Secret {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: device.metadata.namespace.clone(),
            labels: Some([(MANAGED_BY.0.to_string(), MANAGED_BY.1.to_string())].into()),
            annotations: Some(annotations),
            owner_references: device.controller_owner_ref(&()).map(|mut owner| {
                owner.block_owner_deletion = None;
                vec![owner]
            }),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".into()),
        data: Some(data),
        ..Secret::default()
    }
}

/// Whether the Secret holds this certificate, its key, and otherwise exactly what we wrote. Says what is wrong.
pub(super) fn check(secret: &Secret, certificate: Fingerprint) -> Result<(), String> {
    if !shows(&secret.metadata, certificate) {
        return Err("it holds another certificate than the newest one on record".into());
    }
    let data = secret.data.as_ref().ok_or("it is empty")?;
    let labels = secret.metadata.labels.as_ref();
    if labels
        .and_then(|labels| labels.get(MANAGED_BY.0))
        .map(String::as_str)
        != Some(MANAGED_BY.1)
    {
        return Err(format!("its label {} is gone", MANAGED_BY.0));
    }
    let written = secret
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(CONTENT));
    if written != Some(&digest(data)) {
        return Err("its contents were changed".into());
    }
    let leaf = text(data, "tls.crt")
        .and_then(|pem| parse_pem_chain(pem).ok())
        .and_then(|chain| chain.into_iter().next());
    let leaf = leaf
        .filter(|leaf| leaf.fingerprint() == certificate)
        .ok_or("tls.crt is not the certificate on record")?;
    match key(secret) {
        Some(key) if key.spki_der() == leaf.key() => Ok(()),
        _ => Err("tls.key is not the key of tls.crt".into()),
    }
}

/// The private key in the Secret.
pub(super) fn key(secret: &Secret) -> Option<PrivateKey> {
    PrivateKey::from_pkcs8_pem(text(secret.data.as_ref()?, "tls.key")?).ok()
}

fn text<'a>(data: &'a BTreeMap<String, ByteString>, field: &str) -> Option<&'a str> {
    std::str::from_utf8(&data.get(field)?.0).ok()
}

/// SHA-256 over our fields, hexadecimal.
fn digest(data: &BTreeMap<String, ByteString>) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for field in FIELDS {
        let value = data.get(field).map_or(&[][..], |value| &value.0);
        context.update(&(value.len() as u64).to_be_bytes());
        context.update(value);
    }
    context
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
