//! EnrollmentToken: one device may enrol once with it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::LocalRef;

/// A one-time token. The token itself is printed once by `kubectl devicecert token`; here is only its hash.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "devicecert.dev",
    version = "v1alpha1",
    kind = "EnrollmentToken",
    shortname = "det",
    category = "devicecert",
    namespaced,
    status = "EnrollmentTokenStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "An EnrollmentToken lets one device enrol once. Make it with: kubectl devicecert token --group GROUP --id ID. The object holds only a hash of the token.",
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.groupRef.name"),
    printcolumn(name = "ID", type_ = "string", json_path = ".spec.registrationId"),
    printcolumn(name = "Pattern", type_ = "string", json_path = ".spec.registrationIdPattern"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt"),
    printcolumn(name = "Consumed-By", type_ = "string", json_path = ".status.consumed.registrationId"),
    printcolumn(name = "Consumed-At", type_ = "string", json_path = ".status.consumed.at", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')").message("metadata.name is a part of the token: use at most 63 characters without dots"),
)]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("an EnrollmentToken cannot change: delete it and make another with kubectl devicecert token"),
    validation = Rule::new("has(self.expiresAt)").message("set spec.expiresAt: a token must end"),
    validation = Rule::new("has(self.registrationId) != has(self.registrationIdPattern)").message("set exactly one of spec.registrationId and spec.registrationIdPattern: which device is the token for?"),
)]
#[serde(rename_all = "camelCase")]
pub struct EnrollmentTokenSpec {
    /// The EnrollmentGroup in which the token is good.
    pub group_ref: LocalRef,
    /// The one registration ID that may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub registration_id: Option<String>,
    /// A regular expression; the first device whose whole registration ID matches may use the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub registration_id_pattern: Option<String>,
    /// When it ends (RFC 3339).
    pub expires_at: Option<Time>,
    /// SHA-256 of the token, hexadecimal.
    #[schemars(length(min = 64, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f]{64}$')").message("spec.tokenHash must be 64 hexadecimal digits: the SHA-256 of the token. Make tokens with kubectl devicecert token"))]
    pub token_hash: String,
}

/// What became of the token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrollmentTokenStatus {
    /// Who used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed: Option<TokenConsumption>,
}

/// Who used a token, and when. Written before the certificate is signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenConsumption {
    /// When.
    pub at: Time,
    /// The registration ID.
    #[schemars(length(max = 64))]
    pub registration_id: String,
    /// SHA-256 of the public key (SubjectPublicKeyInfo DER), hexadecimal.
    #[schemars(length(max = 64))]
    pub key_fingerprint: String,
}
