//! The registrar across a Unix socket: the EST front end in a process of its own, without Kubernetes credentials and CA
//! keys, and the controller that has both.
//!
//! ```text
//! est process                                  controller process
//! RemoteRegistrar  ── requests ──────────────> serve ──> any Registrar, which believes nothing
//!   last_good      <── answers, as they are done ──┘
//! identity receiver <── the server's certificate and key, at once and at each change
//! ```
//!
//! `frame` and `message` are the language, `bytes` its letters, `listener` the socket's file.

mod bytes;
mod client;
mod frame;
mod last_good;
mod listener;
mod message;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Line, RemoteRegistrar};
pub use listener::{SocketError, bind, own_uid};
pub use server::serve;

/// How many requests of one connection are under way at the same time, on either end.
const IN_FLIGHT: usize = 512;

/// Reads bytes as if they had come over the socket, from either end. For fuzzing: must not panic, and what can be read must
/// come back from its own bytes.
#[doc(hidden)]
pub fn fuzz_message(bytes: &[u8]) {
    let Ok(frame) = frame::Frame::parse(zeroize::Zeroizing::new(bytes.to_vec())) else {
        return;
    };
    if let Ok(request) = message::Request::decode(frame.kind, frame.body()) {
        assert_eq!(request.encode(frame.id)[14..], *frame.body());
    }
    if let Ok(response) = message::Response::decode(frame.kind, frame.body())
        && frame.kind != message::UNSUPPORTED
    {
        assert_eq!(response.encode(frame.id)[14..], *frame.body());
    }
}
