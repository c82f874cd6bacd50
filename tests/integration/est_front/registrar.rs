//! A registrar that signs with a test CA and does on command what a registrar may do.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use devicecert::{
    policy::Reason,
    registrar::{
        Authorization, Enrolled, EnrollmentRequest, MadeKey, Operation, Registrar, Rejection,
    },
};
use rcgen::{CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// What the label `attributes` answers: a SEQUENCE OF with the OID of challengePassword.
pub const ATTRIBUTES: [u8; 13] = [
    0x30, 0x0b, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x07,
];

/// The key that the label `enveloped` makes, long enough for several lines.
pub const ENVELOPED: [u8; 200] = [0x30; 200];

/// A root CA, and every request that it saw.
pub struct FakeRegistrar {
    issuer: Issuer<'static, KeyPair>,
    pub root: Vec<u8>,
    pub root_pem: String,
    pub seen: Mutex<Vec<EnrollmentRequest>>,
    /// Requests under the label `waits` wait here.
    pub gate: Semaphore,
}

impl FakeRegistrar {
    pub fn new() -> Arc<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "Test Root");
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        Arc::new(Self {
            issuer: Issuer::new(params, key),
            root: root.der().to_vec(),
            root_pem: root.pem(),
            seen: Mutex::default(),
            gate: Semaphore::new(0),
        })
    }

    pub fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// The chain that the client showed with each request.
    pub fn chains_seen(&self) -> Vec<Vec<Vec<u8>>> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .map(|request| request.credentials.chain.clone())
            .collect()
    }

    /// What was asked for, for whoever may have it.
    fn issue(
        &self,
        operation: Operation,
        label: Option<&str>,
        csr: &[u8],
    ) -> Result<Enrolled, Rejection> {
        if operation != Operation::ServerKeygen {
            return self.sign(csr).map(Enrolled::Certificate);
        }
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "made");
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        let key = match label {
            Some("enveloped") => MadeKey::Enveloped(ENVELOPED.to_vec()),
            _ => MadeKey::Plain(Zeroizing::new(key.serialize_der())),
        };
        Ok(Enrolled::WithKey { certificate, key })
    }

    fn sign(&self, csr: &[u8]) -> Result<Vec<u8>, Rejection> {
        let invalid = |error: rcgen::Error| refuse(Reason::InvalidCsr, &error.to_string());
        let mut csr = CertificateSigningRequestParams::from_der(&csr.into()).map_err(invalid)?;
        csr.params.is_ca = IsCa::NoCa;
        Ok(csr.signed_by(&self.issuer).map_err(invalid)?.der().to_vec())
    }
}

impl Registrar for FakeRegistrar {
    async fn authorities(&self, label: Option<&str>) -> Result<Vec<Vec<u8>>, Rejection> {
        match label {
            Some("nobody") => Err(refuse(
                Reason::UnknownLabel,
                "No group has the label nobody.",
            )),
            Some("broken") => Ok(vec![b"no certificate".to_vec()]),
            _ => Ok(vec![self.root.clone()]),
        }
    }

    async fn attributes(&self, label: Option<&str>) -> Result<Vec<u8>, Rejection> {
        match label {
            Some("attributes") => Ok(ATTRIBUTES.to_vec()),
            _ => Ok(Vec::new()),
        }
    }

    async fn enroll(&self, request: EnrollmentRequest) -> Result<Enrolled, Rejection> {
        let label = request.label.clone();
        let csr = request.csr.clone();
        let proven = !request.credentials.chain.is_empty();
        let operation = request.operation;
        let secret = match &request.credentials.authorization {
            Some(Authorization::Basic(basic)) => {
                Some((Reason::WrongPassword, basic.password.clone()))
            }
            Some(Authorization::Bearer(token)) => Some((Reason::WrongToken, token.0.clone())),
            None => None,
        };
        self.seen.lock().unwrap().push(request);
        match label.as_deref() {
            Some("panics") => panic!("as the test asked"),
            Some("never") => pending().await,
            Some("waits") => self.gate.acquire().await.unwrap().forget(),
            Some("away") => {
                return Err(Rejection {
                    reason: Reason::ApiUnavailable,
                    message: "Try again.".into(),
                    retry_after: Some(Duration::from_secs(7)),
                });
            }
            Some("pending") => return Err(refuse(Reason::PendingApproval, "Ask again.")),
            Some("stranger") => return Err(refuse(Reason::UnknownCertificate, "Nobody has it.")),
            Some("faulty") => return Err(refuse(Reason::Internal, "The file /secret is gone.")),
            _ => {}
        }
        match secret {
            Some((_, secret)) if *secret == "estpwd" => {
                self.issue(operation, label.as_deref(), &csr)
            }
            Some((reason, _)) => Err(refuse(reason, "The user name or the password is wrong.")),
            None if proven => self.issue(operation, label.as_deref(), &csr),
            None => Err(refuse(
                Reason::CredentialsMissing,
                "Send a password or a certificate.",
            )),
        }
    }
}

fn refuse(reason: Reason, message: &str) -> Rejection {
    Rejection {
        reason,
        message: message.into(),
        retry_after: None,
    }
}
