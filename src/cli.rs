//! Arguments, turned into a configuration that is valid as a whole.

mod audit;
mod election;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    audit::AuditConfig,
    cluster::ElectionTimes,
    controllers::EstServer,
    pki::{Lifespan, SubjectAltNames},
    policy::{GroupKey, Labels},
};

/// Gives every device a certificate for its whole life.
#[derive(Debug, Parser)]
#[command(
    name = "devicecert-operator",
    version,
    about,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub role: Role,
}

/// The roles of the program.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Run everything in one process: controllers, registrar and EST server.
    Run(Box<RunArgs>),
    /// Print the custom resource definitions as YAML, or write each into a file of its own.
    Crds {
        /// Write <plural>.<group>.yaml files into this directory instead.
        #[arg(long, value_name = "DIRECTORY")]
        output_dir: Option<PathBuf>,
    },
}

/// What `run` needs to know.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Watch this namespace; may be given several times. Without it the whole cluster is watched.
    #[arg(
        long = "watch-namespace",
        value_name = "NAMESPACE",
        env = "DEVICECERT_WATCH_NAMESPACE",
        value_delimiter = ','
    )]
    watch_namespaces: Vec<String>,

    /// The operator's own namespace, where CA keys are kept. Nobody else should be able to create pods there.
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "DEVICECERT_KEY_NAMESPACE",
        default_value = "devicecert-system"
    )]
    key_namespace: String,

    /// Where the EST server listens.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "DEVICECERT_EST_LISTEN",
        default_value = "0.0.0.0:8443"
    )]
    est_listen: SocketAddr,

    /// The CertificateAuthority that issues the EST server's certificate. Without it EST is not served.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "DEVICECERT_EST_AUTHORITY")]
    est_authority: Option<GroupKey>,

    /// A DNS name or IP address under which devices reach the EST server; may be given several times.
    #[arg(
        long,
        value_name = "NAME",
        env = "DEVICECERT_EST_DNS_NAME",
        value_delimiter = ','
    )]
    est_dns_name: Vec<String>,

    /// How long the EST server's certificate lives, from 60s to 10y; it is renewed after two thirds of that.
    #[arg(
        long,
        value_name = "TIME",
        env = "DEVICECERT_EST_VALIDITY",
        default_value = "90d"
    )]
    est_validity: Lifespan,

    /// Bind a short EST label to a group; may be given several times. <namespace>.<group> always works.
    #[arg(long, value_name = "LABEL=NAMESPACE/GROUP", env = "DEVICECERT_EST_LABEL", value_delimiter = ',', value_parser = label)]
    est_label: Vec<(String, GroupKey)>,

    /// The group that is served without a label.
    #[arg(long, value_name = "NAMESPACE/GROUP", env = "DEVICECERT_EST_DEFAULT")]
    est_default: Option<GroupKey>,

    /// Where /metrics, /healthz and /readyz are served (plain HTTP).
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "DEVICECERT_METRICS_LISTEN",
        default_value = "0.0.0.0:9090"
    )]
    metrics_listen: SocketAddr,

    /// How many identities of each group have expiry series of their own: those that expire first.
    #[arg(
        long,
        value_name = "COUNT",
        env = "DEVICECERT_METRICS_SOONEST",
        default_value_t = 50
    )]
    metrics_soonest: usize,

    /// How many devices are reconciled at the same time.
    #[arg(long, value_name = "COUNT", env = "DEVICECERT_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    concurrency: u16,

    #[command(flatten)]
    election: election::ElectionArgs,

    #[command(flatten)]
    audit: audit::AuditArgs,

    /// How log lines look.
    #[arg(
        long,
        value_name = "FORMAT",
        env = "DEVICECERT_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,

    /// What is logged: error, warn, info, debug or trace, or a tracing filter such as `info,kube=debug`.
    #[arg(
        long,
        value_name = "LEVEL",
        env = "DEVICECERT_LOG_LEVEL",
        default_value = "info"
    )]
    log_level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The validated configuration of `run`.
#[derive(Debug)]
pub struct Config {
    /// The watched namespaces; empty is the whole cluster.
    pub namespaces: Vec<String>,
    /// The namespace of CA keys.
    pub key_namespace: String,
    /// The EST server, where it is wanted.
    pub est: Option<Est>,
    /// The groups behind EST labels.
    pub labels: Labels,
    /// Where metrics and health are served.
    pub metrics_listen: SocketAddr,
    /// How many identities of each group have series of their own.
    pub metrics_soonest: usize,
    /// How many devices are reconciled at the same time.
    pub concurrency: u16,
    /// The times of the leader election; `None` where this process always leads.
    pub election: Option<ElectionTimes>,
    /// How the audit trail is kept.
    pub audit: AuditConfig,
}

/// The configuration of the EST server.
#[derive(Debug)]
pub struct Est {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its own certificate.
    pub server: EstServer,
}

impl RunArgs {
    /// How to log.
    pub fn logging(&self) -> (LogFormat, &str) {
        (self.log_format, &self.log_level)
    }

