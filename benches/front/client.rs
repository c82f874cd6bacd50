//! A client of no more than the bench needs: a device with a certificate, a connection, a request.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use rcgen::KeyPair;
use rustls::{
    ClientConfig, RootCertStore, client::Resumption, pki_types::PrivateKeyDer, version::TLS12,
};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Failure, process::Server, registrar};

/// A device that shows the P-256 certificate on its record.
#[derive(Clone)]
pub struct Device {
    port: u16,
    root: Vec<u8>,
    key: Arc<KeyPair>,
    certificate: Vec<u8>,
    csr: Arc<str>,
    config: Arc<ClientConfig>,
}

/// A connection that is kept open.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    csr: Arc<str>,
}

impl Device {
    /// A device that does full handshakes of TLS 1.3.
    pub fn new(server: &Server) -> Result<Self, Failure> {
        let key = KeyPair::try_from(server.key.as_slice())?;
        let mut device = Self {
            port: server.port,
            root: server.root.clone(),
            certificate: server.certificate.clone(),
            csr: BASE64_STANDARD.encode(registrar::request(&key)?).into(),
            key: Arc::new(key),
            config: Arc::new(
                ClientConfig::builder()
                    .with_root_certificates(RootCertStore::empty())
                    .with_no_client_auth(),
            ),
        };
        device.config = Arc::new(device.config(rustls::DEFAULT_VERSIONS, Resumption::disabled())?);
        Ok(device)
    }

    /// The same device with full handshakes of TLS 1.2.
    pub fn tls12(&self) -> Result<Self, Failure> {
        let config = Arc::new(self.config(&[&TLS12], Resumption::disabled())?);
        Ok(Self {
            config,
            ..self.clone()
        })
    }

    /// The same device, which resumes its sessions.
    pub fn resuming(&self) -> Result<Self, Failure> {
        let config = self.config(rustls::DEFAULT_VERSIONS, Resumption::in_memory_sessions(8))?;
        Ok(Self {
            config: Arc::new(config),
            ..self.clone()
        })
    }

    fn config(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        resumption: Resumption,
    ) -> Result<ClientConfig, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone().into())?;
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let mut config = ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![self.certificate.clone().into()], key)?;
        config.resumption = resumption;
        Ok(config)
    }

    /// Connects.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector
            .connect(ServerName::try_from("localhost")?, stream)
            .await?;
        Ok(Connection {
            stream,
            csr: Arc::clone(&self.csr),
        })
    }
}

impl Connection {
    /// Sends the CSR to a path and reads the answer, which must be 200.
    pub async fn enrol(&mut self, path: &str) -> Result<(), Failure> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\nContent-Length: {}\r\n\r\n{}",
            self.csr.len(),
            self.csr
        );
        self.stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(4096);
        loop {
            if self.stream.read_buf(&mut answer).await? == 0 {
                return Err("the server closed".into());
            }
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            if !head.starts_with("HTTP/1.1 200") {
                return Err(format!("EST answers {text}").into());
            }
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.ok_or("no length")?.parse()? {
                return Ok(());
            }
        }
    }
}
