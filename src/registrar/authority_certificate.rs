//! Signs the certificates of authorities themselves: roots with their own key, intermediates with their parent's.

use super::{Rejection, local::LocalRegistrar, signer::random_serial};
use crate::{
    pki::{
        Certificate, CertificateTemplate, Issuer, KeyAlgorithm, KeyUsage, Name, PrivateKey, Role,
        SubjectAltNames, Validity, assemble,
    },
    policy::{Reason, Refusal},
};

/// What a CA certificate is to say.
pub struct AuthorityTemplate {
    /// The subject.
    pub subject: Name,
    /// When it is valid.
    pub validity: Validity,
    /// How many further CAs may stand below; `None` is no limit.
    pub path_length: Option<u8>,
    /// Namespace and name of the CertificateAuthority that signs; `None` for a root.
    pub issued_by: Option<(String, String)>,
}

impl LocalRegistrar {
    /// Makes a key. RSA takes a while, so it is made off the async threads.
    pub async fn new_key(&self, algorithm: KeyAlgorithm) -> Result<PrivateKey, Rejection> {
        let failed =
            |why: String| Refusal::new(Reason::Internal, format!("a key could not be made: {why}"));
        let key = match algorithm {
            KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
                tokio::task::spawn_blocking(move || PrivateKey::generate(algorithm))
                    .await
                    .map_err(|e| failed(e.to_string()))?
            }
            KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 | KeyAlgorithm::Ed25519 => {
                PrivateKey::generate(algorithm)
            }
        };
        Ok(key.map_err(|e| failed(e.to_string()))?)
    }

    /// The certificate of an authority, and its issuers up to the root.
    pub async fn sign_authority(
        &self,
        key: &PrivateKey,
        new: AuthorityTemplate,
    ) -> Result<(Certificate, Vec<Certificate>), Rejection> {
        let internal = |e: &dyn std::fmt::Display| {
            Refusal::new(Reason::Internal, format!("signing a CA certificate: {e}"))
        };
        let template = CertificateTemplate {
            serial: random_serial()?,
            subject: new.subject,
            key: key.public().clone(),
            validity: new.validity,
            sans: SubjectAltNames::default(),
            key_usages: vec![
                KeyUsage::DigitalSignature,
                KeyUsage::KeyCertSign,
                KeyUsage::CrlSign,
            ],
            extended_key_usages: Vec::new(),
            role: Role::Authority {
                path_length: new.path_length,
            },
        };
        let Some((namespace, name)) = new.issued_by else {
            let certificate =
                assemble(&template, Issuer::SelfSigned(key.signer())).map_err(|e| internal(&e))?;
            return Ok((certificate, Vec::new()));
        };
        let (_, signer) = self.authority(&namespace, &name).await?;
        let signer = signer.ok_or_else(|| {
            Refusal::new(
                Reason::AuthorityNotReady,
                format!("the issuing CertificateAuthority {name} cannot sign now"),
            )
        })?;
        Ok((signer.sign_authority(&template)?, signer.chain()))
    }
}
