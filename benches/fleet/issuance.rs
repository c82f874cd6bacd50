//! Certificates into Secrets: all at once, renewed, and one after the other.

use std::time::{Duration, Instant};

use devicecert::{
    api::{DeviceIdentity, ProvisioningStatus},
    cluster::now,
};
use jiff::SignedDuration;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Time};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    Failure,
    args::{Args, patience},
    cluster::{BENCH, Cluster, concurrently, names},
    operator::Operator,
    progress,
    report::{self, Report},
    sightings::Sight,
};

/// The issuance experiments.
pub struct Issuance<'a> {
    args: &'a Args,
    cluster: &'a Cluster,
    operator: &'a Operator,
}

/// A device before and after its certificate, and its Secret: what the bare client writes.
pub struct Example {
    /// While its group is Disabled.
    pub before: DeviceIdentity,
    /// When it is Ready.
    pub after: DeviceIdentity,
    /// What the operator wrote.
    pub secret: Secret,
}

impl<'a> Issuance<'a> {
    /// The experiments on this operator.
    pub fn new(args: &'a Args, cluster: &'a Cluster, operator: &'a Operator) -> Self {
        Self {
            args,
            cluster,
            operator,
        }
    }

    /// Issues a few certificates and keeps one of them as an example.
    pub async fn warm_up(&self) -> Result<Example, Failure> {
        let names = names('w', 0, 10);
        self.prepare(&names).await?;
        let devices: Api<DeviceIdentity> = self.cluster.api(BENCH);
        let before = devices.get(&names[0]).await?;
        self.cluster.enable(BENCH).await?;
        self.await_ready(&names).await?;
        self.operator.quiet().await?;
        let after = devices.get(&names[0]).await?;
        let secret = self
            .cluster
            .api(BENCH)
            .get(&format!("{}-tls", names[0]))
            .await?;
        Ok(Example {
            before,
            after,
            secret,
        })
    }

    /// All devices of a round at once. They exist, and are known to the operator, while their group is Disabled; the
    /// clock starts when the call is sent that turns the group on, and stops when the last device is seen Ready.
    pub async fn round(&self, round: u32, report: &mut Report) -> Result<(), Failure> {
        let names = names('a', round, self.args.certificates);
        progress(&format!(
            "round {}: {} certificates by the operator",
            round + 1,
            names.len()
        ));
        self.prepare(&names).await?;

        let before = self.operator.idle_usage().await?;
        let began = Instant::now();
        self.cluster
            .provision(BENCH, ProvisioningStatus::Enabled)
            .await?;
        let ready = self.await_ready(&names).await?;
        let count = names.len() as f64;
        report.add(
            &report::ISSUANCE_RATE,
            count / last(&ready).duration_since(began).as_secs_f64(),
        );
        let first = ready.iter().min().map_or(began, |first| *first);
        report.add(
            &report::ISSUANCE_WAKE,
            first.duration_since(began).as_secs_f64() * 1e3,
        );
        let used = self.operator.idle_usage().await?;
        report.add(
            &report::ISSUANCE_WRITES,
            (used.writes - before.writes) / count,
        );
        report.add_micros(&report::ISSUANCE_CPU, used.cpu - before.cpu, names.len());
        self.operator.quiet().await
    }

    /// The same devices again: `renewAfter` is set beforehand, to one moment for all of them. The clock runs from that
    /// moment until the last new certificate is on record.
    pub async fn renewals(&self, round: u32, report: &mut Report) -> Result<(), Failure> {
        let names = names('a', round, self.args.certificates);
        progress(&format!(
            "round {}: {} renewals by the operator",
            round + 1,
            names.len()
        ));
        let lead = Duration::from_millis(4000 + 20 * names.len() as u64);
        // Kubernetes keeps whole seconds.
        let due = jiff::Timestamp::from_second(now().as_second() + lead.as_secs() as i64 + 1)?;
        let patch = json!({ "spec": { "renewAfter": Time(due) } });
        let set = |name: &String| {
            let (api, name, patch) = (
                self.cluster.api::<DeviceIdentity>(BENCH),
                name.clone(),
                patch.clone(),
            );
            async move {
                Ok(api
                    .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await?)
            }
        };
        concurrently(self.args.writers(), names.iter().map(set)).await?;
        self.operator.quiet().await?;

        let old: Vec<Sight> = names
            .iter()
            .map(|name| self.cluster.sightings.of(name))
            .collect();
        let before = self.operator.idle_usage().await?;
        let wait = due.duration_since(now());
        if wait < SignedDuration::ZERO {
            return Err(
                "the machine is too slow: renewals were due before all of them were asked for"
                    .into(),
            );
        }
        let began = Instant::now() + wait.unsigned_abs();
        let known = |name: &str| {
            names
                .binary_search_by(|other| other.as_str().cmp(name))
                .ok()
                .and_then(|i| old[i].certificate.as_ref())
        };
        let renewed = |name: &str, sight: &Sight| {
            let (fingerprint, at) = sight.certificate.as_ref()?;
            known(name)
                .is_none_or(|(old, _)| old != fingerprint)
                .then_some(*at)
        };
        let recorded = self
            .cluster
            .sightings
            .wait_for("renewal", &names, lead + patience(names.len()), renewed)
            .await?;
        let count = names.len() as f64;
        report.add(
            &report::RENEWAL_RATE,
            count / last(&recorded).duration_since(began).as_secs_f64(),
        );
        let used = self.operator.idle_usage().await?;
        report.add(
            &report::RENEWAL_WRITES,
            (used.writes - before.writes) / count,
        );
        self.operator.quiet().await
    }

    /// One device after the other, each created when the one before is Ready: the time from the call to Ready.
    pub async fn trickle(&self, round: u32, report: &mut Report) -> Result<(), Failure> {
        let names = names('t', round, self.args.trickle);
        progress(&format!(
            "round {}: {} certificates one by one",
            round + 1,
            names.len()
        ));
        let before = self.operator.idle_usage().await?;
        for name in &names {
            let name = std::slice::from_ref(name);
            let began = Instant::now();
            self.cluster.create_devices(BENCH, name, 1).await?;
            let ready = self.await_ready(name).await?;
            report.add(
                &report::TRICKLE_LATENCY,
                ready[0].duration_since(began).as_secs_f64() * 1e3,
            );
        }
        let used = self.operator.idle_usage().await?;
        report.add(
            &report::TRICKLE_WRITES,
            (used.writes - before.writes) / names.len().max(1) as f64,
        );
        self.operator.quiet().await
    }

    /// Makes devices of a Disabled group, and waits until the operator has said so on each.
    async fn prepare(&self, names: &[String]) -> Result<(), Failure> {
        self.cluster.disable(BENCH).await?;
        self.cluster
            .create_devices(BENCH, names, self.args.writers())
            .await?;
        let told = |_: &str, sight: &Sight| (sight.reason == "GroupDisabled").then(Instant::now);
        self.cluster
            .sightings
            .wait_for("preparation", names, patience(names.len()), told)
            .await?;
        self.operator.quiet().await
    }

    async fn await_ready(&self, names: &[String]) -> Result<Vec<Instant>, Failure> {
        let ready = |_: &str, sight: &Sight| sight.ready;
        self.cluster
            .sightings
            .wait_for("issuance", names, patience(names.len()), ready)
            .await
    }
}

/// The latest of the moments; now, where there are none.
pub fn last(moments: &[Instant]) -> Instant {
    moments.iter().max().copied().unwrap_or_else(Instant::now)
}
