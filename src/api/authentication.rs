//! How devices outside the cluster may prove who they are: a part of an EnrollmentGroup.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{LocalRef, lifespan, thousand};

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
    /// How many certificates it may get for others in this group within an hour. Each replica of the operator counts for itself,
    /// and from its own start. It bounds what can be done with an authority that was broken into, or in its name by whoever broke
    /// into the EST server.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = 1000000))]
    pub certificates_per_hour: i32,
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
