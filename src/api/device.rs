//! DeviceIdentity: one device and its certificate.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{Condition, LocalRef, OBJECT_NAME};

/// One device.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "devicecert.dev",
    version = "v1alpha1",
    kind = "DeviceIdentity",
    plural = "deviceidentities",
    shortname = "did",
    category = "devicecert",
    namespaced,
    status = "DeviceIdentityStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A DeviceIdentity is one device. The operator keeps its certificate valid: in a Secret (secretName), for a CSR given here (request), or for a device that enrols itself over EST (neither).",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.groupRef.name"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.certificate.notAfter"),
    printcolumn(name = "Renews", type_ = "string", json_path = ".status.certificate.renewalTime", priority = "1"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.secretName", priority = "1"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("has(self.spec.registrationId) || self.metadata.name.size() <= 64").message("without spec.registrationId the metadata.name is the registration ID, which may have at most 64 characters"),
)]
#[x_kube(
    validation = Rule::new("!(has(self.secretName) && has(self.request))").message("set at most one of spec.secretName (the operator makes the key) and spec.request (a CSR made elsewhere); neither means that the device enrols itself over EST"),
    validation = Rule::new("self.groupRef == oldSelf.groupRef").message("spec.groupRef cannot change: delete the DeviceIdentity and create it in the other group"),
    validation = Rule::new("has(self.registrationId) == has(oldSelf.registrationId) && (!has(self.registrationId) || self.registrationId == oldSelf.registrationId)").message("spec.registrationId cannot change: create another DeviceIdentity"),
    validation = Rule::new("has(self.secretName) == has(oldSelf.secretName) && (!has(self.secretName) || self.secretName == oldSelf.secretName)").message("spec.secretName cannot change: create another DeviceIdentity"),
    validation = Rule::new("has(self.request) == has(oldSelf.request) && (!has(self.request) || self.request == oldSelf.request)").message("spec.request cannot change: create another DeviceIdentity"),
    validation = Rule::new("!has(self.revocationReason) || self.state == 'Revoked'").message("spec.revocationReason needs spec.state: Revoked"),
    validation = Rule::new("oldSelf.state != 'Revoked' || self.state == 'Revoked'").message("Revoked is final: create another DeviceIdentity for a device that comes back"),
)]
#[serde(rename_all = "camelCase")]
pub struct DeviceIdentitySpec {
    /// The EnrollmentGroup whose rules hold for this device. Cannot change.
    pub group_ref: LocalRef,

    /// The device's ID: letters, digits and `-._:`, at most 64, upper and lower case being the same. When absent the
    /// metadata.name is the ID. The metadata.name must follow from the ID: it is the ID in lower case where that is a
    /// DNS name; for others the condition NameMismatch says which name to use. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-A-Za-z0-9._:]*[A-Za-z0-9])?$')").message("spec.registrationId may have letters, digits and -._: and must begin and end with a letter or digit"))]
    #[x_kube(validation = Rule::new("!self.lowerAscii().startsWith('system:')").message("spec.registrationId may not begin with 'system:', which Kubernetes keeps for itself"))]
    pub registration_id: Option<String>,

    /// The Secret (type kubernetes.io/tls) in which the operator keeps tls.crt, tls.key and ca.crt. The operator makes
    /// the key. A Secret that belongs to something else is never touched. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub secret_name: Option<String>,

    /// A certificate signing request (PKCS#10, PEM) made where the key is. The certificate appears in
    /// status.certificate.pem and is renewed for the same key. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    #[x_kube(validation = Rule::new("self.startsWith('-----BEGIN CERTIFICATE REQUEST-----') || self.startsWith('-----BEGIN NEW CERTIFICATE REQUEST-----')").message("spec.request must be a PEM certificate signing request; make one with: openssl req -new -key device.key -subj /CN=ID"))]
    pub request: Option<String>,

    /// Active devices get certificates. Suspended ones get none until they are Active again. Revoked is final.
    #[serde(default)]
    pub state: DeviceState,

    /// Why a device is Revoked. With KeyCompromise its keys are never certified again, for any device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_reason: Option<RevocationReason>,

