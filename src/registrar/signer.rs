//! A CertificateAuthority that can sign, and the only place where a leaf certificate is signed.

use std::sync::Arc;

use jiff::Timestamp;

use super::keyring::CaKey;
use crate::{
    pki::{Certificate, CertificateTemplate, Issuer, Serial, assemble},
    policy::{Grant, Reason, Refusal},
};

/// An authority with its key at hand.
pub struct Signer {
    key: Arc<CaKey>,
}

impl Signer {
    pub(super) fn new(key: Arc<CaKey>) -> Self {
        Self { key }
    }

    /// Signs what was granted, and nothing else. A grant for another issuer, or one that has gone stale, is an error.
    pub fn sign(
        &self,
        grant: &Grant,
        serial: Serial,
        now: Timestamp,
    ) -> Result<Certificate, Refusal> {
        if grant.issuer() != self.key.certificate.fingerprint() || grant.validity().not_after <= now
        {
            return Err(Refusal::new(
                Reason::Internal,
                "the grant is not for this authority or this moment",
            ));
        }
        let issuer = Issuer::Authority {
            certificate: &self.key.certificate,
            key: self.key.key.signer(),
        };
        assemble(&grant.template(serial), issuer)
            .map_err(|e| Refusal::new(Reason::Internal, format!("signing: {e}")))
    }

    /// Signs the certificate of an authority below this one.
    pub(super) fn sign_authority(
        &self,
        template: &CertificateTemplate,
    ) -> Result<Certificate, Refusal> {
        let issuer = Issuer::Authority {
            certificate: &self.key.certificate,
            key: self.key.key.signer(),
        };
        assemble(template, issuer).map_err(|e| {
            Refusal::new(
                Reason::InvalidSpec,
                format!("the issuing CA cannot sign this certificate: {e}"),
            )
        })
    }

    /// The issuing certificate and its issuers, up to the self-signed root.
    pub fn chain(&self) -> Vec<Certificate> {
        std::iter::once(&self.key.certificate)
            .chain(&self.key.issuers)
            .cloned()
            .collect()
    }
}

/// A fresh random serial number.
pub(super) fn random_serial() -> Result<Serial, Refusal> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Refusal::new(Reason::Internal, "the system gives no random numbers"))?;
    Ok(Serial::from_random(bytes))
}
