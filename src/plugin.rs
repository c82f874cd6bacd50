//! `kubectl devicecert`: what people do more often than YAML is pleasant for.

use clap::{Parser, Subcommand};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

use crate::{
    api::{CertificateAuthority, Condition, ConditionStatus, DeviceIdentity, EnrollmentGroup},
    cluster::{self, ApiError},
};

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
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what is not in order, with the reason in words.
    Status,
    /// Renew the certificate of a device now.
    Renew {
        /// The name of the DeviceIdentity.
        device: String,
    },
}

/// Why a command failed, in a sentence for the terminal.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// No API server is configured.
    #[error("no Kubernetes API server is configured ({0}): set KUBECONFIG, or pass --context")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server refused, or does not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The device renews its certificate itself.
    #[error(
        "{0} keeps its key itself, so only it can renew: have it call simplereenroll. (The operator renews devices with a \
         secretName or a request.)"
    )]
    Outside(String),
}

/// Carries out a command.
///
/// # Errors
/// In words for the terminal.
pub async fn run(plugin: Plugin) -> Result<(), PluginError> {
    let options = KubeConfigOptions {
        context: plugin.context.clone(),
        ..Default::default()
    };
    let config = kube::Config::from_custom_kubeconfig(Kubeconfig::read()?, &options).await?;
    let namespace = plugin
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(failed("make a client for", "the API server"))?;
    match plugin.command {
        Command::Status => status(client, &namespace).await,
        Command::Renew { device } => renew(client, &namespace, &device).await,
    }
}

fn failed(what: &'static str, object: &str) -> impl FnOnce(kube::Error) -> PluginError {
    let object = object.to_string();
    move |source| ApiError::new(what, object, source).into()
}

async fn renew(client: Client, namespace: &str, name: &str) -> Result<(), PluginError> {
    let devices: Api<DeviceIdentity> = Api::namespaced(client, namespace);
    let device = devices
        .get(name)
        .await
        .map_err(failed("read DeviceIdentity", name))?;
    if device.spec.secret_name.is_none() && device.spec.request.is_none() {
        return Err(PluginError::Outside(name.into()));
    }
    // Whole seconds: the next one comes after any certificate that was issued until now.
    let next = cluster::now().checked_add(SignedDuration::from_secs(1));
    let patch = json!({ "spec": { "renewAfter": Time(next.unwrap_or_else(|_| cluster::now())) } });
    devices
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(failed("ask for the renewal of", name))?;
    println!(
        "deviceidentity/{name} will be renewed now; watch it with: kubectl -n {namespace} get did {name} -w"
    );
    Ok(())
}

async fn status(client: Client, namespace: &str) -> Result<(), PluginError> {
    let all = ListParams::default();
    let authorities: Api<CertificateAuthority> = Api::namespaced(client.clone(), namespace);
    let groups: Api<EnrollmentGroup> = Api::namespaced(client.clone(), namespace);
    let devices: Api<DeviceIdentity> = Api::namespaced(client, namespace);
    let mut lines = Vec::new();
    let mut seen = 0;
    for object in authorities
        .list(&all)
        .await
        .map_err(failed("list", "CertificateAuthorities"))?
    {
        seen += 1;
        let conditions = object
            .status
            .as_ref()
            .map_or(&[][..], |status| &status.conditions);
        lines.extend(problem(
            "certificateauthority",
            &object.name_any(),
            conditions,
        ));
    }
    for object in groups
        .list(&all)
        .await
        .map_err(failed("list", "EnrollmentGroups"))?
    {
        seen += 1;
        let conditions = object
            .status
            .as_ref()
            .map_or(&[][..], |status| &status.conditions);
        lines.extend(problem("enrollmentgroup", &object.name_any(), conditions));
    }
    for object in devices
        .list(&all)
        .await
        .map_err(failed("list", "DeviceIdentities"))?
    {
        seen += 1;
        let conditions = object
            .status
            .as_ref()
            .map_or(&[][..], |status| &status.conditions);
        lines.extend(problem("deviceidentity", &object.name_any(), conditions));
    }
    for line in &lines {
        println!("{line}");
    }
    println!(
        "{} of {seen} objects in namespace {namespace} are not in order",
        lines.len()
    );
    Ok(())
}

/// One line about an object that is not Ready, or whose last attempt at a certificate was refused.
fn problem(kind: &str, name: &str, conditions: &[Condition]) -> Option<String> {
    let leaving = conditions.iter().find(|condition| {
        condition.type_ == "Terminating" && condition.status == ConditionStatus::True
    });
    if let Some(leaving) = leaving {
        return Some(format!(
            "{kind}/{name}: {}: {}",
            leaving.reason, leaving.message
        ));
    }
    let find = |aspect: &str| {
        conditions
            .iter()
            .find(|condition| condition.type_ == aspect)
    };
    let Some(ready) = find("Ready") else {
        return Some(format!(
            "{kind}/{name}: the operator has not looked at it yet: is it running, and does it watch this namespace?"
        ));
    };
    let issued = find("Issued").filter(|issued| issued.status == ConditionStatus::False);
    let wrong = Some(ready)
        .filter(|ready| ready.status != ConditionStatus::True)
        .or(issued)?;
    Some(format!(
        "{kind}/{name}: {}: {}",
        wrong.reason, wrong.message
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Reason, Statement, set_condition};

    #[test]
    fn only_what_is_not_in_order_is_listed() {
        let now = cluster::now();
        let mut conditions = Vec::new();
        assert!(
            problem("a", "b", &conditions)
                .unwrap()
                .contains("is it running")
        );
        set_condition(
            &mut conditions,
            Statement::yes("Ready", Reason::CertificateReady, "fine"),
            None,
            now,
        );
        assert_eq!(problem("a", "b", &conditions), None);
        set_condition(
            &mut conditions,
            Statement::no("Issued", Reason::GroupDisabled, "off"),
            None,
            now,
        );
        assert_eq!(
            problem("a", "b", &conditions).unwrap(),
            "a/b: GroupDisabled: off"
        );
    }
}
