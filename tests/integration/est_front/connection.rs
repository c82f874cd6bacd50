//! A client that writes and reads raw bytes over TLS.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion, client::ResolvesClientCert,
    crypto::aws_lc_rs, sign::CertifiedKey,
};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::server::{Server, soon};

/// TLS settings of a client; connections of one share their sessions.
#[derive(Clone)]
pub struct Client {
    pub config: Arc<ClientConfig>,
}

/// A connection from an address of this machine, such as 127.0.0.7.
pub async fn tcp_from(source: [u8; 4], address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(address).await
}

impl Client {
    pub fn new(server: &Server) -> Self {
        Self::of_version(server, None, rustls::DEFAULT_VERSIONS)
    }

    pub fn with_certificate(server: &Server, key: CertifiedKey) -> Self {
        Self::of_version(server, Some(key), rustls::DEFAULT_VERSIONS)
    }

    pub fn of_version(
        server: &Server,
        key: Option<CertifiedKey>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(server.registrar.root.clone().into()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match key {
            Some(key) => builder.with_client_cert_resolver(Arc::new(Always(Arc::new(key)))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            config: Arc::new(config),
        }
    }

    pub async fn connect(&self, address: SocketAddr) -> io::Result<Connection> {
        self.connect_from([127, 0, 0, 1], address).await
    }

    /// From another address of this machine, which is another source.
    pub async fn connect_from(
        &self,
        source: [u8; 4],
        address: SocketAddr,
    ) -> io::Result<Connection> {
        soon(async {
            let tcp = tcp_from(source, address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            let stream = TlsConnector::from(Arc::clone(&self.config))
                .connect(name, tcp)
                .await?;
            Ok(Connection {
                stream,
                buffer: Vec::new(),
            })
        })
        .await
    }

    /// One request on a new connection.
    pub async fn ask(&self, server: &Server, request: impl AsRef<[u8]>) -> Response {
        self.connect(server.address)
            .await
            .unwrap()
            .exchange(request)
            .await
    }
}

/// Shows its certificate to any server, and does not ask whether the key fits.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A TLS connection with whatever was read too far.
pub struct Connection {
    pub stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

/// A response, as it stood on the wire.
#[derive(Debug)]
pub struct Response {
    /// Status line and header, with the empty line.
    pub head: String,
    pub body: String,
}

impl Connection {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends a request and reads its response.
    pub async fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request).await;
        self.response().await
    }

    pub async fn response(&mut self) -> Response {
        let head = self.head().await;
        let length = match head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
        {
            Some(length) => length.parse().unwrap(),
            None => 0,
        };
        while self.buffer.len() < length {
            assert!(self.read().await.unwrap() > 0, "the body ended early");
        }
        let body = self.buffer.drain(..length).collect();
        Response {
            head,
            body: String::from_utf8(body).unwrap(),
        }
    }

    /// The head of a response that has no body.
    pub async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.buffer.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            assert!(self.read().await.unwrap() > 0, "closed without a response");
        }
    }

    /// Waits until the server closes the connection, cleanly or not; returns what came before that.
    pub async fn closed(mut self) -> String {
        while matches!(self.read().await, Ok(1..)) {}
        String::from_utf8(self.buffer).unwrap()
    }

    async fn read(&mut self) -> io::Result<usize> {
        soon(self.stream.read_buf(&mut self.buffer)).await
    }
}

impl Response {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The value of a header whose name is spelled exactly like this.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A GET request.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// An enrolment request with the test credentials.
pub fn post(path: &str, body: &str) -> String {
    post_with(path, "Authorization: Basic ZXN0dXNlcjplc3Rwd2Q=\r\n", body)
}

/// An enrolment request with headers of one's own, each with its line end.
pub fn post_with(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}
