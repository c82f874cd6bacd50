//! An EST client that can do what a test asks of it, and the device that it speaks for.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use cms::{content_info::ContentInfo, signed_data::SignedData};
use der::{Decode, Encode};
use hyper::{HeaderMap, Request};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Connection, Facts, Operator, World, split_pem};

/// The way to an operator's EST server.
#[derive(Clone)]
pub struct Est {
    port: u16,
    roots: Arc<RootCertStore>,
    config: Arc<ClientConfig>,
    authorization: Option<String>,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

/// A device: an ID and a key.
pub struct Device {
    /// The registration ID.
    pub id: String,
    /// Its key.
    pub key: KeyPair,
}

impl Est {
    /// A client without credentials that trusts the authority `root`.
    pub async fn of(world: &World, operator: &Operator) -> Self {
        Self::at(world, operator.est_port).await
    }

    /// The same for a server on this port.
    pub async fn at(world: &World, port: u16) -> Self {
        let mut roots = RootCertStore::empty();
        for der in split_pem(&world.root_pem().await) {
            roots.add(der.into()).unwrap();
        }
        let roots = Arc::new(roots);
        let config = builder(&roots).with_no_client_auth();
        Self {
            port,
            roots,
            config: Arc::new(config),
            authorization: None,
        }
    }

    /// The same client with a user name and a password.
    pub fn user(&self, user: &str, password: &str) -> Self {
        let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
        Self {
            authorization: Some(format!("Basic {encoded}")),
            ..self.clone()
        }
    }

    /// The same client with a bearer token.
    pub fn bearer(&self, token: &str) -> Self {
        Self {
            authorization: Some(format!("Bearer {token}")),
            ..self.clone()
        }
    }

    /// The same client with a certificate (DER) in TLS.
    pub fn certificate(&self, der: &[u8], key: &KeyPair) -> Self {
        self.chain(&[der.to_vec()], key)
    }

    /// The same client with a certificate in TLS and its issuers after it (DER).
    pub fn chain(&self, chain: &[Vec<u8>], key: &KeyPair) -> Self {
        let chain = chain.iter().cloned().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
        // Not `with_client_auth_cert`, which refuses version 1 certificates.
        let pair = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let config = builder(&self.roots).with_client_cert_resolver(Arc::new(pair));
        Self {
            config: Arc::new(config),
            ..self.clone()
        }
    }

    /// `/simpleenroll` under a label, or without one where it is empty.
    pub async fn enroll(&self, label: &str, csr: &str) -> Reply {
        self.try_enroll(label, csr).await.unwrap()
    }

    /// `/simplereenroll` under a label, or without one where it is empty.
    pub async fn reenroll(&self, label: &str, csr: &str) -> Reply {
        self.post(&path(label, "simplereenroll"), csr)
            .await
            .unwrap()
    }

    /// `/serverkeygen` under a label, or without one where it is empty.
    pub async fn keygen(&self, label: &str, csr: &str) -> Reply {
        self.post(&path(label, "serverkeygen"), csr).await.unwrap()
    }

    /// `/cacerts` under a label, or without one where it is empty.
    pub async fn authorities(&self, label: &str) -> Reply {
        let mut connection = self.connect().await.unwrap();
        connection.get(&path(label, "cacerts")).await.unwrap()
    }

    /// `/csrattrs` under a label, or without one where it is empty.
    pub async fn attributes(&self, label: &str) -> Reply {
        let mut connection = self.connect().await.unwrap();
        connection.get(&path(label, "csrattrs")).await.unwrap()
    }

    /// [`Self::enroll`], where the connection may break.
    pub async fn try_enroll(&self, label: &str, csr: &str) -> Result<Reply, String> {
        self.post(&path(label, "simpleenroll"), csr).await
    }

    /// A connection that may be used for several requests.
    pub async fn connect(&self) -> Result<Connection, String> {
        Connection::tls(self.port, self.config.clone()).await
    }

    async fn post(&self, path: &str, csr: &str) -> Result<Reply, String> {
        let mut request = Request::post(path).header("Content-Type", "application/pkcs10");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        self.connect().await?.send(request, csr).await
    }
}

fn path(label: &str, operation: &str) -> String {
    match label {
        "" => format!("/.well-known/est/{operation}"),
        label => format!("/.well-known/est/{label}/{operation}"),
    }
}

fn builder(
    roots: &Arc<RootCertStore>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
}

impl Reply {
    /// The one certificate of an enrolment answer, DER.
    pub fn certificate(&self) -> Vec<u8> {
        let mut all = self.certificates();
        assert_eq!(
            all.len(),
            1,
            "an enrolment answer holds the leaf and nothing else"
        );
        all.remove(0)
    }

    /// The certificates of a certs-only answer, DER.
    pub fn certificates(&self) -> Vec<Vec<u8>> {
        assert_eq!(self.status, 200, "{}", self.body);
        let der = BASE64_STANDARD.decode(&self.body).unwrap();
        let content = ContentInfo::from_der(&der).unwrap();
        let signed: SignedData = content.content.decode_as().unwrap();
        let certificates = signed.certificates.unwrap();
        certificates
            .0
            .iter()
            .map(|choice| choice.to_der().unwrap())
            .collect()
    }

    /// Checks a refusal: its status, its reason, and words that must be in its sentence.
    #[track_caller]
    pub fn refuses(&self, status: u16, reason: &str, words: &[&str]) {
        assert_eq!(self.status, status, "{}", self.body);
        assert!(
            self.body.starts_with(&format!("{reason}: ")),
            "not {reason}: {}",
            self.body
        );
        for word in words {
            assert!(
                self.body.contains(word),
                "{word:?} is not in: {}",
                self.body
            );
        }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Device {
    /// With a new key.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            key: KeyPair::generate().unwrap(),
        }
    }

    /// A CSR for CN=ID, as base64 in one line. Each is signed anew and so has other bytes.
    pub fn csr(&self) -> String {
        self.csr_with(&[])
    }

    /// The same with DNS names.
    pub fn csr_with(&self, dns_names: &[&str]) -> String {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, &*self.id);
        let name = |name: &&str| SanType::DnsName((*name).try_into().unwrap());
        params.subject_alt_names = dns_names.iter().map(name).collect();
        let csr = params.serialize_request(&self.key).unwrap();
        BASE64_STANDARD.encode(csr.der())
    }

    /// A CSR in PEM.
    pub fn csr_pem(&self) -> String {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, &*self.id);
        params.serialize_request(&self.key).unwrap().pem().unwrap()
    }

    /// A certificate for CN=ID that the device has signed itself, DER.
    pub fn self_signed(&self) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, &*self.id);
        params.self_signed(&self.key).unwrap().der().to_vec()
    }

    /// Whether a certificate is for this device and key.
    #[track_caller]
    pub fn owns(&self, certificate: &[u8]) {
        let facts = Facts::of(certificate);
        assert_eq!(facts.subject, format!("CN={}", self.id));
        assert_eq!(
            facts.key,
            rcgen::PublicKeyData::subject_public_key_info(&self.key)
        );
    }
}
