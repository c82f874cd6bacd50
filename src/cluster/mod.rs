//! The one way to speak with the Kubernetes API: timeouts on every call, counted writes, preconditions on every patch,
//! rate-limited Events.

mod client;
mod error;
mod events;
mod patch;

pub use client::{Clients, WriteCounter};
pub use error::{ApiError, Outcome};
pub use events::Events;
pub use patch::{merge_diff, patch_metadata, patch_status};

use jiff::Timestamp;

/// The one source of time.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The label that marks our Secrets, so that one selective watch sees them all.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "devicecert-operator");
