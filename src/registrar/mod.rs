//! The one door to certificates: authenticate, authorize, sign, record, release. Nothing else in the house signs for a
//! device.

mod authenticate;
mod authority_certificate;
mod door;
mod enroll;
mod fresh;
mod keyring;
mod local;
mod passwords;
mod server_certificate;
mod signer;
pub mod socket;

pub use authority_certificate::AuthorityTemplate;
pub use door::{
    Authorization, BasicCredentials, BearerToken, ChannelBindings, Credentials, Enrolled,
    EnrollmentRequest, MadeKey, Operation, Registrar, Rejection, ServerIdentity,
};
pub use keyring::{CaKey, Keyring, key_secret_name};
pub use local::{Issued, LocalRegistrar, Requester, authority_chain, read_authority_facts};
pub use passwords::Passwords;
pub use signer::Signer;
