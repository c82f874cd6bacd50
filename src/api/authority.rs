//! CertificateAuthority: a CA that the operator runs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{Condition, KeyAlgorithm, LocalRef, lifespan};

/// A certificate authority. Exactly one of selfSigned and issuedBy says where its certificate comes from.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "devicecert.dev",
    version = "v1alpha1",
    kind = "CertificateAuthority",
    plural = "certificateauthorities",
    shortname = "dca",
    category = "devicecert",
    namespaced,
    status = "CertificateAuthorityStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A CertificateAuthority signs the certificates of devices, or of other authorities. Its private key is kept in the operator's own namespace and never leaves it.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Subject", type_ = "string", json_path = ".status.certificate.subject"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.certificate.notAfter"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name may have at most 63 characters: choose a shorter name, the operator's key Secrets carry it"),
)]
#[x_kube(
    validation = Rule::new("[has(self.selfSigned), has(self.issuedBy)].exists_one(x, x)").message("set exactly one of spec.selfSigned (a root) and spec.issuedBy (an intermediate)"),
    validation = Rule::new("has(self.selfSigned) == has(oldSelf.selfSigned) && has(self.issuedBy) == has(oldSelf.issuedBy) && (!has(self.issuedBy) || self.issuedBy == oldSelf.issuedBy)").message("where a CA's certificate comes from cannot change: create a new CertificateAuthority and point the groups at it"),
    validation = Rule::new("has(self.subject) == has(oldSelf.subject) && (!has(self.subject) || self.subject == oldSelf.subject)").message("spec.subject cannot change once the CA exists: create a new CertificateAuthority"),
    validation = Rule::new("has(self.pathLength) == has(oldSelf.pathLength) && (!has(self.pathLength) || self.pathLength == oldSelf.pathLength)").message("spec.pathLength cannot change once the CA exists: create a new CertificateAuthority"),
)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAuthoritySpec {
    /// Make this a root: its certificate is signed with its own key. Write `selfSigned: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<SelfSigned>,

    /// Make this an intermediate, issued by another CertificateAuthority of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_by: Option<LocalRef>,

    /// The distinguished name of the CA. Either RFC 4514, most specific part first, such as
    /// `CN=Factory Root,O=Example,DC=example,DC=com`, or the slash form of OpenSSL in the order of encoding, such as
    /// `/DC=com/DC=example/O=Example/CN=Factory Root`. When absent: CN=<metadata.name>. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 1024))]
    #[x_kube(validation = Rule::new("self.contains('=')").message("spec.subject must be a distinguished name such as 'CN=Factory Root,O=Example'"))]
    pub subject: Option<String>,

    /// The algorithm of the CA's key. Cannot change.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.keyAlgorithm cannot change once the CA exists: create a new CertificateAuthority"))]
    pub key_algorithm: KeyAlgorithm,

    /// How long the CA's certificate is valid: a number with s, m, h, d, w or y, such as `20y` (a year has 365 days).
    /// An intermediate never outlives its issuer. Cannot change.
    #[serde(default = "ten_years")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = lifespan())]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.validity cannot change once the CA exists: create a new CertificateAuthority"))]
    pub validity: String,

    /// How many further CAs may stand below this one (X.509 pathLenConstraint): 0 lets it sign devices only. When absent
    /// there is no such limit. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub path_length: Option<i32>,

    /// A suspended CA signs nothing; certificates that it signed stay as they are.
    #[serde(default)]
    pub suspended: bool,

    /// What becomes of the private key when this object is deleted. Retain keeps it in the operator's namespace, where
    /// a CertificateAuthority of the same name takes it up again; Delete destroys it for good.
    #[serde(default)]
    pub key_deletion: KeyDeletion,
}

fn ten_years() -> String {
    "10y".into()
}

/// Marks a root. It has no settings of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelfSigned {}

/// What becomes of a CA key when its CertificateAuthority is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyDeletion {
    /// Keep the key.
    #[default]
    Retain,
    /// Destroy the key for good.
    Delete,
}

/// What the operator observed about the authority.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAuthorityStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready says whether the CA can sign; Terminating says what holds up its deletion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The certificate that signs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<AuthorityCertificate>,
    /// The certificate that signs now and its issuers up to the root, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub chain: Option<String>,
    /// The keys that this CA has had, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["number"]))]
    pub generations: Vec<AuthorityGeneration>,
}

/// Facts about a CA certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityCertificate {
    /// The serial number in hexadecimal.
    #[schemars(length(max = 40))]
    pub serial_number: String,
    /// The subject as RFC 4514 text.
    #[schemars(length(max = 2048))]
    pub subject: String,
    /// The issuer as RFC 4514 text.
    #[schemars(length(max = 2048))]
    pub issuer: String,
    /// From when the certificate is valid.
    pub not_before: Time,
    /// Until when the certificate is valid.
    pub not_after: Time,
    /// SHA-256 of the DER, hexadecimal.
    #[schemars(length(max = 64))]
    pub fingerprint: String,
}

/// One key of a CA and the certificate over it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityGeneration {
    /// 1 for the first key.
    #[schemars(range(min = 1))]
    pub number: i32,
    /// What this generation is used for.
    pub state: GenerationState,
    /// The Secret in the operator's namespace that holds the key.
    #[schemars(length(max = 253))]
    pub key_secret_name: String,
    /// SHA-256 of the certificate's DER, hexadecimal.
    #[schemars(length(max = 64))]
    pub fingerprint: String,
}

/// What a generation of a CA is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GenerationState {
    /// It signs.
    Active,
}
