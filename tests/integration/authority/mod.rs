//! CertificateAuthorities: what they sign with, and what becomes of their keys.

mod chains;
mod deletion;
mod keys;

use devicecert::api::CertificateAuthority;

use crate::harness::World;

/// The fingerprint in an authority's status.
async fn shown(world: &World, name: &str) -> String {
    let ca: CertificateAuthority = world.until(name, "True").await;
    ca.status.unwrap().certificate.unwrap().fingerprint
}

/// The name of an authority's key Secret.
fn key_name(world: &World, authority: &str) -> String {
    format!("{}.{authority}.1", world.namespace)
}
