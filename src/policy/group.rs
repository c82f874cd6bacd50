//! An EnrollmentGroup, compiled: every text in it has become a type, or the group is invalid and gives out nothing.

use regex::Regex;

use super::{AllowedNames, Reason, Refusal, RegistrationId, RetryInterval};
use crate::{
    api::{self, Existing, ProvisioningStatus, Registration},
    pki::{
        ExtendedKeyUsage, KeyAlgorithm, KeyUsage, Lifespan, NameTemplate, PublicKeyAlgorithm,
        Threshold,
    },
};

/// The rules of a group, ready to be applied.
#[derive(Clone, Debug)]
pub struct Group {
    /// metadata.namespace.
    pub namespace: String,
    /// metadata.name.
    pub name: String,
    /// The name of the CertificateAuthority, in the same namespace.
    pub authority: String,
    /// Whether the group is being deleted: then it renews, but takes nobody new.
    pub terminating: bool,
    /// Whether the group gives out anything.
    pub provisioning: ProvisioningStatus,
    /// How passwords authenticate, where they do.
    pub passwords: Option<PasswordRules>,
    /// Which IDs may be here; `None` allows all.
    pub pattern: Option<Regex>,
    /// Which alternative names may be granted.
    pub allowed_names: AllowedNames,
    /// How long certificates live.
    pub lifespan: Lifespan,
    /// The subject of certificates.
    pub subject: NameTemplate,
    /// The key usages of certificates.
    pub key_usages: Vec<KeyUsage>,
    /// The extended key usages of certificates.
    pub extended_key_usages: Vec<ExtendedKeyUsage>,
    /// The keys that devices may bring; empty allows all acceptable ones.
    pub allowed_keys: Vec<PublicKeyAlgorithm>,
    /// The algorithm of keys that the operator makes.
    pub key_algorithm: KeyAlgorithm,
    /// When certificates are renewed.
    pub threshold: Threshold,
    /// How long to wait after a failure.
    pub retry: RetryInterval,
    /// Whether the operator makes a new key at each renewal.
    pub rotate_key: bool,
}

/// How passwords authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordRules {
    /// The Secret with the htpasswd file, in the same namespace.
    pub secret: String,
    /// Whether unknown IDs may register.
    pub registration: Registration,
    /// What a password may do to an ID with a live certificate.
    pub existing: Existing,
}

impl Group {
    /// Compiles a group. The refusal is [`Reason::GroupInvalid`] and says which field to change.
    pub fn compile(object: &api::EnrollmentGroup) -> Result<Self, Refusal> {
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let name = object.metadata.name.clone().unwrap_or_default();
        let invalid = |field: &str, why: &dyn std::fmt::Display| {
            Refusal::new(
                Reason::GroupInvalid,
                format!("EnrollmentGroup {namespace}/{name}: spec.{field}: {why}"),
            )
        };
        let spec = &object.spec;
        let profile = &spec.profile;

        let lifespan: Lifespan = profile
            .validity
            .parse()
            .map_err(|e| invalid("profile.validity", &e))?;
        if lifespan.as_seconds() < 60 {
            return Err(invalid(
                "profile.validity",
                &"certificates live at least a minute: write 60s or more",
            ));
        }
        let pattern = spec
            .registration_id
            .pattern
            .as_ref()
            .map(|pattern| {
                regex::RegexBuilder::new(&format!("^(?:{pattern})$"))
                    .case_insensitive(true)
                    .size_limit(1 << 18)
                    .build()
            })
            .transpose()
            .map_err(|e| invalid("registrationId.pattern", &e))?;
        let subject =
            NameTemplate::parse(&profile.subject).map_err(|e| invalid("profile.subject", &e))?;
        if profile.subject.to_ascii_lowercase().contains("system:") {
            return Err(invalid(
                "profile.subject",
                &"names with 'system:' are kept for Kubernetes itself",
            ));
        }
        let threshold: Threshold = spec
            .renewal
            .threshold
            .parse()
            .map_err(|e| invalid("renewal.threshold", &e))?;
        let retry =
            RetryInterval::parse(&spec.renewal.retry).map_err(|e| invalid("renewal.retry", &e))?;
        let allowed_names =
            AllowedNames::parse(&spec.allowed_names).map_err(|e| invalid("allowedNames", &e))?;

        Ok(Self {
            authority: spec.authority_ref.name.clone(),
            terminating: object.metadata.deletion_timestamp.is_some(),
            provisioning: spec.provisioning_status,
            passwords: spec
                .authentication
                .passwords
                .as_ref()
                .map(|passwords| PasswordRules {
                    secret: passwords.secret_ref.name.clone(),
                    registration: passwords.registration,
                    existing: passwords.existing,
                }),
            pattern,
            allowed_names,
            lifespan,
            subject,
            key_usages: profile.key_usages.iter().copied().map(key_usage).collect(),
            extended_key_usages: profile
                .extended_key_usages
                .iter()
                .copied()
                .map(extended_key_usage)
                .collect(),
            allowed_keys: profile
                .allowed_keys
                .iter()
                .copied()
                .map(allowed_key)
                .collect(),
            key_algorithm: key_algorithm(profile.key_algorithm),
            threshold,
            retry,
            rotate_key: spec.renewal.rotate_key,
            namespace,
            name,
        })
    }

