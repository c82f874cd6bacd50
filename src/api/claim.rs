//! BootstrapClaim: which device a bootstrap certificate belongs to, for ever.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::shared::LocalRef;

/// The claim of a bootstrap certificate. The operator makes one for each bootstrap certificate that is used; its name follows
/// from the certificate's fingerprint, so that the API server itself sees to it that there is only one.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "devicecert.dev",
    version = "v1alpha1",
    kind = "BootstrapClaim",
    shortname = "dbc",
    category = "devicecert",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    doc = "A BootstrapClaim says which registration ID a bootstrap certificate belongs to. The operator makes it when the certificate is used first, and it goes with its DeviceIdentity.",
    printcolumn(name = "ID", type_ = "string", json_path = ".spec.registrationId"),
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.groupRef.name"),
    printcolumn(
        name = "Fingerprint",
        type_ = "string",
        json_path = ".spec.fingerprint",
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("a BootstrapClaim cannot change: delete it to let the bootstrap certificate claim another device"),
)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapClaimSpec {
    /// The EnrollmentGroup in which it was claimed.
    pub group_ref: LocalRef,
    /// The registration ID that it belongs to, in lower case.
    #[schemars(length(min = 1, max = 64))]
    pub registration_id: String,
    /// SHA-256 of the certificate's DER, hexadecimal. One that is signed with ECDSA has two: this is the one that was presented.
    #[schemars(length(min = 64, max = 64))]
    pub fingerprint: String,
}
