//! `kubectl devicecert pending`: the requests that wait for a person.

use kube::ResourceExt;

use super::{
    PluginError,
    connection::{Connection, list},
    words::{age, printable, say, table},
};
use crate::{
    api::{DeviceIdentity, PendingRequest},
    cluster,
};

/// A request on a device's record that nobody has decided yet.
pub(super) fn undecided(device: &DeviceIdentity) -> Option<&PendingRequest> {
    let request = device.status.as_ref()?.pending_request.as_ref()?;
    let is_decided = device
        .spec
        .approval
        .as_ref()
        .is_some_and(|approval| approval.key_fingerprint == request.key_fingerprint);
    (!is_decided).then_some(request)
}

pub(super) async fn run(connection: &Connection) -> Result<(), PluginError> {
    connection.check_namespace().await?;
    let now = cluster::now();
    let mut waiting = list(&connection.here(), |device: DeviceIdentity| {
        let request = undecided(&device)?;
        let row = [
            device.name_any(),
            device.spec.group_ref.name.clone(),
            request.key_fingerprint.clone(),
            printable(&request.key_algorithm),
            printable(&request.subject),
            printable(&request.requester),
            age(request.requested_at.0, now),
        ];
        Some((request.requested_at.0, row))
    })
    .await?;
    if waiting.is_empty() {
        let nothing = format_args!("nothing waits in namespace {}\n", connection.namespace);
        return Ok(say(nothing)?);
    }
    // Who has waited longest comes first.
    waiting.sort_by_key(|(since, _)| *since);
    let header = [
        "NAME",
        "GROUP",
        "KEY",
        "KIND",
        "SUBJECT",
        "REQUESTER",
        "AGE",
    ];
    let rows: Vec<_> = std::iter::once(header.map(String::from))
        .chain(waiting.into_iter().map(|(_, row)| row))
        .collect();
    Ok(say(table(&rows))?)
}
