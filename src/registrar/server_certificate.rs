//! Signs the EST server's own certificate.

use super::{Rejection, local::LocalRegistrar, signer::random_serial};
use crate::{
    cluster,
    pki::{Certificate, Lifespan, PrivateKey, SubjectAltNames},
    policy::{GroupKey, Reason, Refusal, server_grant},
};

impl LocalRegistrar {
    /// A server certificate under these names, with the issuers that TLS clients need: all but the root, or the root
    /// where it is the issuer itself.
    pub async fn sign_server(
        &self,
        key: &PrivateKey,
        names: &SubjectAltNames,
        lifespan: Lifespan,
        authority: &GroupKey,
    ) -> Result<Vec<Certificate>, Rejection> {
        let (facts, signer) = self
            .authority(&authority.namespace, &authority.name)
            .await?;
        let now = cluster::now();
        let grant = server_grant(key.public().clone(), names.clone(), lifespan, &facts, now)?;
        let signer = signer.ok_or_else(|| {
            Refusal::new(
                Reason::AuthorityNotReady,
                "the authority has no key at hand",
            )
        })?;
        let leaf = signer.sign(&grant, random_serial()?, now)?;
        let mut issuers = signer.chain();
        if issuers.len() > 1 {
            issuers.retain(|issuer| !issuer.is_self_issued());
        }
        Ok(std::iter::once(leaf).chain(issuers).collect())
    }
}
