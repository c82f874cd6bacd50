//! The arguments, in the groups in which roles need them.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{audit::AuditArgs, election::ElectionArgs};
use crate::{est::LimitArgs, pki::Lifespan, policy::GroupKey};

/// Kubernetes, and what is done there.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// Watch this namespace; may be given several times. Without it the whole cluster is watched.
    #[arg(
        long = "watch-namespace",
        value_name = "NAMESPACE",
        env = "DEVICECERT_WATCH_NAMESPACE",
        value_delimiter = ','
    )]
    pub(super) watch_namespaces: Vec<String>,

    /// The operator's own namespace, where CA keys are kept. Nobody else should be able to create pods there.
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "DEVICECERT_KEY_NAMESPACE",
        default_value = "devicecert-system"
    )]
    pub(super) key_namespace: String,

    /// How many identities of each group have expiry series of their own: those that expire first.
    #[arg(
        long,
        value_name = "COUNT",
        env = "DEVICECERT_METRICS_SOONEST",
        default_value_t = 50
    )]
    pub(super) metrics_soonest: usize,

    /// How many devices are reconciled at the same time.
    #[arg(long, value_name = "COUNT", env = "DEVICECERT_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(super) concurrency: u16,

    #[command(flatten)]
    pub(super) election: ElectionArgs,

    #[command(flatten)]
    pub(super) audit: AuditArgs,
}

/// What the EST server's certificate says, and which groups are served.
#[derive(Debug, Args)]
pub struct EstServerArgs {
    /// The CertificateAuthority that issues the EST server's certificate. Without it EST is not served.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "DEVICECERT_EST_AUTHORITY")]
    pub(super) est_authority: Option<GroupKey>,

    /// A DNS name or IP address under which devices reach the EST server; may be given several times.
    #[arg(
        long,
        value_name = "NAME",
        env = "DEVICECERT_EST_DNS_NAME",
        value_delimiter = ','
    )]
    pub(super) est_dns_name: Vec<String>,

    /// How long the EST server's certificate lives, from 60s to 10y; it is renewed after two thirds of that.
    #[arg(
        long,
        value_name = "TIME",
        env = "DEVICECERT_EST_VALIDITY",
        default_value = "90d"
    )]
    pub(super) est_validity: Lifespan,

    /// Bind a short EST label to a group; may be given several times. <namespace>.<group> always works.
    #[arg(long, value_name = "LABEL=NAMESPACE/GROUP", env = "DEVICECERT_EST_LABEL", value_delimiter = ',', value_parser = label)]
    pub(super) est_label: Vec<(String, GroupKey)>,

    /// The group that is served without a label.
    #[arg(long, value_name = "NAMESPACE/GROUP", env = "DEVICECERT_EST_DEFAULT")]
    pub(super) est_default: Option<GroupKey>,
}

/// Where the EST server listens, and what a client may use up.
#[derive(Debug, Args)]
pub struct EstListenArgs {
    /// Where the EST server listens.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "DEVICECERT_EST_LISTEN",
        default_value = "0.0.0.0:8443"
    )]
    pub(super) est_listen: SocketAddr,

    #[command(flatten)]
    pub(super) limits: LimitArgs,
}

/// The socket between controller and EST server.
#[derive(Debug, Args)]
pub struct SocketArgs {
    /// The Unix socket between the controller and the EST server. The controller makes it, in a directory that not everybody
    /// may write into.
    #[arg(
        long,
        value_name = "PATH",
        env = "DEVICECERT_REGISTRAR_SOCKET",
        default_value = "/run/devicecert/registrar/socket"
    )]
    pub(super) registrar_socket: PathBuf,
}

/// Where the operator's metrics are.
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// Where /metrics, /healthz and /readyz are served (plain HTTP).
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "DEVICECERT_METRICS_LISTEN",
        default_value = "0.0.0.0:9090"
    )]
    pub(super) metrics_listen: SocketAddr,
}

fn label(text: &str) -> Result<(String, GroupKey), String> {
    let (label, group) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not of the form LABEL=NAMESPACE/GROUP"))?;
    let readable = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if label.is_empty() || label.len() > 64 || !label.chars().all(readable) {
        return Err(format!(
            "the label {label:?} may have letters, digits, - and _ only, at most 64"
        ));
    }
    if crate::est::is_operation(label) {
        return Err(format!(
            "the label {label:?} is the name of an EST operation: choose another"
        ));
    }
    Ok((label.into(), group.parse()?))
}
