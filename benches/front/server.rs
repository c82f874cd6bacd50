//! The server: the real front end, and behind it a registrar that signs whatever comes.

use std::{io::Read, sync::Arc, time::Duration};

use base64::prelude::{BASE64_STANDARD, Engine};
use devicecert::{
    est::{Counters, Limits, serve_counted},
    policy::Reason,
    registrar::{Enrolled, EnrollmentRequest, Registrar, Rejection, ServerIdentity},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer,
    KeyPair,
};
use tokio::{net::TcpListener, sync::watch};
use zeroize::Zeroizing;

use crate::Failure;

struct Signer {
    issuer: Issuer<'static, KeyPair>,
    root: Vec<u8>,
    canned: Vec<u8>,
}

/// Serves until stdin ends. Prints the port and the root.
pub async fn serve() -> Result<(), Failure> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "Bench Root");
    let key = KeyPair::generate()?;
    let root = params.self_signed(&key)?.der().to_vec();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, &issuer)?;
    let identity = ServerIdentity {
        chain: vec![leaf.der().to_vec(), root.clone()],
        key: Zeroizing::new(key.serialize_der()),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "{} {}",
        listener.local_addr()?.port(),
        BASE64_STANDARD.encode(&root)
    );
    let signer = Signer {
        issuer,
        root,
        canned: leaf.der().to_vec(),
    };
    let limits = Limits {
        max_connections_per_source: 0,
        idle_timeout: Duration::from_secs(3600),
        ..Limits::default()
    };
    let (_keep, identity) = watch::channel(Some(Arc::new(identity)));
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let counters = Arc::new(Counters::default());
    serve_counted(
        listener,
        identity,
        Arc::new(signer),
        limits,
        counters,
        async {
            let _ = end.await;
        },
    )
    .await?;
    Ok(())
}

impl Signer {
    fn sign(&self, csr: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let csr = CertificateSigningRequestParams::from_der(&csr.into())?;
        Ok(csr.signed_by(&self.issuer)?.der().to_vec())
    }
}

impl Registrar for Signer {
    async fn authorities(&self, _: Option<&str>) -> Result<Vec<Vec<u8>>, Rejection> {
        Ok(vec![self.root.clone()])
    }

    async fn attributes(&self, _: Option<&str>) -> Result<Vec<u8>, Rejection> {
        Ok(Vec::new())
    }

    async fn enroll(&self, request: EnrollmentRequest) -> Result<Enrolled, Rejection> {
        let certificate = match request.label.as_deref() {
            Some("canned") => Ok(self.canned.clone()),
            _ => self.sign(&request.csr),
        };
        certificate
            .map(Enrolled::Certificate)
            .map_err(|error| Rejection {
                reason: Reason::InvalidCsr,
                message: error.to_string(),
                retry_after: None,
            })
    }
}
