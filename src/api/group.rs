//! EnrollmentGroup: who may enrol, and what they get.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    authentication::Authentication,
    profile::Profile,
    shared::{Condition, LocalRef, share, thousand},
};

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
    /// URIs. `*` stands for any characters but `/`, `?`, `#` and `@`, `${registrationId}` for the device's own ID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    pub uris: Vec<String>,
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
