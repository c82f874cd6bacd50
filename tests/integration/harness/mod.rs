//! What all integration tests stand on: a cluster, a world of its own for each test, the operator in it, and patience.
//!
//! `DEVICECERT_TEST_KUBECONFIG=…` uses a cluster that is up already (`tests/cluster/cluster up DIR --controller-manager`)
//! instead of starting one, which saves some seconds.

mod certificates;
mod cluster;
mod est;
mod http;
mod metrics;
mod objects;
mod operator;
mod permissions;
mod shell;
mod sidecar;
mod wait;
mod world;

pub use certificates::{Facts, claim_name, fingerprint, split_pem, twin};
pub use cluster::Cluster;
pub use est::{Device, Est, Reply};
pub use http::Connection;
pub use metrics::Metrics;
pub use objects::{authority, device, group, htpasswd, merge, password_secret};
pub use operator::Operator;
pub use shell::{run_in, tool};
pub use sidecar::{CONTROLLER_UID, EST_UID, Sidecar};
pub use wait::{CONVERGES, RESTORED, eventually};
pub use world::{World, condition};

/// The password of the test users; no log may ever show it.
pub const PASSWORD: &str = "correct-horse-9137";
