//! The EST front end on the wire: real TLS, real sockets, real clients; only the registrar behind it is a fake.

mod bindings;
mod certificates;
mod clients;
mod connection;
mod hostile;
mod limits;
mod operations;
mod registrar;
mod secrets;
mod server;
mod tls;
mod wire;
