//! Arguments, turned into a configuration that is valid as a whole.

mod arguments;
mod audit;
mod election;
mod log;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::{
    audit::AuditConfig,
    cluster::ElectionTimes,
    controllers::EstServer,
    est::Limits,
    pki::{Lifespan, SubjectAltNames},
    policy::Labels,
};
use arguments::{ClusterArgs, EstListenArgs, EstServerArgs, MetricsArgs, SocketArgs};
pub use log::{LogArgs, LogFormat, LogLevel, LogLevelError};

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
    /// Run the controllers and the registrar, and serve the registrar to `est` on a Unix socket.
    Controller(Box<ControllerArgs>),
    /// Run the EST server alone, without Kubernetes credentials: the registrar is at the other end of a Unix socket.
    Est(Box<EstArgs>),
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
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    listen: EstListenArgs,
    #[command(flatten)]
    est: EstServerArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// What `controller` needs to know.
#[derive(Debug, Args)]
pub struct ControllerArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    est: EstServerArgs,
    #[command(flatten)]
    socket: SocketArgs,

    /// The user (a number) who alone may speak on the registrar's socket. Without it, the user of the controller itself.
    #[arg(long, value_name = "UID", env = "DEVICECERT_EST_UID")]
    est_uid: Option<u32>,

    #[command(flatten)]
    metrics: MetricsArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// What `est` needs to know.
#[derive(Debug, Args)]
pub struct EstArgs {
    #[command(flatten)]
    listen: EstListenArgs,
    #[command(flatten)]
    socket: SocketArgs,

    /// The user (a number) to whom the registrar's socket must belong. Without it, any.
    #[arg(long, value_name = "UID", env = "DEVICECERT_CONTROLLER_UID")]
    controller_uid: Option<u32>,

    /// Where /metrics, /healthz and /readyz of the EST server are served (plain HTTP).
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "DEVICECERT_METRICS_LISTEN",
        default_value = "0.0.0.0:9091"
    )]
    metrics_listen: SocketAddr,

    #[command(flatten)]
    log: LogArgs,
}

/// What is to run: one of the two kinds of process.
#[derive(Debug)]
pub enum Job {
    /// The controllers and the registrar, with or without the EST server.
    Operator(Box<Config>),
    /// The EST server alone.
    Front(Box<FrontConfig>),
}

/// The validated configuration of `run` and `controller`.
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
    /// Its own certificate.
    pub server: EstServer,
    /// Where it is.
    pub door: Door,
}

/// Where the EST server is.
#[derive(Debug)]
pub enum Door {
    /// In this process.
    Here {
        /// Where it listens.
        listen: SocketAddr,
        /// What clients may use up.
        limits: Limits,
    },
    /// In a process of its own, at the other end of a Unix socket.
    Behind {
        /// The socket.
        socket: PathBuf,
        /// The user who may speak there; `None` is the user of this process.
        uid: Option<u32>,
    },
}

/// The validated configuration of `est`.
#[derive(Debug)]
pub struct FrontConfig {
    /// Where EST is served.
    pub listen: SocketAddr,
    /// What clients may use up.
    pub limits: Limits,
    /// The registrar's socket.
    pub socket: PathBuf,
    /// The user to whom the socket must belong; `None` is anybody.
    pub controller_uid: Option<u32>,
    /// Where metrics and health are served.
    pub metrics_listen: SocketAddr,
}

impl RunArgs {
    /// How to log, and what to run. The error is a sentence for the terminal.
    pub fn validate(self) -> (LogArgs, Result<Job, String>) {
        let door = Door::Here {
            listen: self.listen.est_listen,
            limits: self.listen.limits.limits(),
        };
        let config = config(self.cluster, self.est, self.metrics, door);
        (self.log, config.map(|config| Job::Operator(config.into())))
    }
}

impl ControllerArgs {
    /// How to log, and what to run. The error is a sentence for the terminal.
    pub fn validate(self) -> (LogArgs, Result<Job, String>) {
        let door = Door::Behind {
            socket: self.socket.registrar_socket,
            uid: self.est_uid,
        };
        let config = config(self.cluster, self.est, self.metrics, door);
        (self.log, config.map(|config| Job::Operator(config.into())))
    }
}

