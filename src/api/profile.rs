//! What the certificates of an EnrollmentGroup look like.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{KeyAlgorithm, lifespan};

/// What certificates of a group look like. Nothing here is taken from a CSR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(self.isCA && self.registrationAuthority)").message("set at most one of spec.profile.isCA and registrationAuthority"),
    validation = Rule::new("!has(self.pathLength) || self.isCA").message("spec.profile.pathLength needs isCA: true"),
    validation = Rule::new("!(self.isCA && self.serverKeygen == 'Enabled')").message("the server makes no CA keys: set spec.profile.serverKeygen to Disabled"),
)]
pub struct Profile {
    /// How long a certificate is valid: a number with s, m, h, d, w or y, such as `90d`. At least a minute (60s).
    #[serde(default = "ninety_days")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = lifespan())]
    pub validity: String,
    /// The subject, RFC 4514 or OpenSSL's slash form, with `${registrationId}`, `${device}` (see
    /// registrationId.commonName), `${namespace}` and `${group}`.
    #[serde(default = "subject_of_id")]
    #[schemars(length(min = 3, max = 1024))]
    #[x_kube(validation = Rule::new("self.contains('=')").message("spec.profile.subject must be a distinguished name such as 'O=Example,CN=${registrationId}'"))]
    #[x_kube(validation = Rule::new("self.contains('${registrationId}') || self.contains('${device}')").message("spec.profile.subject must contain ${registrationId} (or ${device}), or all devices would share one name"))]
    pub subject: String,
    /// The X.509 key usages, in OpenSSL's spelling.
    #[serde(default = "digital_signature")]
    #[schemars(length(min = 1, max = 8))]
    pub key_usages: Vec<DeviceKeyUsage>,
    /// The X.509 extended key usages, in OpenSSL's spelling.
    #[serde(default = "client_auth")]
    #[schemars(length(min = 1, max = 8))]
    pub extended_key_usages: Vec<DeviceExtendedKeyUsage>,
    /// The keys that devices may bring. Empty: any key that the operator accepts at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub allowed_keys: Vec<AllowedKey>,
    /// The algorithm of keys that the operator makes (DeviceIdentities with a secretName).
    #[serde(default)]
    pub key_algorithm: KeyAlgorithm,
    /// Make these devices certificate authorities (CA:TRUE), such as the Edge CA of Azure IoT Edge. Everybody who trusts
    /// the issuer then trusts what they sign.
    #[serde(default, rename = "isCA")]
    pub is_ca: bool,
    /// With isCA: how many CAs may stand below such a device; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4))]
    pub path_length: Option<i32>,
    /// Make these devices registration authorities: their certificates get the extended key usage cmcRA, with which groups
    /// that list them let them enrol other devices.
    #[serde(default)]
    pub registration_authority: bool,
    /// Whether the operator makes keys for devices that ask for one over EST (RFC 7030 §4.4).
    #[serde(default)]
    pub server_keygen: ServerKeygen,
    /// Whether a renewal over EST may change the subject, with a ChangeSubjectName attribute in the CSR (RFC 7030 §4.2.2).
    /// The new names must be those of the same registration ID.
    #[serde(default)]
    pub change_subject_name: ChangeSubjectName,
}

/// Whether the operator makes keys for devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServerKeygen {
    /// It does not.
    #[default]
    Disabled,
    /// It does.
    Enabled,
}

/// Whether a renewal may change names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChangeSubjectName {
    /// It may not.
    #[default]
    Refused,
    /// It may, as far as the profile and allowedNames let it.
    Allowed,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            validity: ninety_days(),
            subject: subject_of_id(),
            key_usages: digital_signature(),
            extended_key_usages: client_auth(),
            allowed_keys: Vec::new(),
            key_algorithm: KeyAlgorithm::default(),
            is_ca: false,
            path_length: None,
            registration_authority: false,
            server_keygen: ServerKeygen::default(),
            change_subject_name: ChangeSubjectName::default(),
        }
    }
}

fn ninety_days() -> String {
    "90d".into()
}

fn subject_of_id() -> String {
    "CN=${registrationId}".into()
}

fn digital_signature() -> Vec<DeviceKeyUsage> {
    vec![DeviceKeyUsage::DigitalSignature]
}

fn client_auth() -> Vec<DeviceExtendedKeyUsage> {
    vec![DeviceExtendedKeyUsage::ClientAuth]
}

/// The key usages that a device may have. Signing certificates is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DeviceKeyUsage {
    /// Signatures other than on certificates and CRLs.
    DigitalSignature,
    /// Signatures that bind their maker.
    NonRepudiation,
    /// Encrypting keys with an RSA key.
    KeyEncipherment,
    /// Encrypting data directly.
    DataEncipherment,
    /// Agreeing on keys.
    KeyAgreement,
}

/// The extended key usages that a device may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DeviceExtendedKeyUsage {
    /// TLS client.
    ClientAuth,
    /// TLS server.
    ServerAuth,
    /// Signed code.
    CodeSigning,
    /// Protected e-mail.
    EmailProtection,
}

/// The kinds of key that a group can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AllowedKey {
    /// ECDSA on NIST P-256.
    #[serde(rename = "ECDSA-P256")]
    EcdsaP256,
    /// ECDSA on NIST P-384.
    #[serde(rename = "ECDSA-P384")]
    EcdsaP384,
    /// ECDSA on NIST P-521.
    #[serde(rename = "ECDSA-P521")]
    EcdsaP521,
    /// RSA with 2048 bits.
    #[serde(rename = "RSA-2048")]
    Rsa2048,
    /// RSA with 3072 bits.
    #[serde(rename = "RSA-3072")]
    Rsa3072,
    /// RSA with 4096 bits.
    #[serde(rename = "RSA-4096")]
    Rsa4096,
    /// Ed25519.
    Ed25519,
}
