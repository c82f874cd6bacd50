//! The one door to certificates: authenticate, authorize, sign, record, release. Nothing else in the house signs for a
//! device.

mod audited;
mod authenticate;
mod authority_certificate;
mod bootstrap;
mod channel;
mod compiled;
mod door;
mod enroll;
mod fresh;
mod key_holder;
mod keyring;
mod local;
mod pace;
mod passwords;
mod pending;
mod register;
mod registration_authority;
mod reserved;
mod retry;
mod server_certificate;
mod server_key;
mod signer;
pub mod socket;
mod to_the_end;
mod tokens;
mod turns;

pub use crate::policy::authority_chain;
pub use authority_certificate::AuthorityTemplate;
pub use door::{
    Authorization, BasicCredentials, BearerToken, ChannelBindings, Credentials, Enrolled,
    EnrollmentRequest, MadeKey, Operation, Registrar, Rejection, ServerIdentity,
};
pub use keyring::{CaKey, Keyring, key_secret_name};
pub use local::{Issued, LocalRegistrar, Requester};
pub use passwords::{ACCEPTED, Passwords};
pub use server_key::ServerPair;
pub use signer::Signer;
pub use to_the_end::ToTheEnd;
