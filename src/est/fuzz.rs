//! Ways into the parsers of the front end for the fuzz targets. None of these may panic, whatever the bytes are.

use hyper::header::HeaderValue;

use super::{authorization, body, route::Route, tap::Heard};

/// A request body, as a client sends it for an enrolment.
pub fn body(bytes: &[u8]) {
    let _ = body::decode_csr(bytes);
}

/// The value of an `Authorization` header.
pub fn authorization(bytes: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let _ = authorization::parse(&value);
    }
}

/// The path of a request.
pub fn path(bytes: &[u8]) {
    if let Ok(path) = std::str::from_utf8(bytes) {
        let _ = Route::parse(path);
    }
}

/// The clear part of a TLS handshake, in both directions.
pub fn handshake(bytes: &[u8]) {
    let (received, sent) = bytes.split_at(bytes.len() / 2);
    let heard = Heard::of(received, sent, 64);
    heard.before_client_finished();
    heard.extended_master_secret();
}