    /// Refuses an ID that does not match the group's pattern. Case does not matter.
    pub fn check_id(&self, id: &RegistrationId) -> Result<(), Refusal> {
        match &self.pattern {
            Some(pattern) if !pattern.is_match(id.folded()) => Err(Refusal::new(
                Reason::RegistrationIdNotAllowed,
                format!(
                    "the registration ID {id} does not match the pattern of group {}/{}",
                    self.namespace, self.name
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// The algorithm that an API value names.
pub const fn key_algorithm(algorithm: api::KeyAlgorithm) -> KeyAlgorithm {
    match algorithm {
        api::KeyAlgorithm::EcdsaP256 => KeyAlgorithm::EcdsaP256,
        api::KeyAlgorithm::EcdsaP384 => KeyAlgorithm::EcdsaP384,
        api::KeyAlgorithm::Rsa2048 => KeyAlgorithm::Rsa2048,
        api::KeyAlgorithm::Rsa3072 => KeyAlgorithm::Rsa3072,
        api::KeyAlgorithm::Rsa4096 => KeyAlgorithm::Rsa4096,
        api::KeyAlgorithm::Ed25519 => KeyAlgorithm::Ed25519,
    }
}

const fn key_usage(usage: api::DeviceKeyUsage) -> KeyUsage {
    match usage {
        api::DeviceKeyUsage::DigitalSignature => KeyUsage::DigitalSignature,
        api::DeviceKeyUsage::NonRepudiation => KeyUsage::ContentCommitment,
        api::DeviceKeyUsage::KeyEncipherment => KeyUsage::KeyEncipherment,
        api::DeviceKeyUsage::DataEncipherment => KeyUsage::DataEncipherment,
        api::DeviceKeyUsage::KeyAgreement => KeyUsage::KeyAgreement,
    }
}

const fn extended_key_usage(usage: api::DeviceExtendedKeyUsage) -> ExtendedKeyUsage {
    match usage {
        api::DeviceExtendedKeyUsage::ClientAuth => ExtendedKeyUsage::ClientAuth,
        api::DeviceExtendedKeyUsage::ServerAuth => ExtendedKeyUsage::ServerAuth,
        api::DeviceExtendedKeyUsage::CodeSigning => ExtendedKeyUsage::CodeSigning,
        api::DeviceExtendedKeyUsage::EmailProtection => ExtendedKeyUsage::EmailProtection,
    }
}

const fn allowed_key(key: api::AllowedKey) -> PublicKeyAlgorithm {
    match key {
        api::AllowedKey::EcdsaP256 => PublicKeyAlgorithm::EcdsaP256,
        api::AllowedKey::EcdsaP384 => PublicKeyAlgorithm::EcdsaP384,
        api::AllowedKey::EcdsaP521 => PublicKeyAlgorithm::EcdsaP521,
        api::AllowedKey::Rsa2048 => PublicKeyAlgorithm::Rsa { bits: 2048 },
        api::AllowedKey::Rsa3072 => PublicKeyAlgorithm::Rsa { bits: 3072 },
        api::AllowedKey::Rsa4096 => PublicKeyAlgorithm::Rsa { bits: 4096 },
        api::AllowedKey::Ed25519 => PublicKeyAlgorithm::Ed25519,
    }
}
