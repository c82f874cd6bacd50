//! The one way to speak with the Kubernetes API: timeouts on every call, counted writes, preconditions on every patch,
//! rate-limited Events, and the election of the leader.

mod client;
mod error;
mod events;
mod leadership;
mod lease;
mod patch;

pub use client::{Clients, WriteCounter};
pub use error::{ApiError, Outcome};
pub use events::Events;
pub use leadership::Leadership;
pub use lease::{Election, ElectionTimes};
pub use patch::{merge_diff, patch_metadata, patch_status};

use std::hash::{BuildHasher, Hasher, RandomState};

use jiff::Timestamp;

/// The one source of time.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A number by chance, for names and pauses; nothing secret may rest on it. It cannot fail, unlike the random numbers of keys.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The label that marks our Secrets, so that one selective watch sees them all.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "devicecert-operator");
