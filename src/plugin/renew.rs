//! `kubectl devicecert renew`: a device's certificate is renewed now.

use clap::Args;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{PluginError, connection::Connection, words::say};
use crate::{
    api::{DeviceIdentity, DeviceState},
    cluster::{self, ApiError},
};

/// What to renew.
#[derive(Debug, Args)]
pub(super) struct Renew {
    /// The name of the DeviceIdentity.
    device: String,
}

impl Renew {
    pub async fn run(self, connection: &Connection) -> Result<(), PluginError> {
        let name = &self.device;
        let device: DeviceIdentity = connection.get(name).await?;
        if device.spec.secret_name.is_none() && device.spec.request.is_none() {
            return Err(PluginError::Outside(name.into()));
        }
        if let Some(why) = hindrance(&device) {
            return Err(PluginError::No(format!(
                "deviceidentity/{name} is not renewed: {why}"
            )));
        }
        // Whole seconds: the next one comes after any certificate that was issued until now.
        let next = cluster::now().checked_add(SignedDuration::from_secs(1));
        let patch =
            json!({ "spec": { "renewAfter": Time(next.unwrap_or_else(|_| cluster::now())) } });
        connection
            .here::<DeviceIdentity>()
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(|e| ApiError::new("ask for the renewal of", name, e))?;
        let done = format_args!(
            "deviceidentity/{name} will be renewed now; watch it with: kubectl -n {} get did {name} -w\n",
            connection.namespace
        );
        Ok(say(done)?)
    }
}

/// Why the operator would pass over the wish.
fn hindrance(device: &DeviceIdentity) -> Option<&'static str> {
    match device.spec.state {
        DeviceState::Active => None,
        DeviceState::Suspended => Some(
            "it is Suspended, and gets no certificate until its spec.state is Active again; then renew it",
        ),
        DeviceState::Revoked => Some(
            "it is Revoked, which is final: no certificate is issued to it any more. Delete it, and create it anew, if the device is \
             to have one",
        ),
    }
}
