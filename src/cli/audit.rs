//! The flags of the audit trail.

use std::path::PathBuf;

use clap::Args;
use hyper::Uri;

use crate::audit::{AuditConfig, LogTarget, OnFailure, WebhookConfig};

/// Where decisions about certificates are told.
#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// Where one line of JSON goes for each decision about a certificate: a file, stdout or none. Logs go to stderr.
    #[arg(
        long,
        value_name = "PATH|stdout|none",
        env = "DEVICECERT_AUDIT_LOG",
        default_value = "stdout"
    )]
    audit_log: String,

    /// What becomes of a certificate whose audit event cannot be written: Continue issues it and counts the loss in
    /// devicecert_audit_lost_total, Refuse answers 503 until the log can be written again.
    #[arg(
        long,
        value_name = "CHOICE",
        env = "DEVICECERT_AUDIT_FAILURE",
        default_value = "Continue",
        ignore_case = true
    )]
    audit_failure: OnFailure,

    /// Post each audit event to this URL too, as a CloudEvent. It never holds up an answer; what cannot be delivered is
    /// counted in devicecert_audit_lost_total.
    #[arg(long, value_name = "URL", env = "DEVICECERT_AUDIT_WEBHOOK")]
    audit_webhook: Option<Uri>,

    /// The CA certificates (PEM) for an https webhook; without them the system's.
    #[arg(
        long,
        value_name = "FILE",
        env = "DEVICECERT_AUDIT_WEBHOOK_CA",
        requires = "audit_webhook"
    )]
    audit_webhook_ca: Option<PathBuf>,
}

impl AuditArgs {
    /// Checks what the flags say together; `namespace` tells this operator from others.
    pub(super) fn validate(self, namespace: &str) -> Result<AuditConfig, String> {
        let log = match self.audit_log.as_str() {
            "" => return Err("--audit-log is empty: name a file, stdout or none".into()),
            "none" => None,
            "stdout" => Some(LogTarget::Stdout),
            path => Some(LogTarget::File(path.into())),
        };
        if log.is_none() && self.audit_failure == OnFailure::Refuse {
            return Err(
                "--audit-failure=Refuse needs an --audit-log: the webhook alone is not waited for"
                    .into(),
            );
        }
        let webhook = match self.audit_webhook {
            Some(url) => {
                check(&url)?;
                Some(WebhookConfig {
                    url,
                    ca: self.audit_webhook_ca,
                })
            }
            None => None,
        };
        Ok(AuditConfig {
            log,
            on_failure: self.audit_failure,
            webhook,
            source: format!("/devicecert-operator/{namespace}"),
        })
    }
}

fn check(url: &Uri) -> Result<(), String> {
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let Some(authority) = url.authority().filter(|_| is_http) else {
        return Err(format!(
            "--audit-webhook {url} must begin with https:// (or http:// in a network that you trust) and a host"
        ));
    };
    // Said without the URL, which then holds a password.
    if authority.as_str().contains('@') {
        return Err("--audit-webhook must not hold a user name or password".into());
    }
    Ok(())
}
