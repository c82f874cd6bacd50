//! `kubectl devicecert`: what people do more often than YAML is pleasant for. A file for each command.

mod approve;
mod connection;
mod edge_config;
mod error;
mod explain;
mod pending;
mod renew;
mod status;
mod token;
mod words;

pub use error::PluginError;

use clap::{Parser, Subcommand};

use connection::Connection;

/// Work with devicecert objects.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-devicecert",
    bin_name = "kubectl devicecert",
    version,
    arg_required_else_help = true
)]
pub struct Plugin {
    /// The namespace; that of the current context when absent.
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// The kubeconfig context.
    #[arg(long, global = true)]
    context: Option<String>,
    /// Act as this user (needs the verb impersonate).
    #[arg(long = "as", global = true)]
    impersonate: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what is not in order, with the reason in words.
    Status(status::Status),
    /// Renew the certificate of a device now.
    Renew(renew::Renew),
    /// Make a one-time token with which a device enrols, and print it once.
    Token(token::Token),
    /// List the requests that wait for a person.
    Pending,
    /// Let the key of a pending request be certified.
    Approve(approve::Approve),
    /// Refuse the key of a pending request.
    Deny(approve::Deny),
    /// Say what the EST server would answer to a request, and why, rule by rule.
    Explain(explain::Explain),
    /// Print a device's part of Azure IoT Edge's /etc/aziot/config.toml.
    EdgeConfig(edge_config::EdgeConfig),
}

/// Carries out a command.
///
/// # Errors
/// In words for the terminal.
pub async fn run(plugin: Plugin) -> Result<(), PluginError> {
    let connection = Connection::open(&plugin).await?;
    match plugin.command {
        Command::Status(status) => status.run(&connection).await,
        Command::Renew(renew) => renew.run(&connection).await,
        Command::Token(token) => token.run(&connection).await,
        Command::Pending => pending::run(&connection).await,
        Command::Approve(approve) => approve.run(&connection).await,
        Command::Deny(deny) => deny.run(&connection).await,
        Command::Explain(explain) => explain.run(&connection).await,
        Command::EdgeConfig(config) => config.run(&connection).await,
    }
}