    /// The decision of a person about a request that waits in status.pendingRequest (groups with approval: Manual). It is for
    /// one key, and void for any other. Set it with `kubectl devicecert approve` or `deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<KeyApproval>,

    /// A moment after which a certificate that was issued earlier is renewed at once (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self < timestamp('9000-01-01T00:00:00Z')").message("spec.renewAfter must be before the year 9000"))]
    pub renew_after: Option<Time>,

    /// DNS names for the certificate, each within the group's allowedNames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    pub dns_names: Vec<String>,

    /// IP addresses for the certificate, each within the group's allowedNames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 2, max = 45)))]
    pub ip_addresses: Vec<String>,

    /// URIs for the certificate, each within the group's allowedNames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 512)))]
    pub uris: Vec<String>,
}

/// A person's decision about one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyApproval {
    /// Approved or Denied.
    pub decision: ApprovalDecision,
    /// The keyFingerprint of the pending request: SHA-256 of the public key (SubjectPublicKeyInfo DER), hexadecimal.
    #[schemars(length(min = 64, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f]{64}$')").message("spec.approval.keyFingerprint must be the 64 hexadecimal digits of status.pendingRequest.keyFingerprint"))]
    pub key_fingerprint: String,
    /// Why; the device is told when its request is denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub reason: Option<String>,
}

/// What a person decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalDecision {
    /// The key may be certified.
    Approved,
    /// The key may not be certified.
    Denied,
}

/// Why a device is revoked (RFC 5280 §5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RevocationReason {
    /// No particular reason.
    Unspecified,
    /// Somebody else may know its private key.
    KeyCompromise,
    /// It belongs to somebody else now, or has another name.
    AffiliationChanged,
    /// Another device takes its place.
    Superseded,
    /// It is no longer in use.
    CessationOfOperation,
    /// It may no longer do what it did.
    PrivilegeWithdrawn,
}

/// Whether a device may have certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DeviceState {
    /// It may.
    #[default]
    Active,
    /// Not until it is Active again.
    Suspended,
    /// Never again.
    Revoked,
}

/// What the operator observed about the device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceIdentityStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the device is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<DevicePhase>,
    /// Ready says whether the device has a certificate that is good to use; Issued speaks of the last attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The newest certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<DeviceCertificate>,
    /// Older certificates that have not expired yet, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub previous: Vec<PreviousCertificate>,
    /// The request that waits for a person's approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_request: Option<PendingRequest>,
    /// What the person saw who approved the key in spec.approval: the approval is for these names only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_request: Option<ApprovedRequest>,
}

/// A request that a person approved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovedRequest {
    /// SHA-256 of the public key, as spec.approval.keyFingerprint has it.
    #[schemars(length(max = 64))]
    pub key_fingerprint: String,
    /// The subject alternative names that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 96), inner(length(max = 520)))]
    pub subject_alt_names: Vec<String>,
}

/// A request that waits for a person's approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingRequest {
    /// SHA-256 of the public key (SubjectPublicKeyInfo DER), hexadecimal; what spec.approval.keyFingerprint must say.
    #[schemars(length(max = 64))]
    pub key_fingerprint: String,
    /// The key's kind, such as ECDSA-P256.
    #[schemars(length(max = 16))]
    pub key_algorithm: String,
    /// The subject that was asked for, as RFC 4514 text.
    #[schemars(length(max = 2048))]
    pub subject: String,
    /// The subject alternative names that would be certified, each as `DNS:…`, `IP:…` or `URI:…`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 96), inner(length(max = 520)))]
    pub subject_alt_names: Vec<String>,
    /// Who asked.
    #[schemars(length(max = 256))]
    pub requester: String,
    /// When it asked first.
    pub requested_at: Time,
}

/// Where a device is in its life.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum DevicePhase {
    /// It has no certificate yet; the conditions say what it waits for.
    Pending,
    /// It has no certificate yet, and a person must approve its request.
    PendingApproval,
    /// It has no certificate, and a person denied its request.
    Denied,
    /// A certificate is recorded and on its way into its Secret.
    Issuing,
    /// It has a valid certificate.
    Active,
    /// Its newest certificate has expired.
    Expired,
    /// It is suspended.
    Suspended,
    /// It is revoked.
    Revoked,
}

