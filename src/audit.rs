//! The audit trail: one structured event for each decision about a certificate, on a stream of its own.
//!
//! Events go to a log (JSON lines, in order) and, if that is wanted, to a webhook (CloudEvents). What happens when the log
//! cannot be written is the operator's choice: [`OnFailure`]. The webhook never holds up an answer. No secret is ever in an
//! event.

mod decision;
mod log;
mod webhook;

pub use decision::{
    Decision, GrantedCertificate, GroupRef, Names, Outcome, PrincipalFacts, Requested, Text,
};
pub use log::LogTarget;
pub use webhook::WebhookConfig;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};

use crate::metrics::Counters;
use log::Log;
use webhook::Webhook;

/// How the trail is kept.
#[derive(Clone, Debug, Default)]
pub struct AuditConfig {
    /// Where the log is, if there is one.
    pub log: Option<LogTarget>,
    /// What happens if it cannot be written.
    pub on_failure: OnFailure,
    /// Who else is told.
    pub webhook: Option<WebhookConfig>,
    /// The `source` of CloudEvents, a URI reference that names this operator.
    pub source: String,
}

/// What becomes of an enrolment whose event cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum OnFailure {
    /// It goes on; the lost event is counted in `devicecert_audit_lost_total`.
    #[default]
    Continue,
    /// It is refused, and so is every further one until the log can be written again.
    Refuse,
}

/// Why the trail cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log cannot be opened at the start.
    #[error("the audit log {path} cannot be opened ({source}): correct --audit-log")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The CA file of the webhook is of no use.
    #[error("the CA certificates for --audit-webhook cannot be read from {path} ({message})")]
    WebhookCa {
        /// The file, or what stands for the system's own.
        path: String,
        /// Why.
        message: String,
    },
    /// The event was not written.
    #[error("the audit event could not be written: {0}")]
    Write(#[source] Arc<io::Error>),
    /// The event waits for a disk that does not answer, or the queue before it is full.
    #[error("the audit event was not written within {0:?}")]
    Late(Duration),
}

/// Where decisions are handed in. Cheap to clone.
#[derive(Clone, Default)]
pub struct Audit {
    log: Option<Log>,
    webhook: Option<Webhook>,
}

impl Audit {
    /// Opens the log. The tasks do the writing; the caller owns them, and none of them ends before the last `Audit` is gone.
    ///
    /// # Errors
    /// If the log or the CA file cannot be opened: a wrong setting shows at the start.
    pub fn open(
        config: AuditConfig,
        counters: &Counters,
    ) -> Result<(Self, Vec<BoxFuture<'static, &'static str>>), AuditError> {
        let mut tasks = Vec::new();
        let log = match config.log {
            Some(target) => {
                let (log, task) = Log::open(target, config.on_failure, counters.clone())?;
                tasks.push(task.map(|()| "audit log").boxed());
                Some(log)
            }
            None => None,
        };
        let webhook = match config.webhook {
            Some(webhook) => {
                let (webhook, task) = Webhook::new(webhook, config.source, counters.clone())?;
                tasks.push(task.map(|()| "audit webhook").boxed());
                Some(webhook)
            }
            None => None,
        };
        Ok((Self { log, webhook }, tasks))
    }

    /// Whether nothing may be issued now, because its event could not be written.
    pub fn blocks_issuing(&self) -> bool {
        self.log.as_ref().is_some_and(Log::blocks_issuing)
    }

    /// Hands in a decision. With [`OnFailure::Refuse`] this returns once the event is written, and an error means that the
    /// answer must not be released. With [`OnFailure::Continue`] it neither waits nor fails.
    ///
    /// # Errors
    /// If the event was not written and must be.
    pub async fn decided(&self, decision: &Decision) -> Result<(), AuditError> {
        if let Some(webhook) = &self.webhook {
            webhook.send(decision);
        }
        match &self.log {
            Some(log) => log.write(decision).await,
            None => Ok(()),
        }
    }

    /// Waits until everything that was handed in so far is written to the log, and no longer than that.
    pub async fn flush(&self, patience: Duration) {
        if let Some(log) = &self.log {
            log.flush(patience).await;
        }
    }

    /// Opens the log file anew at each SIGHUP; without this the signal would end the process. Never returns.
    pub async fn reopen_on_hangup(self) {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut hangups) = signal(SignalKind::hangup()) else {
            return std::future::pending().await;
        };
        while hangups.recv().await.is_some() {
            if let Some(log) = &self.log {
                log.reopen().await;
            }
        }
    }
}
