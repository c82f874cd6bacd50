//! Which registration ID a bootstrap certificate may claim.

use super::{Group, IdMapping, Reason, Refusal, RegistrationId, view};
use crate::pki::{Certificate, Csr};

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
