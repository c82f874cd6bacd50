//! A small HTTP client: one connection, plain or over TLS, that can be kept alive.

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::Reply;

/// A connection to a server on this machine.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// The certificate that the server showed, DER.
    pub server_certificate: Vec<u8>,
}

impl Connection {
    /// Without TLS.
    pub async fn plain(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        Self::over(stream.map_err(|e| e.to_string())?, Vec::new()).await
    }

    /// With TLS, to `localhost`.
    pub async fn tls(port: u16, config: Arc<ClientConfig>) -> Result<Self, String> {
        let words = |e: std::io::Error| e.to_string();
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(words)?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await;
        let stream = stream.map_err(words)?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = shown.first().map(|der| der.to_vec()).unwrap_or_default();
        Self::over(stream, certificate).await
    }

    async fn over<S>(stream: S, server_certificate: Vec<u8>) -> Result<Self, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
        // It ends with the sender, and its errors come out of the requests.
        tokio::spawn(connection);
        Ok(Self {
            sender,
            server_certificate,
        })
    }

    /// A GET request.
    pub async fn get(&mut self, path: &str) -> Result<Reply, String> {
        self.send(Request::get(path), "").await
    }

    /// Any request. The error says how the connection broke.
    pub async fn send(
        &mut self,
        request: http::request::Builder,
        body: &str,
    ) -> Result<Reply, String> {
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        let request = request.header("Host", "localhost").body(body).unwrap();
        let words = |e: hyper::Error| format!("{e}: {:?}", std::error::Error::source(&e));
        self.sender.ready().await.map_err(words)?;
        let (parts, body) = self
            .sender
            .send_request(request)
            .await
            .map_err(words)?
            .into_parts();
        let bytes = body.collect().await.map_err(words)?.to_bytes();
        Ok(Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}
