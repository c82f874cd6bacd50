//! `kubectl devicecert approve` and `deny`: a person's decision about one key.

use std::io::{self, BufRead, IsTerminal};

use clap::Args;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    PluginError,
    connection::Connection,
    words::{age, printable, say},
};
use crate::{
    api::{ApprovalDecision, DeviceIdentity, PendingRequest},
    cluster::{self, ApiError, Outcome},
    pki::Fingerprint,
};

/// Whom to approve.
#[derive(Debug, Args)]
pub(super) struct Approve {
    /// The names of the DeviceIdentities.
    #[arg(required = true)]
    devices: Vec<String>,
    /// The fingerprint of the key that is meant (SHA-256 of the public key, hexadecimal); asked for on a terminal.
    #[arg(long)]
    key: Option<Fingerprint>,
}

/// Whom to deny.
#[derive(Debug, Args)]
pub(super) struct Deny {
    /// The names of the DeviceIdentities.
    #[arg(required = true)]
    devices: Vec<String>,
    /// The fingerprint of the key that is meant (SHA-256 of the public key, hexadecimal); asked for on a terminal.
    #[arg(long)]
    key: Option<Fingerprint>,
    /// Why; the device is told.
    #[arg(long)]
    reason: Option<String>,
}

impl Approve {
    pub async fn run(self, connection: &Connection) -> Result<(), PluginError> {
        let verdict = Verdict {
            decision: ApprovalDecision::Approved,
            reason: None,
        };
        decide(connection, &self.devices, self.key, &verdict).await
    }
}

impl Deny {
    pub async fn run(self, connection: &Connection) -> Result<(), PluginError> {
        let verdict = Verdict {
            decision: ApprovalDecision::Denied,
            reason: self.reason,
        };
        decide(connection, &self.devices, self.key, &verdict).await
    }
}

/// What is decided, and why.
struct Verdict {
    decision: ApprovalDecision,
    reason: Option<String>,
}

impl Verdict {
    fn verb(&self) -> &'static str {
        match self.decision {
            ApprovalDecision::Approved => "approve",
            ApprovalDecision::Denied => "deny",
        }
    }

    fn done(&self) -> &'static str {
        match self.decision {
            ApprovalDecision::Approved => {
                "approved: the device gets its certificate when it asks again"
            }
            ApprovalDecision::Denied => "denied: this key gets no certificate",
        }
    }
}

async fn decide(
    connection: &Connection,
    devices: &[String],
    key: Option<Fingerprint>,
    verdict: &Verdict,
) -> Result<(), PluginError> {
    if key.is_some() && devices.len() > 1 {
        return Err(PluginError::Usage(
            "--key is the key of one device: name one device, or leave --key away and answer for each".into(),
        ));
    }
    for name in devices {
        decide_one(connection, name, key, verdict).await?;
    }
    Ok(())
}

async fn decide_one(
    connection: &Connection,
    name: &str,
    key: Option<Fingerprint>,
    verdict: &Verdict,
) -> Result<(), PluginError> {
    let device: DeviceIdentity = connection.get(name).await?;
    let pending = device
        .status
        .as_ref()
        .and_then(|status| status.pending_request.as_ref())
        .ok_or_else(|| nothing_waits(connection, &device))?;
    show(&device, pending)?;
    let standing = device.spec.approval.as_ref();
    let is_done = standing.is_some_and(|standing| {
        standing.key_fingerprint == pending.key_fingerprint
            && standing.decision == verdict.decision
            && standing.reason == verdict.reason
    });
    if !is_meant(name, pending, key, verdict)? {
        return Err(PluginError::No(format!("{name}: nothing was decided")));
    }
    if is_done {
        let before = format_args!(
            "deviceidentity/{name}: this was decided before: {}\n",
            verdict.done()
        );
        return Ok(say(before)?);
    }
    write(connection, &device, pending, verdict).await?;
    let done = format_args!("deviceidentity/{name} {}\n", verdict.done());
    Ok(say(done)?)
}

fn nothing_waits(connection: &Connection, device: &DeviceIdentity) -> PluginError {
    let (namespace, name) = (&connection.namespace, device.name_any());
    PluginError::No(format!(
        "{name}: no request waits for a person, so there is no key to decide about: the device must ask first (see kubectl -n \
         {namespace} describe did {name})"
    ))
}

/// What a person must see to decide. All of it was chosen by the requester, but the fingerprint.
fn show(device: &DeviceIdentity, pending: &PendingRequest) -> io::Result<()> {
    let names = match pending.subject_alt_names.is_empty() {
        true => "none".to_string(),
        false => printable(&pending.subject_alt_names.join(", ")),
    };
    say(format_args!(
        "deviceidentity/{} in group {}\n  key        {} ({})\n  subject    {}\n  names      {names}\n  requester  {}\n  since      {} ({} ago)\n",
        device.name_any(),
        device.spec.group_ref.name,
        pending.key_fingerprint,
        printable(&pending.key_algorithm),
        printable(&pending.subject),
        printable(&pending.requester),
        pending.requested_at.0,
        age(pending.requested_at.0, cluster::now()),
    ))
}

/// Whether the person means the key that waits: by the fingerprint, or by an answer on the terminal.
fn is_meant(
    name: &str,
    pending: &PendingRequest,
    key: Option<Fingerprint>,
    verdict: &Verdict,
) -> Result<bool, PluginError> {
    let verb = verdict.verb();
    if let Some(key) = key {
        if key.to_string() == pending.key_fingerprint {
            return Ok(true);
        }
        return Err(PluginError::No(format!(
            "{name}: another key waits than the one that was given with --key, {key}: compare the one above with the device's, and \
             {verb} that, or let the device ask again"
        )));
    }
    if !io::stdin().is_terminal() {
        return Err(PluginError::Usage(format!(
            "{name}: without a terminal say which key is meant: kubectl devicecert {verb} {name} --key {}",
            pending.key_fingerprint
        )));
    }
    say(format_args!("{verb} this key? (y/N) "))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Under the version that was shown: what a person did not see is not decided.
async fn write(
    connection: &Connection,
    device: &DeviceIdentity,
    pending: &PendingRequest,
    verdict: &Verdict,
) -> Result<(), PluginError> {
    let name = device.name_any();
    let metadata =
        json!({ "uid": device.metadata.uid, "resourceVersion": device.metadata.resource_version });
    let approval = json!({
        "decision": verdict.decision,
        "keyFingerprint": pending.key_fingerprint,
        "reason": verdict.reason,
    });
    let patch = json!({ "metadata": metadata, "spec": { "approval": approval } });
    let written = connection
        .here::<DeviceIdentity>()
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(|e| ApiError::new("write the decision about", &name, e));
    let Err(error) = written else { return Ok(()) };
    Err(match error.outcome() {
        Outcome::Conflict => PluginError::No(format!(
            "{name} changed while you looked at it, so nothing was decided: look again with kubectl devicecert {} {name}",
            verdict.verb()
        )),
        Outcome::Forbidden => {
            let group = &device.spec.group_ref.name;
            PluginError::No(format!(
                "{error}\nTo approve or deny you need the verb \"approve\" on enrollmentgroups/{group}, and the verb \"patch\" on \
                 deviceidentities, in namespace {}: ask whoever grants roles there.",
                connection.namespace
            ))
        }
        _ => error.into(),
    })
}
