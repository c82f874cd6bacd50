//! EnrollmentGroup: who may enrol, and what they get.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{Condition, KeyAlgorithm, LocalRef, lifespan, share};

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

    /// Whether a person must approve a device's key before it gets its first certificate, and any other key later on.
    /// Manual needs the chart's admission policy, which lets only holders of the verb `approve` on this group approve.
    #[serde(default)]
    pub approval: Approval,

    /// How a request that waits for approval is answered: Poll says 202 with Retry-After (RFC 7030 §4.2.3), Reject says
    /// 403, for clients that take 202 for an error.
    #[serde(default)]
    pub pending: Pending,

    /// Which registration IDs may be in this group.
    #[serde(default)]
    pub registration_id: RegistrationIdRule,

    /// Further conditions, each of which must hold, in CEL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub rules: Vec<EnrollmentRule>,

    /// Which subject alternative names devices of this group may have. Empty by default: none.
    #[serde(default)]
    pub allowed_names: AllowedNames,

    /// What the certificates look like.
    #[serde(default)]
    pub profile: Profile,

    /// When and how certificates are renewed.
    #[serde(default)]
    pub renewal: Renewal,

    /// How much the devices of this group may use up.
    #[serde(default)]
    pub limits: Limits,
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

/// The ways to authenticate over EST, beside a certificate on the device's own record. Each is off when absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    /// HTTP Basic authentication with user names and passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passwords: Option<Passwords>,
    /// Certificates that devices have from elsewhere, such as their manufacturer (IDevID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
    /// One-time tokens: EnrollmentToken objects that name this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// Registration authorities, which enrol devices in their stead. Each is a device here whose certificate has the
    /// extended key usage cmcRA (RFC 6402 §2.10).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub registration_authorities: Vec<RegistrationAuthority>,
    /// For how long after it expired a device's newest certificate may still renew, such as `30d`. Off when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = lifespan())]
    pub recovery_window: Option<String>,
    /// Whether CSRs must prove that they were made for their TLS connection (RFC 7030 §3.5).
    #[serde(default)]
    pub channel_binding: ChannelBinding,
}

/// Whether CSRs must prove that they were made for their TLS connection. Proof that is there is verified in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChannelBinding {
    /// They may.
    #[default]
    Optional,
    /// They must.
    Required,
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
    /// Which IDs each user may claim. When empty, every user of the Secret may claim every ID of the group; otherwise
    /// users that are not listed may claim none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub users: Vec<UserRule>,
}

/// Which IDs a user may claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserRule {
    /// The user name in the htpasswd file.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// A regular expression that the whole registration ID must match, such as `line4-[0-9]{6}`. `${user}` stands for
    /// the user name, so `${user}` lets each user claim one device of the same name.
    #[schemars(length(min = 1, max = 256))]
    pub registration_ids: String,
}

/// Authentication by a certificate from elsewhere. A certificate may claim one registration ID, ever: the first one. That is
/// kept in a BootstrapClaim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.authorityRefs) || has(self.trustAnchors)").message("set authentication.bootstrap.authorityRefs or trustAnchors: who signs the bootstrap certificates?"),
)]
pub struct Bootstrap {
    /// CertificateAuthorities of this namespace that sign bootstrap certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub authority_refs: Vec<LocalRef>,
    /// CA certificates from elsewhere that sign bootstrap certificates, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    #[x_kube(validation = Rule::new("self.contains('-----BEGIN CERTIFICATE-----')").message("authentication.bootstrap.trustAnchors must hold CA certificates in PEM"))]
    pub trust_anchors: Option<String>,
    /// Open: a bootstrap certificate may register its ID. PreRegistered: a DeviceIdentity must exist.
    #[serde(default)]
    pub registration: Registration,
    /// What a bootstrap certificate may do to an ID that has a live certificate and was claimed in another way.
    #[serde(default)]
    pub existing: Existing,
    /// Which registration ID a certificate may claim; its common name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<BootstrapMapping>,
    /// Certificates that may not be used, by the SHA-256 of their DER in hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), inner(length(min = 64, max = 95)))]
    pub denied: Vec<String>,
}

