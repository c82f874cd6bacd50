//! The EST front end (RFC 7030, RFC 8951): TLS, HTTP, wire format and refusals.
//!
//! It takes a request apart, hands it to a [`Registrar`](crate::registrar::Registrar) and puts the answer on the wire.
//! It holds no CA key and no password file, knows nothing of Kubernetes, and decides nothing about who may have what.
//!
//! ```text
//! listen        accepts connections, serves and closes them
//! places source failures            who has room, who leaves for others, who has failed too often
//! tls           the server's identity, and client certificates of any kind
//! tap binding   what ties a request to its TLS connection
//! pace          cuts off clients that are too slow, phase by phase
//! service       one request: route, credentials, body, registrar, answer, log line
//! route authorization basic bearer body   what came over the wire, parsed
//! answer lines rejection header_case      what goes back
//! ```

mod answer;
mod authorization;
mod basic;
mod bearer;
mod binding;
mod body;
mod client_certificate;
mod counters;
mod failures;
#[doc(hidden)]
pub mod fuzz;
mod header_case;
mod limits;
mod lines;
mod listen;
mod pace;
mod places;
mod rejection;
mod route;
mod service;
mod source;
mod tap;
mod tls;

pub use counters::Counters;
pub use limits::{LimitArgs, Limits};
pub use listen::{serve, serve_counted};
pub use rejection::http_status;
pub use route::is_operation;
