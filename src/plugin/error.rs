//! Why a command failed, in a sentence for the terminal.

use std::{io, path::PathBuf};

use crate::{cluster::ApiError, policy::Refusal};

/// Why a command failed, in a sentence for the terminal.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// No API server is configured.
    #[error("no Kubernetes API server is configured ({0}): set KUBECONFIG, or pass --context")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server refused, or does not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// What was typed, or what the cluster holds, breaks a rule of the operator.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An argument cannot be used; the sentence says what to write instead.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The terminal is gone.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[from] io::Error),
    /// The answer is no, and was printed.
    #[error("{0}")]
    No(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers, so no token was made")]
    Random,
    /// The device renews its certificate itself.
    #[error(
        "{0} keeps its key itself, so only it can renew: have it call simplereenroll. (The operator renews devices with a \
         secretName or a request.)"
    )]
    Outside(String),
}
