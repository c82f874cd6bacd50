//! The bare client: no decisions, no keys, no certificates. It only writes what the operator writes, as often, as large and
//! as many at a time, through the same client library: what would be left of the operator if thinking took no time.

use std::time::Instant;

use devicecert::{
    api::{DeviceIdentity, DeviceIdentityStatus, DevicePhase},
    cluster::patch_status,
    policy::{Reason, Statement, set_condition},
};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Resource, ResourceExt, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Failure,
    args::{Args, patience},
    cluster::{BARE, Cluster, concurrently, names},
    issuance::{Example, last},
    operator::processor_time,
    progress,
    report::{self, Report},
    sightings::Sight,
};

/// A client that writes a device's certificate, Secret and readiness, from an example.
pub struct BareClient<'a> {
    args: &'a Args,
    cluster: &'a Cluster,
    name: String,
    disabled: DeviceIdentityStatus,
    recorded: DeviceIdentityStatus,
    ready: DeviceIdentityStatus,
    secret: Secret,
}

/// What is written for one device.
struct Writes {
    device: DeviceIdentity,
    disabled: DeviceIdentityStatus,
    recorded: DeviceIdentityStatus,
    secret: Secret,
    ready: DeviceIdentityStatus,
}

impl<'a> BareClient<'a> {
    /// Takes apart what the operator wrote into the three writes that it took.
    pub fn like(example: &Example, args: &'a Args, cluster: &'a Cluster) -> Self {
        let ready = example.after.status.clone().unwrap_or_default();
        let mut recorded = ready.clone();
        recorded.phase = Some(DevicePhase::Issuing);
        let message = format!(
            "the certificate is on its way into the Secret {}",
            example.secret.name_any()
        );
        let statement = Statement::no("Ready", Reason::WritingSecret, message);
        set_condition(
            &mut recorded.conditions,
            statement,
            example.after.metadata.generation,
            devicecert::cluster::now(),
        );
        let mut secret = example.secret.clone();
        secret.metadata = ObjectMeta {
            name: secret.metadata.name,
            labels: secret.metadata.labels,
            annotations: secret.metadata.annotations,
            owner_references: secret.metadata.owner_references,
            ..ObjectMeta::default()
        };
        Self {
            args,
            cluster,
            name: example.after.name_any(),
            disabled: example.before.status.clone().unwrap_or_default(),
            recorded,
            ready,
            secret,
        }
    }

    /// Writes as much as one round of issuance. The devices, with the status of a Disabled group, exist beforehand.
    pub async fn round(&self, round: u32, report: &mut Report) -> Result<(), Failure> {
        let names = names('b', round, self.args.certificates);
        progress(&format!(
            "round {}: {} certificates by the bare client",
            round + 1,
            names.len()
        ));
        let devices = self
            .cluster
            .create_devices(BARE, &names, self.args.writers())
            .await?;
        let api: Api<DeviceIdentity> = self.cluster.api(BARE);
        let secrets: Api<Secret> = self.cluster.api(BARE);
        let writes: Vec<Writes> = devices
            .into_iter()
            .map(|device| self.writes(device))
            .collect::<Result<_, _>>()?;
        let prepare = |mut writes: Writes| {
            let api = api.clone();
            async move {
                let old = DeviceIdentityStatus::default();
                writes.device = write(&api, &writes.device, &old, &writes.disabled).await?;
                Ok(writes)
            }
        };
        let writes = concurrently(self.args.writers(), writes.into_iter().map(prepare)).await?;

        let cpu = processor_time("self")?;
        let began = Instant::now();
        let issue = |writes: Writes| {
            let (api, secrets) = (api.clone(), secrets.clone());
            async move {
                let device =
                    write(&api, &writes.device, &writes.disabled, &writes.recorded).await?;
                secrets
                    .create(&PostParams::default(), &writes.secret)
                    .await?;
                write(&api, &device, &writes.recorded, &writes.ready).await
            }
        };
        concurrently(self.args.writers(), writes.into_iter().map(issue)).await?;
        let ready = |_: &str, sight: &Sight| sight.ready;
        let ready = self
            .cluster
            .sightings
            .wait_for("bare client", &names, patience(names.len()), ready)
            .await?;
        let took = last(&ready).duration_since(began).as_secs_f64();
        report.add(&report::BARE_RATE, names.len() as f64 / took);
        report.add_micros(
            &report::BARE_CPU,
            processor_time("self")? - cpu,
            names.len(),
        );
        Ok(())
    }

    fn writes(&self, device: DeviceIdentity) -> Result<Writes, Failure> {
        let name = device.name_any();
        let mut secret = renamed(&self.secret, &self.name, &name)?;
        secret.metadata.owner_references =
            device.controller_owner_ref(&()).map(|owner| vec![owner]);
        Ok(Writes {
            disabled: renamed(&self.disabled, &self.name, &name)?,
            recorded: renamed(&self.recorded, &self.name, &name)?,
            ready: renamed(&self.ready, &self.name, &name)?,
            secret,
            device,
        })
    }
}

async fn write(
    api: &Api<DeviceIdentity>,
    device: &DeviceIdentity,
    old: &DeviceIdentityStatus,
    new: &DeviceIdentityStatus,
) -> Result<DeviceIdentity, Failure> {
    let written = patch_status(api, device, old, new).await?;
    Ok(written.ok_or("the bare client had nothing to write")?)
}

/// The same with another device's name, which is as long.
fn renamed<T: Serialize + DeserializeOwned>(
    example: &T,
    old: &str,
    new: &str,
) -> Result<T, Failure> {
    Ok(serde_json::from_str(
        &serde_json::to_string(example)?.replace(old, new),
    )?)
}