impl EstArgs {
    /// How to log, and what to run.
    pub fn validate(self) -> (LogArgs, Result<Job, String>) {
        let config = FrontConfig {
            listen: self.listen.est_listen,
            limits: self.listen.limits.limits(),
            socket: self.socket.registrar_socket,
            controller_uid: self.controller_uid,
            metrics_listen: self.metrics_listen,
        };
        (self.log, Ok(Job::Front(config.into())))
    }
}

/// Checks what the arguments say together.
fn config(
    cluster: ClusterArgs,
    est: EstServerArgs,
    metrics: MetricsArgs,
    door: Door,
) -> Result<Config, String> {
    if cluster.watch_namespaces.contains(&cluster.key_namespace) {
        return Err(format!(
            "--watch-namespace {0} is also the --key-namespace: CA keys must be in a namespace of their own",
            cluster.key_namespace
        ));
    }
    let mut short = BTreeMap::new();
    for (label, group) in est.est_label {
        if let Some(other) = short.insert(label.clone(), group.clone()) {
            return Err(format!(
                "--est-label {label} is bound twice, to {other} and to {group}"
            ));
        }
    }
    let watched = |what: &str, namespace: &str| {
        if cluster.watch_namespaces.is_empty()
            || cluster
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
    if let Some(group) = &est.est_default {
        watched("--est-default", &group.namespace)?;
    }
    let served = match est.est_authority {
        None => None,
        Some(authority) => {
            watched("--est-authority", &authority.namespace)?;
            Some(Est {
                door,
                server: EstServer {
                    authority,
                    names: server_names(&est.est_dns_name)?,
                    validity: server_validity(est.est_validity)?,
                },
            })
        }
    };
    let audit = cluster.audit.validate(&cluster.key_namespace)?;
    Ok(Config {
        election: cluster.election.validate()?,
        audit,
        namespaces: cluster.watch_namespaces,
        key_namespace: cluster.key_namespace,
        est: served,
        labels: Labels {
            short,
            default: est.est_default,
        },
        metrics_listen: metrics.metrics_listen,
        metrics_soonest: cluster.metrics_soonest,
        concurrency: cluster.concurrency,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, String> {
        let all = ["devicecert-operator", "run"].iter().chain(arguments);
        match job(all)? {
            Job::Operator(config) => Ok(*config),
            Job::Front(_) => Err("not run".into()),
        }
    }

    fn job<'a>(all: impl Iterator<Item = &'a &'a str>) -> Result<Job, String> {
        let role = Cli::try_parse_from(all).map_err(|e| e.to_string())?.role;
        match role {
            Role::Run(arguments) => arguments.validate().1,
            Role::Controller(arguments) => arguments.validate().1,
            Role::Est(arguments) => arguments.validate().1,
            Role::Crds { .. } => Err("nothing runs".into()),
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
            (&["--log-level=loud"], "write error, warn, info"),
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

    #[test]
    fn each_role_takes_its_own_arguments_only() {
        let job = |arguments: &[&str]| job(["devicecert-operator"].iter().chain(arguments));
        let Ok(Job::Operator(config)) = job(&[
            "controller",
            "--est-authority=pki/root",
            "--est-dns-name=x",
            "--est-uid=65533",
        ]) else {
            panic!("the controller is not understood");
        };
        let socket = "/run/devicecert/registrar/socket";
        assert!(matches!(
            config.est.unwrap().door,
            Door::Behind { socket: path, uid: Some(65533) } if path == std::path::Path::new(socket)
        ));
        let Ok(Job::Front(front)) = job(&["est", "--controller-uid=65532"]) else {
            panic!("est is not understood");
        };
        assert_eq!(front.controller_uid, Some(65532));
        assert_eq!(front.metrics_listen.port(), 9091);
        for foreign in [
            &["controller", "--est-listen=0.0.0.0:1"][..],
            &["est", "--key-namespace=a"],
            &["est", "--est-authority=a/b"],
            &["run", "--registrar-socket=/a"],
        ] {
            assert!(job(foreign).is_err(), "{foreign:?}");
        }
    }
}
