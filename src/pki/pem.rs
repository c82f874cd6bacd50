//! PEM text (RFC 7468).

use der::pem::{LineEnding, encode_string};

pub(super) const CERTIFICATE: &str = "CERTIFICATE";
pub(super) const PRIVATE_KEY: &str = "PRIVATE KEY";

/// One section with a trailing newline.
#[expect(
    clippy::expect_used,
    reason = "the comment inside proves that it cannot fail"
)]
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    // Fails for a malformed label, and ours are the constants above, or beyond `usize::MAX` bytes, which is more than memory.
    encode_string(label, LineEnding::LF, der)
        .expect("a constant label and bytes that fit into memory")
}
