//! Proof that a CSR was made for its TLS connection: the challengePassword holds a channel binding. RFC 7030 §3.5.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::prelude::{BASE64_STANDARD, Engine};

use super::ChannelBindings;
use crate::{
    pki::Csr,
    policy::{Reason, Refusal},
};

/// Whether the CSR is bound to the connection. A challengePassword that is no binding of it is refused: it was typed in, or
/// belongs to another connection.
pub(super) fn is_bound(csr: &Csr, bindings: &ChannelBindings) -> Result<bool, Refusal> {
    let Some(challenge) = csr.challenge_password() else {
        return Ok(false);
    };
    let fits = [&bindings.unique, &bindings.exporter]
        .into_iter()
        .flatten()
        .any(|binding| {
            verify_slices_are_equal(
                BASE64_STANDARD.encode(binding).as_bytes(),
                challenge.as_bytes(),
            )
            .is_ok()
        });
    if fits {
        return Ok(true);
    }
    Err(Refusal::new(
        Reason::ProofMismatch,
        "the CSR has a challengePassword that does not belong to this TLS connection. If somebody typed it in: make the CSR without \
         one (openssl req: leave it empty). If the client puts tls-unique or tls-exporter there: it must be of this very connection, \
         and a resumed TLS 1.2 session has no tls-unique (RFC 7030 section 3.5)",
    ))
}
