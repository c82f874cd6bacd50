//! What one client, and all of them together, may use up.

use std::time::Duration;

/// The bounds of the front end. Every one of them holds before a client has proved anything.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; further ones are accepted and dropped at once.
    pub max_connections: usize,
    /// TLS handshakes at the same time; further ones wait, at most `handshake_timeout`.
    pub max_handshakes: usize,
    /// From the accepted connection to the finished TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
    /// From the first byte of a request to the answer.
    pub request_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// A request body, in bytes as they are on the wire (without chunk framing).
    pub max_body_bytes: usize,
    /// A request line with its header, in bytes. Less than 8,192 counts as 8,192.
    pub max_header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_handshakes: 256,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            max_body_bytes: 64 * 1024,
            max_header_bytes: 16 * 1024,
        }
    }
}
