//! The exact spelling `WWW-Authenticate`, which some EST clients look for byte by byte.
//!
//! hyper writes header names in title case, which gives `Www-Authenticate`. It spells a name otherwise only if the
//! response carries hyper's private record of how a parsed response had spelled it. So one canned response is parsed
//! once, and its record is put on every response that needs it.

use std::io;

use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http1, http::Extensions};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CANNED: &[u8] =
    b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";

/// Extensions for a response in which `WWW-Authenticate` is to be spelled like this.
pub(super) async fn www_authenticate() -> io::Result<Extensions> {
    let (near, mut far) = tokio::io::duplex(1024);
    let (mut sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(near))
        .await
        .map_err(io::Error::other)?;
    let ask = async {
        let response = sender
            .send_request(Request::new(Empty::<Bytes>::new()))
            .await;
        response.map_err(io::Error::other)
    };
    let answer = async {
        // hyper takes a response for one only after it has begun to ask.
        far.read_u8().await?;
        far.write_all(CANNED).await
    };
    tokio::select! {
        exchanged = async { tokio::try_join!(ask, answer) } => Ok(exchanged?.0.into_parts().0.extensions),
        ended = connection => Err(io::Error::other(format!("the canned exchange ended early: {ended:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hyper_records_the_spelling() {
        assert!(!www_authenticate().await.unwrap().is_empty());
    }
}
