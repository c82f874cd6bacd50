//! What becomes of certificates when things break: the API server, the operator, or both at once.

mod api_server;
mod namespaces;
mod operator;
mod refused;
