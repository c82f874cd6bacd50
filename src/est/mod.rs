//! The EST front end (RFC 7030, RFC 8951): TLS, HTTP, wire format and refusals.
//!
//! It takes a request apart, hands it to a [`Registrar`](crate::registrar::Registrar) and puts the answer on the wire.
//! It holds no CA key and no password file, knows nothing of Kubernetes, and decides nothing about who may have what.
//!
//! ```text
//! listen        accepts, limits and closes connections
//! tls           the server's identity, and client certificates of any kind
//! pace          cuts off clients that are too slow, phase by phase
//! service       one request: route, credentials, body, registrar, answer, log line
//! route basic body                  what came over the wire, parsed
//! answer rejection header_case      what goes back
//! ```

mod answer;
mod basic;
mod body;
mod client_certificate;
mod counters;
mod header_case;
mod limits;
mod listen;
mod pace;
mod rejection;
mod route;
mod service;
mod tls;

pub use counters::Counters;
pub use limits::Limits;
pub use listen::{serve, serve_counted};
pub use route::is_operation;
