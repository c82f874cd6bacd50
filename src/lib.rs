//! A Kubernetes operator that gives every device a certificate for its whole life.
//!
//! The house, from the top; each floor uses only those below it:
//!
//! ```text
//! plugin       kubectl devicecert, for people
//! cli          arguments -> a validated Config
//! run          puts the house together
//! health       /metrics, /healthz, /readyz
//! controllers  Kubernetes in, Kubernetes out: observe -> decide -> act
//! est          RFC 7030 front end; knows no CA key, no password file and no Kubernetes
//! registrar    the one door: authenticate -> authorize -> sign -> record
//! audit        one structured event for each decision about a certificate
//! metrics      counters, and a collector over the fleet
//! fleet        what we know: watched objects and indexes
//! cluster      the one way to speak with the API server
//! policy       PURE: who may have which certificate
//! pki          PURE: X.509; knows nothing of Kubernetes
//! api          the custom resources
//! ```
//!
//! `tests/house.rs` reads the `use` lines and fails when one points up.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

pub mod api;
pub mod audit;
pub mod cli;
pub mod cluster;
pub mod controllers;
pub mod est;
pub mod fleet;
pub mod health;
pub mod metrics;
pub mod pki;
pub mod plugin;
pub mod policy;
pub mod registrar;
pub mod run;

use std::{error::Error, io::Write, path::Path, time::Duration};

/// Runs a role until it is asked to stop: how to log, and what the arguments say is to run.
///
/// # Errors
/// In words for the terminal.
pub fn start((log, job): (cli::LogArgs, Result<cli::Job, String>)) -> Result<(), Box<dyn Error>> {
    let (format, level) = log.format_and_level();
    let log = tracing_subscriber::fmt()
        .with_env_filter(level.filter())
        .with_writer(std::io::stderr)
        // Colours are for people at a terminal.
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match format {
        cli::LogFormat::Json => log.json().init(),
        cli::LogFormat::Text => log.init(),
    }
    let job = job?;
    // Fails only if a provider is installed already, which is then this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = match job {
        cli::Job::Operator(config) => runtime.block_on(run::run(*config)),
        cli::Job::Front(config) => runtime.block_on(run::front(*config)),
    };
    // A password that is still being verified must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(result?)
}

/// Carries out a command of `kubectl devicecert`.
///
/// # Errors
/// In words for the terminal.
pub fn run_plugin(plugin: plugin::Plugin) -> Result<(), Box<dyn Error>> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(plugin::run(plugin))?)
}

/// Prints the custom resource definitions, or writes `<plural>.<group>.yaml` files into a directory.
///
/// # Errors
/// If they cannot be written.
pub fn write_crds(directory: Option<&Path>) -> Result<(), Box<dyn Error>> {
    for crd in api::crds() {
        let yaml = serde_saphyr::to_string(&crd)?;
        match (directory, &crd.metadata.name) {
            (Some(directory), Some(name)) => {
                let file = directory.join(format!("{name}.yaml"));
                std::fs::write(&file, yaml).map_err(|e| format!("{}: {e}", file.display()))?;
            }
            _ => writeln!(std::io::stdout(), "---\n{}", yaml.trim_end())?,
        }
    }
    Ok(())
}
