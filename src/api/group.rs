//! EnrollmentGroup: who may enrol, and what they get.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{Condition, KeyAlgorithm, LIFESPAN, LocalRef, SHARE};

/// The rules for a group of devices.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "devicecert.dev",
    version = "v1alpha1",
    kind = "EnrollmentGroup",
    shortname = "deg",
    category = "devicecert",
    namespaced,
    status = "EnrollmentGroupStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "An EnrollmentGroup says who may enrol, which names and keys they may have, which authority signs, and when certificates are renewed.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Authority",
        type_ = "string",
        json_path = ".spec.authorityRef.name"
    ),
    printcolumn(name = "Devices", type_ = "integer", json_path = ".status.devices"),
    printcolumn(
        name = "Next-Expiry",
        type_ = "string",
        json_path = ".status.nextExpiry"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct EnrollmentGroupSpec {
    /// Disabled stops everything: nothing new and no renewals. Certificates that are out live on until they expire.
    #[serde(default)]
    pub provisioning_status: ProvisioningStatus,

    /// The CertificateAuthority that signs for this group.
    pub authority_ref: LocalRef,

    /// How devices outside the cluster may prove who they are over EST, beside a certificate they already have. When
    /// empty, only renewals and devices inside the cluster get certificates.
    #[serde(default)]
    pub authentication: Authentication,

    /// Which registration IDs may be in this group.
    #[serde(default)]
    pub registration_id: RegistrationIdRule,

    /// Which subject alternative names devices of this group may have. Empty by default: none.
    #[serde(default)]
    pub allowed_names: AllowedNames,

    /// What the certificates look like.
    #[serde(default)]
    pub profile: Profile,

    /// When and how certificates are renewed.
    #[serde(default)]
    pub renewal: Renewal,
}

/// Whether a group gives out certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProvisioningStatus {
    /// Certificates are issued and renewed.
    #[default]
    Enabled,
    /// Nothing is issued or renewed.
    Disabled,
}

/// The ways to authenticate over EST.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Authentication {
    /// HTTP Basic authentication with user names and passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passwords: Option<Passwords>,
}

/// Authentication by user name and password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Passwords {
    /// A Secret whose key `auth` (or its only key) is an htpasswd file with bcrypt (`htpasswd -B`) or argon2 hashes.
    pub secret_ref: LocalRef,
    /// Open: a password may register any ID that the group's pattern allows. PreRegistered: a DeviceIdentity must exist.
    #[serde(default)]
    pub registration: Registration,
    /// What a password may do to an ID that has a live certificate. SameKey: renew it with the same key. Any: replace
    /// it, so whoever has the password can take over any device of the group. Never: nothing.
    #[serde(default)]
    pub existing: Existing,
}

/// Whether unknown IDs may register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Registration {
    /// Unknown IDs are registered by enrolling.
    Open,
    /// Only IDs whose DeviceIdentity exists may enrol.
    #[default]
    PreRegistered,
}

/// What a password may do to an ID that has a live certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Existing {
    /// Renew it with the same key.
    #[default]
    SameKey,
    /// Replace it with any key.
    Any,
    /// Nothing.
    Never,
}

/// Which registration IDs may be in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct RegistrationIdRule {
    /// A regular expression that the whole registration ID must match (it is anchored at both ends), such as
    /// `line4-[0-9]{6}`. When absent any well-formed ID may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub pattern: Option<String>,
}

/// The subject alternative names that a group may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedNames {
    /// DNS names. `*` stands for any characters but a dot, `${registrationId}` for the device's own ID, such as
    /// `${registrationId}.devices.example.com`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub dns_names: Vec<String>,
    /// IP addresses or CIDR ranges, such as `10.0.0.0/8`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 2, max = 49)))]
    pub ip_addresses: Vec<String>,
    /// URIs. `*` stands for any characters but a slash, `${registrationId}` for the device's own ID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    pub uris: Vec<String>,
}

/// What certificates of a group look like. Nothing here is taken from a CSR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// How long a certificate is valid: a number with s, m, h, d, w or y, such as `90d`. At least a minute (60s).
    #[serde(default = "ninety_days")]
    #[schemars(length(min = 2, max = 32), regex(pattern = LIFESPAN))]
    pub validity: String,
    /// The subject, RFC 4514 or OpenSSL's slash form, with `${registrationId}`, `${namespace}` and `${group}`.
    #[serde(default = "subject_of_id")]
    #[schemars(length(min = 3, max = 1024))]
    #[x_kube(validation = Rule::new("self.contains('=')").message("spec.profile.subject must be a distinguished name such as 'O=Example,CN=${registrationId}'"))]
    #[x_kube(validation = Rule::new("self.contains('${registrationId}')").message("spec.profile.subject must contain ${registrationId}, or all devices would share one name"))]
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

/// When and how certificates are renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    /// When a certificate is renewed: after a share of its life, such as `80%`, or a time before it expires, such as
    /// `30m`. Each device renews up to 5 % of its life earlier, so that a fleet does not renew at one moment.
    #[serde(default = "eighty_percent")]
    #[schemars(length(min = 2, max = 32), regex(pattern = SHARE))]
    pub threshold: String,
    /// How long to wait after a failed renewal: a share of the life, such as `4%`, or a time, such as `10m`.
    #[serde(default = "four_percent")]
    #[schemars(length(min = 2, max = 32), regex(pattern = SHARE))]
    pub retry: String,
    /// Whether the operator makes a new key at each renewal (DeviceIdentities with a secretName).
    #[serde(default = "yes")]
    pub rotate_key: bool,
}

impl Default for Renewal {
    fn default() -> Self {
        Self {
            threshold: eighty_percent(),
            retry: four_percent(),
            rotate_key: yes(),
        }
    }
}

fn eighty_percent() -> String {
    "80%".into()
}

fn four_percent() -> String {
    "4%".into()
}

const fn yes() -> bool {
    true
}

/// What the operator observed about the group; written at most every ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrollmentGroupStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready says whether the group gives out certificates; Terminating says what holds up its deletion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many devices the group has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<i32>,
    /// How many devices are in which phase.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub phases: BTreeMap<String, i32>,
    /// When the first of the live certificates expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_expiry: Option<Time>,
}
