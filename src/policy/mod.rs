//! PURE: who may have which certificate, and in which state a thing is. No clock, no randomness, no I/O.
//!
//! The one sentence: [`authorize()`] is the only way to a [`Grant`], and a [`Grant`] is the only thing that is signed.

mod allowed_names;
pub mod approval_policy;
mod attributes;
mod authorities;
mod authority;
mod authorize;
mod bootstrap;
mod condition;
mod device;
mod expression;
mod grant;
mod group;
mod id_rule;
mod key_holder;
mod label;
mod principal;
pub mod proof;
mod reason;
mod record;
mod registration_id;
mod renewal;
mod room;
mod token;
mod view;
mod wanted;
mod ways_in;

pub use allowed_names::AllowedNames;
pub use authority::{
    KnownAuthority, authority_chain, authority_facts, authority_not_found, read_authority_facts,
};
pub use authorize::{
    Asked, KeyHolder, Outcome, Purpose, Situation, approval_key, authorize, explain, key_in_use,
    may_register,
};
pub use bootstrap::pinned;
pub use condition::{Statement, set_condition};
pub use device::{Approved, Device, Origin, Pending, Recorded};
pub use expression::{Expression, Variable};
pub use grant::{Authority, Grant, server_grant};
pub use group::{
    AuthorityRule, BootstrapRules, Group, IdMapping, PasswordRules, TokenRules, UserRule,
    key_algorithm, passwords_missing,
};
pub use id_rule::{IdRule, whole_match};
pub use key_holder::key_holder;
pub use label::{GroupKey, Labels};
pub use principal::{Principal, Standing};
pub use reason::{Reason, Refusal};
pub use record::{Recording, approved_request, certificate_ready, record, secret_ready};
pub use registration_id::RegistrationId;
pub use renewal::{RetryInterval, renewal_time};
pub use room::is_waiting;
pub use token::{Token, TokenText, TokenUse};
pub use wanted::{name_taken, wanted_id};
pub use ways_in::wrong_token;