impl DeviceIdentityStatus {
    /// SHA-256 of each certificate on record, the newest first.
    pub fn fingerprints(&self) -> impl Iterator<Item = &str> {
        let newest = self.certificate.iter().map(|newest| &newest.fingerprint);
        let past = self.previous.iter().map(|past| &past.fingerprint);
        newest.chain(past).map(String::as_str)
    }

    /// SHA-256 of the public key of each.
    pub fn key_fingerprints(&self) -> impl Iterator<Item = &str> {
        let newest = self
            .certificate
            .iter()
            .map(|newest| &newest.key_fingerprint);
        let past = self.previous.iter().map(|past| &past.key_fingerprint);
        newest.chain(past).map(String::as_str)
    }
}

impl DevicePhase {
    /// Every phase, for metrics that must show zeroes.
    pub const ALL: [DevicePhase; 8] = [
        Self::Pending,
        Self::PendingApproval,
        Self::Denied,
        Self::Issuing,
        Self::Active,
        Self::Expired,
        Self::Suspended,
        Self::Revoked,
    ];

    /// The word as it is written in YAML and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::PendingApproval => "PendingApproval",
            Self::Denied => "Denied",
            Self::Issuing => "Issuing",
            Self::Active => "Active",
            Self::Expired => "Expired",
            Self::Suspended => "Suspended",
            Self::Revoked => "Revoked",
        }
    }
}

/// The newest certificate of a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceCertificate {
    /// The serial number in hexadecimal.
    #[schemars(length(max = 40))]
    pub serial_number: String,
    /// From when the certificate is valid.
    pub not_before: Time,
    /// Until when the certificate is valid.
    pub not_after: Time,
    /// When it is renewed, or, for a device that enrols itself, when it should be.
    pub renewal_time: Time,
    /// SHA-256 of the certificate's DER, hexadecimal.
    #[schemars(length(max = 64))]
    pub fingerprint: String,
    /// SHA-256 of the public key (SubjectPublicKeyInfo DER), hexadecimal.
    #[schemars(length(max = 64))]
    pub key_fingerprint: String,
    /// SHA-256 of the issuing CA's certificate (DER), hexadecimal.
    #[schemars(length(max = 64))]
    pub issuer_fingerprint: String,
    /// The issuer as RFC 4514 text.
    #[schemars(length(max = 2048))]
    pub issuer: String,
    /// The subject as RFC 4514 text.
    #[schemars(length(max = 2048))]
    pub subject: String,
    /// The subject that the CSR asked for, where it differs; a renewal may repeat either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub requested_subject: Option<String>,
    /// The subject alternative names, each as `DNS:…`, `IP:…` or `URI:…`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 96), inner(length(max = 520)))]
    pub subject_alt_names: Vec<String>,
    /// SHA-256 of the CSR (DER), hexadecimal: a retry of the same request gets the same certificate.
    #[schemars(length(max = 64))]
    pub request_digest: String,
    /// Who asked: `Operator`, `Password/<user>`, `Token/<name>`, `Device/<fingerprint>`, `Bootstrap/<fingerprint>` or
    /// `RegistrationAuthority/<fingerprint>`.
    #[schemars(length(max = 256))]
    pub requester: String,
    /// The certificate in PEM, where no Secret holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub pem: Option<String>,
}

/// An older certificate that has not expired yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviousCertificate {
    /// The serial number in hexadecimal.
    #[schemars(length(max = 40))]
    pub serial_number: String,
    /// Until when the certificate is valid.
    pub not_after: Time,
    /// SHA-256 of the certificate's DER, hexadecimal.
    #[schemars(length(max = 64))]
    pub fingerprint: String,
    /// SHA-256 of the public key (SubjectPublicKeyInfo DER), hexadecimal.
    #[schemars(length(max = 64))]
    pub key_fingerprint: String,
    /// SHA-256 of the issuing CA's certificate (DER), hexadecimal.
    #[schemars(length(max = 64))]
    pub issuer_fingerprint: String,
}
