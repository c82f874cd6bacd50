//! The custom resources of `devicecert.dev/v1alpha1`: what a user writes and reads. Types, defaults and CEL rules; no
//! behaviour. `make crds` turns this module into `crds/`.

mod authentication;
mod authority;
mod claim;
mod device;
mod group;
mod profile;
mod shared;
mod token;

pub use authentication::*;
pub use authority::*;
pub use claim::*;
pub use device::*;
pub use group::*;
pub use profile::*;
pub use shared::*;
pub use token::*;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of every resource here; also the prefix of our labels, annotations and finalizers.
pub const GROUP: &str = "devicecert.dev";

/// The finalizer on CertificateAuthorities, EnrollmentGroups and CA key Secrets: deletion waits while valid
/// certificates depend on the object.
pub const FINALIZER: &str = "devicecert.dev/in-use";

/// The annotation on a DeviceIdentity that registered itself: who asked.
pub const REGISTERED_BY: &str = "devicecert.dev/registered-by";

/// All custom resource definitions, in the order they should be applied.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        CertificateAuthority::crd(),
        EnrollmentGroup::crd(),
        DeviceIdentity::crd(),
        EnrollmentToken::crd(),
        BootstrapClaim::crd(),
    ]
}
