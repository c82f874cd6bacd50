//! What a group tells clients beforehand about their CSRs.

use super::Group;
use crate::{
    api::ChannelBinding,
    pki::csr_attributes::{CsrAttributesError, Wanted, encode},
};

impl Group {
    /// The DER of `CsrAttrs` for this group; empty where any CSR will do. Only what a CSR could get wrong is asked for: usages
    /// and names come from the profile whatever a CSR says, and asking for them confuses old clients. RFC 7030 §4.5.2.
    pub fn csr_attributes(&self) -> Result<Vec<u8>, CsrAttributesError> {
        let mut wanted = Vec::new();
        if self.channel_binding == ChannelBinding::Required {
            wanted.push(Wanted::ChallengePassword);
        }
        if let [only] = self.allowed_keys.as_slice() {
            wanted.push(Wanted::Key(*only));
            wanted.push(Wanted::SignatureBy(*only));
        }
        encode(&wanted)
    }
}
