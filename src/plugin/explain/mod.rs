//! `kubectl devicecert explain`: what the EST server would answer, and why, without asking it.

mod credentials;
mod judge;
mod manifest;
mod observed;
mod report;

use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};
use clap::Args;

use super::{PluginError, connection::Connection, words::say};
use crate::{
    api::EnrollmentGroup,
    cluster,
    pki::{Certificate, Csr, parse_pem_chain},
    policy::{Reason, Refusal},
};
use observed::Observed;

/// The question: would this request be granted?
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The EnrollmentGroup.
    #[arg(long)]
    group: String,
    /// The certificate signing request: PEM, DER, or base64 as in EST.
    #[arg(long)]
    csr: PathBuf,
    #[command(flatten)]
    proof: Proof,
    /// The registration ID that you expect the request to be for: the answer says if it is for another.
    #[arg(long)]
    id: Option<String>,
    /// A file with a manifest of the group, used in place of the one in the cluster: to try a change before it is made.
    #[arg(long)]
    file: Option<PathBuf>,
}

/// What the requester proves itself with.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Proof {
    /// The client certificate in TLS (PEM, with the chain that is sent, or DER). Its key is taken to be at hand.
    #[arg(long)]
    cert: Option<PathBuf>,
    /// The user name of HTTP Basic authentication. The password is taken to be right.
    #[arg(long)]
    user: Option<String>,
    /// The name of the EnrollmentToken. The token itself is taken to be at hand.
    #[arg(long)]
    token: Option<String>,
}

/// What the requester proves itself with, read.
enum Evidence {
    Nothing,
    Certificate {
        leaf: Box<Result<Certificate, Refusal>>,
        presented: Vec<Vec<u8>>,
    },
    User(String),
    Token(String),
}

impl Explain {
    pub async fn run(self, connection: &Connection) -> Result<(), PluginError> {
        let csr = read_csr(&read(&self.csr)?);
        let evidence = self.proof.evidence()?;
        let observed = Observed::read(connection, self.group(connection).await?, &csr, &evidence);
        let mut observed = observed.await?;
        let mut judgement = judge::judge(&mut observed, &evidence, csr, cluster::now()).await?;
        if let Some(expected) = &self.id {
            judgement.compare(expected);
        }
        say(report::in_words(&judgement))?;
        match judgement.verdict() {
            Ok(()) => Ok(()),
            Err(refusal) => Err(PluginError::No(format!(
                "the request would not be granted: {}",
                refusal.reason
            ))),
        }
    }

    async fn group(&self, connection: &Connection) -> Result<EnrollmentGroup, PluginError> {
        let Some(path) = &self.file else {
            return connection.get(&self.group).await;
        };
        let text = String::from_utf8_lossy(&read(path)?).into_owned();
        let mut group = manifest::group_in(&text, &self.group)
            .map_err(|why| PluginError::Usage(format!("{}: {why}", path.display())))?;
        group.metadata.name = Some(self.group.clone());
        group.metadata.namespace = Some(connection.namespace.clone());
        Ok(group)
    }
}

impl Proof {
    fn evidence(&self) -> Result<Evidence, PluginError> {
        if let Some(path) = &self.cert {
            let bytes = read(path)?;
            if is_other_pem(&bytes) {
                return Err(PluginError::Usage(format!(
                    "{}: there is no certificate in it: --cert takes one in PEM or DER",
                    path.display()
                )));
            }
            let (leaf, presented) = read_certificates(&bytes);
            return Ok(Evidence::Certificate {
                leaf: Box::new(leaf),
                presented,
            });
        }
        Ok(match (&self.user, &self.token) {
            (Some(user), _) => Evidence::User(user.clone()),
            (None, Some(token)) => Evidence::Token(token_name(token)?),
            (None, None) => Evidence::Nothing,
        })
    }
}

/// Refuses what is no name of an EnrollmentToken, without a word of it: it may be the token.
fn token_name(text: &str) -> Result<String, PluginError> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=63).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.into());
    }
    Err(PluginError::Usage(
        "--token takes the name of the EnrollmentToken object (lower case letters, digits and hyphens), not the token itself: in \
         dct.NAME.SECRET it is NAME, and kubectl get enrollmenttokens lists them. What was typed may now be in the history of \
         your shell"
            .into(),
    ))
}

fn read(path: &Path) -> Result<Vec<u8>, PluginError> {
    std::fs::read(path).map_err(|source| PluginError::File {
        path: path.to_owned(),
        source,
    })
}

/// A CSR in any of the forms that the server takes.
fn read_csr(bytes: &[u8]) -> Result<Csr, Refusal> {
    let squeezed: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let der = BASE64_STANDARD.decode(&squeezed);
    Csr::from_pem_or_der(der.as_deref().unwrap_or(bytes))
        .map_err(|e| Refusal::new(Reason::InvalidCsr, e.to_string()))
}

/// Whether it is PEM of something else, such as the request. A server would only find that it is not DER.
fn is_other_pem(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.contains("-----BEGIN ") && !text.contains("-----BEGIN CERTIFICATE-----")
}

/// The leaf, and what is sent beside it (DER).
fn read_certificates(bytes: &[u8]) -> (Result<Certificate, Refusal>, Vec<Vec<u8>>) {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return (crate::policy::proof::read(bytes), Vec::new());
    }
    let unreadable = |why: String| {
        Refusal::new(
            Reason::UnknownCertificate,
            format!("the client certificate cannot be read: {why}"),
        )
    };
    match parse_pem_chain(&text) {
        Err(e) => (Err(unreadable(e.to_string())), Vec::new()),
        Ok(chain) => {
            let mut chain = chain.into_iter();
            let leaf = chain.next().ok_or_else(|| unreadable("it is empty".into()));
            (leaf, chain.map(|issuer| issuer.der().to_vec()).collect())
        }
    }
}
