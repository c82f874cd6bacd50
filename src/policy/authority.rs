//! A CertificateAuthority as policy sees it: read from the object, without its key.

use std::sync::Arc;

use super::{Authority, Reason, Refusal};
use crate::{
    api::{CertificateAuthority, ConditionStatus},
    pki::{Certificate, parse_pem_chain},
};

/// A CertificateAuthority with the certificates in its status.
#[derive(Clone, Debug)]
pub struct KnownAuthority {
    /// The object.
    pub object: Arc<CertificateAuthority>,
    /// The certificate that signs for it now, and its issuers up to the root; never empty.
    pub chain: Arc<[Certificate]>,
}

impl KnownAuthority {
    /// Reads an authority; `None` for one that has no certificate yet.
    pub fn read(object: CertificateAuthority) -> Option<Self> {
        let chain = authority_chain(&object)?.into();
        let object = Arc::new(object);
        Some(Self { object, chain })
    }

    /// Whether the certificate that signs for it now signed another one.
    pub fn signed(&self, certificate: &Certificate) -> bool {
        self.chain
            .first()
            .is_some_and(|own| certificate.is_signed_by(own))
    }
}

/// The certificate that signs for an authority now, and its issuers up to the root.
pub fn authority_chain(object: &CertificateAuthority) -> Option<Vec<Certificate>> {
    let chain = parse_pem_chain(object.status.as_ref()?.chain.as_deref()?).ok()?;
    (!chain.is_empty()).then_some(chain)
}

/// A CertificateAuthority as policy sees it.
pub fn read_authority_facts(object: &CertificateAuthority) -> Authority {
    let certificate = authority_chain(object).and_then(|chain| chain.into_iter().next());
    authority_facts(object, certificate)
}

/// The same, where the certificate that signs for it was read already.
pub fn authority_facts(
    object: &CertificateAuthority,
    certificate: Option<Certificate>,
) -> Authority {
    let metadata = &object.metadata;
    let (namespace, name) = (
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    );
    let status = object.status.as_ref();
    let ready = status.and_then(|status| {
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready")
    });
    let not_ready = |why: String| {
        Some(Refusal::new(
            Reason::AuthorityNotReady,
            format!("CertificateAuthority {namespace}/{name} is not ready{why}"),
        ))
    };
    let hindrance = match ready {
        _ if object.spec.suspended => Some(Refusal::new(
            Reason::Suspended,
            format!("CertificateAuthority {namespace}/{name} is suspended"),
        )),
        Some(ready) if ready.status == ConditionStatus::True => None,
        Some(ready) => not_ready(format!(" ({}): {}", ready.reason, ready.message)),
        None => not_ready(" yet".into()),
    };
    Authority {
        terminating: object.metadata.deletion_timestamp.is_some(),
        certificate,
        hindrance,
        namespace,
        name,
    }
}

/// That there is no such authority.
pub fn authority_not_found(namespace: &str, name: &str) -> Refusal {
    Refusal::new(
        Reason::AuthorityNotFound,
        format!(
            "there is no CertificateAuthority {namespace}/{name}: create it, or correct authorityRef"
        ),
    )
}