    /// Checks what the arguments say together. The error is a sentence for the terminal.
    pub fn validate(self) -> Result<Config, String> {
        if self.watch_namespaces.contains(&self.key_namespace) {
            return Err(format!(
                "--watch-namespace {0} is also the --key-namespace: CA keys must be in a namespace of their own",
                self.key_namespace
            ));
        }
        let mut short = BTreeMap::new();
        for (label, group) in self.est_label {
            if let Some(other) = short.insert(label.clone(), group.clone()) {
                return Err(format!(
                    "--est-label {label} is bound twice, to {other} and to {group}"
                ));
            }
        }
        let watched = |what: &str, namespace: &str| {
            if self.watch_namespaces.is_empty()
                || self
                    .watch_namespaces
                    .iter()
                    .any(|watched| watched == namespace)
            {
                return Ok(());
            }
            Err(format!(
                "{what} is in namespace {namespace}, which is not watched: add --watch-namespace {namespace}"
            ))
        };
        for (label, group) in &short {
            watched(&format!("--est-label {label}"), &group.namespace)?;
        }
        if let Some(group) = &self.est_default {
            watched("--est-default", &group.namespace)?;
        }
        let est = match self.est_authority {
            None => None,
            Some(authority) => {
                watched("--est-authority", &authority.namespace)?;
                Some(Est {
                    listen: self.est_listen,
                    server: EstServer {
                        authority,
                        names: server_names(&self.est_dns_name)?,
                        validity: server_validity(self.est_validity)?,
                    },
                })
            }
        };
        let audit = self.audit.validate(&self.key_namespace)?;
        Ok(Config {
            namespaces: self.watch_namespaces,
            key_namespace: self.key_namespace,
            est,
            labels: Labels {
                short,
                default: self.est_default,
            },
            metrics_listen: self.metrics_listen,
            metrics_soonest: self.metrics_soonest,
            concurrency: self.concurrency,
            election: self.election.validate()?,
            audit,
        })
    }
}

fn server_names(names: &[String]) -> Result<SubjectAltNames, String> {
    if names.is_empty() {
        return Err("--est-authority needs at least one --est-dns-name: the name under which devices reach the EST server".into());
    }
    let (ip, dns): (Vec<&str>, Vec<&str>) = names
        .iter()
        .map(String::as_str)
        .partition(|name| name.parse::<std::net::IpAddr>().is_ok());
    SubjectAltNames::parse(&dns, &ip, &[]).map_err(|e| format!("--est-dns-name: {e}"))
}

fn server_validity(validity: Lifespan) -> Result<Lifespan, String> {
    if !(60..=10 * 365 * 86_400).contains(&validity.as_seconds()) {
        return Err(format!("--est-validity {validity}: choose from 60s to 10y"));
    }
    Ok(validity)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, String> {
        let all = ["devicecert-operator", "run"].iter().chain(arguments);
        match Cli::try_parse_from(all).map_err(|e| e.to_string())?.role {
            Role::Run(arguments) => arguments.validate(),
            Role::Crds { .. } => Err("not run".into()),
        }
    }

    #[test]
    fn without_an_authority_est_is_not_served() {
        assert!(config(&[]).unwrap().est.is_none());
    }

    #[test]
    fn labels_and_names_are_understood() {
        let config = config(&[
            "--est-authority=pki/root",
            "--est-dns-name=est.example.com",
            "--est-dns-name=192.0.2.1",
            "--est-label=factory=default/factory",
            "--est-default=default/factory",
        ])
        .unwrap();
        let names = &config.est.unwrap().server.names;
        assert_eq!((names.dns.len(), names.ip.len()), (1, 1));
        assert_eq!(
            config.labels.resolve(Some("factory")).unwrap().to_string(),
            "default/factory"
        );
    }

    #[test]
    fn replicas_elect_a_leader_unless_told_otherwise() {
        for (arguments, elects) in [
            (&[][..], true),
            (&["--leader-election"], true),
            (&["--leader-election=true"], true),
            (&["--leader-election=false"], false),
        ] {
            assert_eq!(config(arguments).unwrap().election.is_some(), elects);
        }
    }

    #[test]
    fn mistakes_are_told_in_words() {
        for (arguments, word) in [
            (&["--est-authority=root"][..], "NAMESPACE/NAME"),
            (&["--est-authority=a/root"], "--est-dns-name"),
            (
                &[
                    "--est-authority=a/root",
                    "--est-dns-name=x",
                    "--est-validity=20y",
                ],
                "10y",
            ),
            (&["--est-label=a.b=c/d"], "letters, digits"),
            (&["--est-label=cacerts=c/d"], "EST operation"),
            (&["--est-label=a=c/d", "--est-label=a=c/e"], "twice"),
            (&["--watch-namespace=a", "--est-default=b/g"], "not watched"),
            (&["--watch-namespace=devicecert-system"], "of their own"),
            (&["--concurrency=0"], "1..=512"),
            (&["--renew-deadline=15s"], "shorter than --lease-duration"),
            (&["--retry-period=9s"], "a second try"),
            (&["--audit-log="], "name a file, stdout or none"),
            (
                &["--audit-log=none", "--audit-failure=Refuse"],
                "needs an --audit-log",
            ),
            (&["--audit-webhook=example.com"], "must begin with https://"),
            (
                &["--audit-webhook=ftp://example.com"],
                "must begin with https://",
            ),
            (
                &["--audit-webhook=https://u:p@example.com"],
                "a user name or password",
            ),
            (&["--audit-webhook-ca=ca.pem"], "--audit-webhook <URL>"),
        ] {
            let error = config(arguments).unwrap_err();
            assert!(error.contains(word), "{arguments:?}: {error}");
        }
    }
}
