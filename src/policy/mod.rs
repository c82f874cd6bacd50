//! PURE: who may have which certificate, and in which state a thing is. No clock, no randomness, no I/O.
//!
//! The one sentence: [`authorize()`] is the only way to a [`Grant`], and a [`Grant`] is the only thing that is signed.

mod allowed_names;
mod authorize;
mod condition;
mod device;
mod grant;
mod group;
mod label;
mod principal;
mod reason;
mod record;
mod registration_id;
mod renewal;

pub use allowed_names::AllowedNames;
pub use authorize::{Asked, Purpose, Situation, authorize};
pub use condition::{Statement, set_condition};
pub use device::{Device, Origin, Recorded};
pub use grant::{Authority, Grant, server_grant};
pub use group::{Group, PasswordRules, key_algorithm};
pub use label::{GroupKey, Labels};
pub use principal::Principal;
pub use reason::{Reason, Refusal};
pub use record::{Recording, certificate_ready, record, secret_ready};
pub use registration_id::RegistrationId;
pub use renewal::{RetryInterval, renewal_time};
