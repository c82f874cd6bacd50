//! An EnrollmentGroup, compiled: every text in it has become a type, or the group is invalid and gives out nothing.

mod authentication;

pub use authentication::{
    AuthorityRule, BootstrapRules, IdMapping, PasswordRules, TokenRules, UserRule,
    passwords_missing,
};

use super::{
    AllowedNames, Expression, GroupKey, IdRule, Reason, Refusal, RegistrationId, RetryInterval,
    view,
};
use crate::{
    api::{
        self, Approval, ChangeSubjectName, ChannelBinding, Pending, ProvisioningStatus,
        ServerKeygen,
    },
    pki::{
        ExtendedKeyUsage, KeyAlgorithm, KeyUsage, Lifespan, NameTemplate, PublicKeyAlgorithm, Role,
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
    /// How certificates from elsewhere authenticate, where they do.
    pub bootstrap: Option<BootstrapRules>,
    /// How one-time tokens authenticate, where they do.
    pub tokens: Option<TokenRules>,
    /// Who may enrol others.
    pub registration_authorities: Vec<AuthorityRule>,
    /// For how long after it expired a certificate may renew; `None` is not at all.
    pub recovery_window: Option<Lifespan>,
    /// Whether CSRs must prove that they were made for their TLS connection.
    pub channel_binding: ChannelBinding,
    /// Whether a person must approve keys.
    pub approval: Approval,
    /// How a request that waits for approval is answered.
    pub pending: Pending,
    /// How registration IDs follow from CSRs, and which may be here.
    pub ids: IdRule,
    /// Conditions, each with what to tell the requester if it does not hold.
    pub rules: Vec<(Expression, Option<String>)>,
    /// How much devices may use up.
    pub limits: api::Limits,
    /// Which alternative names may be granted.
    pub allowed_names: AllowedNames,
    /// How long certificates live.
    pub lifespan: Lifespan,
    /// The subject of certificates.
    pub subject: NameTemplate,
    /// Whether certificates are for devices or for authorities.
    pub role: Role,
    /// Whether the operator makes keys for devices outside.
    pub server_keygen: ServerKeygen,
    /// Whether a renewal may change names.
    pub change_subject_name: ChangeSubjectName,
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
        let ids = IdRule::compile(&spec.registration_id)
            .map_err(|(field, why)| invalid(&format!("registrationId.{field}"), &why))?;
        let samples = view::samples_for_rules();
        let rules = spec
            .rules
            .iter()
            .zip(0..)
            .map(|(rule, position)| {
                let compiled = Expression::condition(&rule.expression, &samples)
                    .map_err(|e| invalid(&format!("rules[{position}].expression"), &e))?;
                Ok((compiled, rule.message.clone()))
            })
            .collect::<Result<_, Refusal>>()?;
        let authentication = &spec.authentication;
        let in_authentication =
            |(field, why): (&str, String)| invalid(&format!("authentication.{field}"), &why);
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
            passwords: authentication
                .passwords
                .as_ref()
                .map(PasswordRules::compile)
                .transpose()
                .map_err(in_authentication)?,
            bootstrap: authentication
                .bootstrap
                .as_ref()
                .map(BootstrapRules::compile)
                .transpose()
                .map_err(in_authentication)?,
            tokens: authentication.tokens.as_ref().map(|tokens| TokenRules {
                registration: tokens.registration,
            }),
            registration_authorities: authentication
                .registration_authorities
                .iter()
                .map(AuthorityRule::compile)
                .collect::<Result<_, _>>()
                .map_err(in_authentication)?,
            recovery_window: authentication
                .recovery_window
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|e| invalid("authentication.recoveryWindow", &e))?,
            channel_binding: authentication.channel_binding,
            approval: spec.approval,
            pending: spec.pending,
            ids,
            rules,
            limits: spec.limits.clone(),
            allowed_names,
            lifespan,
            subject,
            role: role(profile),
            server_keygen: profile.server_keygen,
            change_subject_name: profile.change_subject_name,
            key_usages: key_usages(profile),
            extended_key_usages: extended_key_usages(profile),
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

    /// Namespace and name.
    pub fn key(&self) -> GroupKey {
        GroupKey {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// Refuses an ID that does not match the group's pattern. Case does not matter.
    pub fn check_id(&self, id: &RegistrationId) -> Result<(), Refusal> {
        if self.ids.takes(id) {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::RegistrationIdNotAllowed,
            format!(
                "the registration ID {id} does not match the pattern of group {}/{} (its spec.registrationId.pattern)",
                self.namespace, self.name
            ),
        ))
    }
}

fn role(profile: &api::Profile) -> Role {
    if !profile.is_ca {
        return Role::Leaf;
    }
    let path_length = profile.path_length.unwrap_or(0);
    Role::Authority {
        // The schema bounds it.
        path_length: Some(u8::try_from(path_length).unwrap_or(0)),
    }
}

/// A CA signs certificates and CRLs, and itself in TLS; what the profile says is for devices.
fn key_usages(profile: &api::Profile) -> Vec<KeyUsage> {
    if profile.is_ca {
        return vec![
            KeyUsage::DigitalSignature,
            KeyUsage::KeyCertSign,
            KeyUsage::CrlSign,
        ];
    }
    profile.key_usages.iter().copied().map(key_usage).collect()
}

/// In a CA, purposes would bind everybody below it, so it gets none.
fn extended_key_usages(profile: &api::Profile) -> Vec<ExtendedKeyUsage> {
    if profile.is_ca {
        return Vec::new();
    }
    let own = profile.extended_key_usages.iter().copied();
    let authority = profile
        .registration_authority
        .then_some(ExtendedKeyUsage::CmcRa);
    own.map(extended_key_usage).chain(authority).collect()
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
