//! An EST client of no more than the bench needs: a device with a key, a connection, a request.

use std::{net::SocketAddr, sync::Arc};

use base64::prelude::{BASE64_STANDARD, Engine};
use devicecert::pki::{Certificate, parse_certs_only};
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Failure, cluster::USER};

/// A device outside the cluster.
pub struct Device {
    name: String,
    key: KeyPair,
    certificate: Option<Certificate>,
}

/// What a device sends, ready to be sent.
pub struct Enrolment {
    operation: &'static str,
    authorization: Option<String>,
    csr: String,
}

/// How a device connects: with its certificate, or without one.
#[derive(Clone)]
pub struct Dialler {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

/// A TLS connection that is kept alive. Dropping it closes it.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    task: tokio::task::JoinHandle<Result<(), hyper::Error>>,
}

impl Device {
    /// A device with a fresh ECDSA P-256 key.
    pub fn new(name: &str) -> Result<Self, Failure> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        Ok(Self {
            name: name.into(),
            key,
            certificate: None,
        })
    }

    /// Its registration ID.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Keeps the certificate that it got.
    pub fn keep(&mut self, certificate: Certificate) {
        self.certificate = Some(certificate);
    }

    /// A first enrolment, by password.
    pub fn first(&self) -> Result<Enrolment, Failure> {
        let credentials = BASE64_STANDARD.encode(format!("{}:{}", USER.0, USER.1));
        Ok(Enrolment {
            operation: "simpleenroll",
            authorization: Some(format!("Basic {credentials}")),
            csr: self.csr()?,
        })
    }

    /// A renewal, for which the connection's client certificate speaks. No two have the same bytes.
    pub fn renewal(&self) -> Result<Enrolment, Failure> {
        Ok(Enrolment {
            operation: "simplereenroll",
            authorization: None,
            csr: self.csr()?,
        })
    }

    /// How it connects: with its certificate once it has one. Each dialler does full handshakes, it resumes nothing.
    pub fn dialler(&self, address: SocketAddr, root: &Certificate) -> Result<Dialler, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(root.der().to_vec()))?;
        let config = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match &self.certificate {
            None => config.with_no_client_auth(),
            Some(certificate) => {
                let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
                config.with_client_auth_cert(vec![certificate.der().to_vec().into()], key)?
            }
        };
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Dialler {
            address,
            config: Arc::new(config),
        })
    }

    fn csr(&self) -> Result<String, Failure> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters
            .distinguished_name
            .push(DnType::CommonName, self.name.as_str());
        Ok(BASE64_STANDARD.encode(parameters.serialize_request(&self.key)?.der()))
    }
}

impl Dialler {
    /// Connects, with a full TLS handshake.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = TlsConnector::from(self.config.clone())
            .connect(name, stream)
            .await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Connection {
            sender,
            task: tokio::spawn(connection),
        })
    }
}

impl Connection {
    /// Sends a request to the group that is served without a label, and reads the certificate in its answer.
    pub async fn send(&mut self, enrolment: &Enrolment) -> Result<Certificate, Failure> {
        let mut request = Request::post(format!("/.well-known/est/{}", enrolment.operation))
            .header("Host", "localhost")
            .header("Content-Type", "application/pkcs10")
            .header("Content-Transfer-Encoding", "base64");
        if let Some(authorization) = &enrolment.authorization {
            request = request.header("Authorization", authorization);
        }
        let request = request.body(Full::from(enrolment.csr.clone()))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK {
            let words = String::from_utf8_lossy(&body);
            return Err(format!("EST answers {status}: {words}").into());
        }
        let certificates = parse_certs_only(&BASE64_STANDARD.decode(&body)?)?;
        Ok(certificates
            .into_iter()
            .next()
            .ok_or("EST answers without a certificate")?)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