/// Which registration ID a bootstrap certificate may claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.expression) != has(self.fingerprints)").message("set exactly one of authentication.bootstrap.mapping.expression and fingerprints"),
)]
pub struct BootstrapMapping {
    /// A CEL expression over `certificate` and `csr` that gives the ID, such as `csr.commonName`, which lets an unused
    /// certificate claim the ID that its CSR asks for, or `certificate.serialNumber`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub expression: Option<String>,
    /// Exactly these certificates, each with its ID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub fingerprints: Vec<BootstrapFingerprint>,
}

/// One bootstrap certificate and its ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapFingerprint {
    /// SHA-256 of the certificate's DER, hexadecimal, with or without colons.
    #[schemars(length(min = 64, max = 95))]
    pub sha256: String,
    /// The registration ID that it may claim.
    #[schemars(length(min = 1, max = 64))]
    pub registration_id: String,
}

/// Authentication by one-time tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// Open: a token may register the ID that it is bound to. PreRegistered: a DeviceIdentity must exist.
    #[serde(default = "open")]
    pub registration: Registration,
}

const fn open() -> Registration {
    Registration::Open
}

/// Somebody who may enrol devices of this group in their stead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationAuthority {
    /// The CertificateAuthority that signed its certificate.
    pub authority_ref: LocalRef,
    /// The whole subject of its certificate, RFC 4514 or OpenSSL's slash form.
    #[schemars(length(min = 3, max = 1024))]
    #[x_kube(validation = Rule::new("self.contains('=')").message("registrationAuthorities[].subject must be a distinguished name such as 'CN=ra-1,O=Example'"))]
    pub subject: String,
}

/// Whether a person must approve keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// Whoever authenticates gets a certificate.
    #[default]
    Automatic,
    /// A person approves each key first.
    Manual,
}

/// How a request that waits for approval is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Pending {
    /// 202 with Retry-After.
    #[default]
    Poll,
    /// 403.
    Reject,
}

/// A condition in CEL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrollmentRule {
    /// A CEL expression over `principal`, `csr` and `device` that must be true, such as
    /// `principal.type != 'Password' || csr.key.algorithm == 'ECDSA-P256'`.
    #[schemars(length(min = 1, max = 1024))]
    pub expression: String,
    /// What the requester is told if it is not; a sentence that says what to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub message: Option<String>,
}

/// How much the devices of a group may use up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// How often one device may get a certificate over EST within an hour. Each replica of the operator counts for itself, and
    /// from its own start: with two replicas it may be twice as many.
    #[serde(default = "sixty")]
    #[schemars(range(min = 1, max = 3600))]
    pub certificates_per_hour: i32,
    /// How many requests may wait for approval at the same time.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = 100000))]
    pub pending_requests: i32,
    /// How many devices may be in the group before no further one may register itself. When absent there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000000))]
    pub devices: Option<i32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            certificates_per_hour: sixty(),
            pending_requests: thousand(),
            devices: None,
        }
    }
}

const fn sixty() -> i32 {
    60
}

const fn thousand() -> i32 {
    1000
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

/// Which registration IDs may be in a group, and how they follow from the common names of CSRs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.value) || has(self.commonName)").message("spec.registrationId.value needs commonName, which says where ${device} stands in a CSR"),
)]
pub struct RegistrationIdRule {
    /// A regular expression that the whole registration ID must match (it is anchored at both ends), such as
    /// `line4-[0-9]{6}`. When absent any well-formed ID may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub pattern: Option<String>,
    /// What the common name of a CSR looks like, if it is not the registration ID itself: text with one `${device}`, such as
    /// `iotedged workload ca ${device}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 128))]
    #[x_kube(validation = Rule::new("self.contains('${device}')").message("spec.registrationId.commonName must contain ${device}"))]
    pub common_name: Option<String>,
    /// The registration ID that `${device}` leads to, such as `${device}-edge-ca`; `${device}` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 128))]
    #[x_kube(validation = Rule::new("self.contains('${device}')").message("spec.registrationId.value must contain ${device}"))]
    pub value: Option<String>,
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

/// When and how certificates are renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    /// When a certificate is renewed: after a share of its life, such as `80%`, or a time before it expires, such as
    /// `30m`. A time as long as the life, or longer, counts as half of it. Each device renews up to 5 % of its life
    /// earlier, so that a fleet does not renew at one moment.
    #[serde(default = "eighty_percent")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = share())]
    pub threshold: String,
    /// How long to wait after a failed renewal: a share of the life, such as `4%`, or a time, such as `10m`.
    #[serde(default = "four_percent")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = share())]
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
