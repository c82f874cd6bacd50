//! Which registration ID a bootstrap certificate may claim.

use std::fmt;

use super::{Group, IdMapping, Reason, Refusal, RegistrationId, view};
use crate::pki::{Certificate, Csr};

/// The refusal of a bootstrap certificate that belongs to another ID than the one that it asks for.
pub fn pinned(owner: impl fmt::Display, id: &RegistrationId) -> Refusal {
    let message = format!(
        "the bootstrap certificate belongs to the registration ID {owner}, so it cannot claim {id} until somebody deletes its \
         BootstrapClaim"
    );
    Refusal::new(Reason::BootstrapPinned, message)
}

impl Group {
    /// The one ID that a bootstrap certificate may claim with this CSR.
    pub fn bootstrap_id(
        &self,
        certificate: &Certificate,
        csr: &Csr,
    ) -> Result<RegistrationId, Refusal> {
        let Some(rules) = &self.bootstrap else {
            return Err(Refusal::new(
                Reason::UnknownCertificate,
                "the client certificate is on no device's record here, and this group takes no bootstrap certificates",
            ));
        };
        let nothing = |message: String| Refusal::new(Reason::IdNotAllowed, message);
        match &rules.mapping {
            IdMapping::CommonName => {
                let name = certificate.subject().common_name().ok_or_else(|| {
                    nothing("the bootstrap certificate's subject has not exactly one common name, which would be its registration ID".into())
                })?;
                self.ids.id_of(&name)
            }
            IdMapping::Fingerprints(ids) => ids.get(&certificate.fingerprint()).cloned().ok_or_else(|| {
                nothing(format!(
                    "the bootstrap certificate with the SHA-256 fingerprint {} is not on the group's list",
                    certificate.fingerprint()
                ))
            }),
            IdMapping::Expression(expression) => {
                let id = expression.text(&view::of_mapping(certificate, csr)).map_err(|why| {
                    nothing(format!("the group's bootstrap mapping gives no registration ID for this request: {why}"))
                })?;
                RegistrationId::parse(&id)
            }
        }
    }
}
