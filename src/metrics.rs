//! Metrics: counters that the doors and controllers turn, and a collector that computes everything else from the fleet at
//! the moment of the scrape, so that a gauge can never be stale.

use std::{
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{
    api::{DeviceIdentity, DevicePhase},
    cluster,
    fleet::Fleet,
    policy::{GroupKey, Reason},
};

/// The windows of remaining life that are counted per group.
const WINDOWS: [(&str, i64); 5] = [
    ("1h", 3_600),
    ("1d", 86_400),
    ("7d", 604_800),
    ("30d", 2_592_000),
    ("90d", 7_776_000),
];

/// Through which door a certificate was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The operator itself, for a device in the cluster.
    Operator,
    /// EST.
    Est,
}

impl Door {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Est => "est",
        }
    }
}

/// The counters of one process.
#[derive(Clone)]
pub struct Counters {
    issued: IntCounterVec,
    refused: IntCounterVec,
    writes: IntCounterVec,
    reconcile_seconds: HistogramVec,
    reconcile_errors: IntCounterVec,
}

impl Counters {
    /// A certificate was issued.
    pub fn issued(&self, door: Door, group: &GroupKey, reason: Reason) {
        self.issued
            .with_label_values(&[
                door.as_str(),
                &group.namespace,
                &group.name,
                reason.as_str(),
            ])
            .inc();
    }

    /// A certificate was refused.
    pub fn refused(&self, door: Door, reason: Reason) {
        self.refused
            .with_label_values(&[door.as_str(), reason.as_str()])
            .inc();
    }

    /// Something was written to the API server.
    pub fn wrote(&self, resource: &str, verb: &str) {
        self.writes.with_label_values(&[resource, verb]).inc();
    }

    /// A reconciliation ended.
    pub fn reconciled(&self, controller: &str, took: Duration) {
        self.reconcile_seconds
            .with_label_values(&[controller])
            .observe(took.as_secs_f64());
    }

    /// A reconciliation failed and will be tried again.
    pub fn failed(&self, controller: &str, reason: Reason) {
        self.reconcile_errors
            .with_label_values(&[controller, reason.as_str()])
            .inc();
    }
}

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    /// The counters.
    pub counters: Counters,
}

impl Metrics {
    /// Makes and registers the counters.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let counters = Counters {
            issued: counter(
                "devicecert_certificates_issued_total",
                "Certificates issued, by the door through which they were asked for, group and reason.",
                &["door", "namespace", "group", "reason"],
            )?,
            refused: counter(
                "devicecert_refusals_total",
                "Certificates refused, by the door through which they were asked for and reason.",
                &["door", "reason"],
            )?,
            writes: counter(
                "devicecert_api_writes_total",
                "Writes to the Kubernetes API server, by resource and verb.",
                &["resource", "verb"],
            )?,
            reconcile_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "devicecert_reconcile_duration_seconds",
                    "Time taken by reconciliations.",
                )
                .buckets(vec![0.0005, 0.002, 0.01, 0.05, 0.2, 1.0, 5.0]),
                &["controller"],
            )?,
            reconcile_errors: counter(
                "devicecert_reconcile_errors_total",
                "Reconciliations that failed and will be tried again, by reason.",
                &["controller", "reason"],
            )?,
        };
        for collector in [
            &counters.issued,
            &counters.refused,
            &counters.writes,
            &counters.reconcile_errors,
        ] {
            registry.register(Box::new(collector.clone()))?;
        }
        registry.register(Box::new(counters.reconcile_seconds.clone()))?;
        let build = IntGaugeVec::new(
            Opts::new(
                "devicecert_build_info",
                "Always 1; its label says which version runs.",
            ),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        Ok(Self { registry, counters })
    }

    /// Adds the gauges that are computed from the fleet. At most `soonest` identities of each group get series of their
    /// own: the live ones that expire first.
    pub fn observe(&self, fleet: Arc<Fleet>, soonest: usize) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(FleetCollector {
            fleet,
            soonest,
            descriptions: Gauges::new()?.descriptions(),
        }))
    }

    /// Everything in the Prometheus text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|e| prometheus::Error::Msg(e.to_string()))
    }
}

struct FleetCollector {
    fleet: Arc<Fleet>,
    soonest: usize,
    descriptions: Vec<Desc>,
}

impl Collector for FleetCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // The same constructor succeeded when the collector was made; nothing in it depends on the fleet.
        let Ok(gauges) = Gauges::new() else {
            return Vec::new();
        };
        let now = cluster::now();
        gauges
            .synced
            .with_label_values(&[] as &[&str])
            .set(i64::from(self.fleet.is_synced()));
        for authority in self.fleet.authorities() {
            let labels = [
                authority.metadata.namespace.as_deref().unwrap_or(""),
                authority.metadata.name.as_deref().unwrap_or(""),
            ];
            let Some(certificate) = authority
                .status
                .as_ref()
                .and_then(|status| status.certificate.as_ref())
            else {
                continue;
            };
            gauges
                .authority_expiration
                .with_label_values(&labels)
                .set(seconds(certificate.not_after.0));
            gauges
                .authority_not_before
                .with_label_values(&labels)
                .set(seconds(certificate.not_before.0));
        }
        let mut groups: BTreeMap<GroupKey, GroupSum> = self
            .fleet
            .groups()
            .iter()
            .map(|group| GroupKey {
                namespace: group.metadata.namespace.clone().unwrap_or_default(),
                name: group.metadata.name.clone().unwrap_or_default(),
            })
            .map(|key| (key, GroupSum::default()))
            .collect();
        for device in self.fleet.devices() {
            let key = GroupKey {
                namespace: device.metadata.namespace.clone().unwrap_or_default(),
                name: device.spec.group_ref.name.clone(),
            };
            groups
                .entry(key)
                .or_default()
                .add(&device, now, self.soonest);
        }
        for (group, sum) in groups {
            gauges.set(&group, sum);
        }
        gauges.collect()
    }
}

/// What is summed up per group.
#[derive(Default)]
struct GroupSum {
    phases: BTreeMap<DevicePhase, i64>,
    within: [i64; WINDOWS.len()],
    overdue: i64,
    late: i64,
    /// The live certificates that expire first, the latest of them on top: expiry, renewal, name.
    soonest: BinaryHeap<(Timestamp, Timestamp, String)>,
}

impl GroupSum {
    fn add(&mut self, device: &DeviceIdentity, now: Timestamp, soonest: usize) {
        let phase = phase(device, now);
        *self.phases.entry(phase).or_default() += 1;
        let Some(certificate) = device
            .status
            .as_ref()
            .and_then(|status| status.certificate.as_ref())
        else {
            return;
        };
        let (expiry, renewal) = (certificate.not_after.0, certificate.renewal_time.0);
        if expiry <= now || matches!(phase, DevicePhase::Revoked) {
            return;
        }
        let left = expiry.as_second() - now.as_second();
        for (count, (_, window)) in self.within.iter_mut().zip(WINDOWS) {
            *count += i64::from(left <= window);
        }
        if renewal <= now {
            self.overdue += 1;
            let halfway = (renewal.as_second() + expiry.as_second()) / 2;
            self.late += i64::from(halfway <= now.as_second());
        }
        if soonest > 0 {
            self.soonest.push((
                expiry,
                renewal,
                device.metadata.name.clone().unwrap_or_default(),
            ));
            if self.soonest.len() > soonest {
                self.soonest.pop();
            }
        }
    }
}

/// The phase as it is now: an expired certificate counts as expired even where nobody could write that down yet.
fn phase(device: &DeviceIdentity, now: Timestamp) -> DevicePhase {
    let status = device.status.as_ref();
    let written = status
        .and_then(|status| status.phase)
        .unwrap_or(DevicePhase::Pending);
    let expired = status
        .and_then(|status| status.certificate.as_ref())
        .is_some_and(|cert| cert.not_after.0 <= now);
    match written {
        DevicePhase::Active | DevicePhase::Issuing if expired => DevicePhase::Expired,
        written => written,
    }
}

struct Gauges {
    synced: IntGaugeVec,
    authority_expiration: GaugeVec,
    authority_not_before: GaugeVec,
    identity_expiration: GaugeVec,
    identity_renewal: GaugeVec,
    group_next_expiration: GaugeVec,
    group_identities: IntGaugeVec,
    group_expiring: IntGaugeVec,
    group_overdue: IntGaugeVec,
    group_late: IntGaugeVec,
}

impl Gauges {
    fn new() -> Result<Self, prometheus::Error> {
        let gauge =
            |name: &str, help: &str, labels: &[&str]| GaugeVec::new(Opts::new(name, help), labels);
        let count = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(name, help), labels)
        };
        Ok(Self {
            synced: count(
                "devicecert_fleet_synced",
                "1 once every watch has delivered its first list, else 0.",
                &[],
            )?,
            authority_expiration: gauge(
                "devicecert_authority_expiration_timestamp_seconds",
                "When the certificate of a CertificateAuthority expires, in seconds since 1970.",
                &["namespace", "authority"],
            )?,
            authority_not_before: gauge(
                "devicecert_authority_not_before_timestamp_seconds",
                "From when the certificate of a CertificateAuthority is valid, in seconds since 1970.",
                &["namespace", "authority"],
            )?,
            identity_expiration: gauge(
                "devicecert_identity_expiration_timestamp_seconds",
                "When the certificate of a DeviceIdentity expires, in seconds since 1970; the soonest live ones of each group.",
                &["namespace", "group", "identity"],
            )?,
            identity_renewal: gauge(
                "devicecert_identity_renewal_timestamp_seconds",
                "When the certificate of a DeviceIdentity should be renewed, in seconds since 1970; the soonest live ones of each group.",
                &["namespace", "group", "identity"],
            )?,
            group_next_expiration: gauge(
                "devicecert_group_next_expiration_timestamp_seconds",
                "When the first live certificate of a group expires, in seconds since 1970.",
                &["namespace", "group"],
            )?,
            group_identities: count(
                "devicecert_group_identities",
                "DeviceIdentities of a group, by phase.",
                &["namespace", "group", "phase"],
            )?,
            group_expiring: count(
                "devicecert_group_expiring_identities",
                "Live certificates of a group that expire within the given time.",
                &["namespace", "group", "within"],
            )?,
            group_overdue: count(
                "devicecert_group_overdue_identities",
                "Live certificates of a group whose renewal time has passed.",
                &["namespace", "group"],
            )?,
            group_late: count(
                "devicecert_group_late_identities",
                "Live certificates of a group that are not renewed although half of the time between renewal and expiry has passed.",
                &["namespace", "group"],
            )?,
        })
    }

    fn set(&self, group: &GroupKey, sum: GroupSum) {
        let labels = [group.namespace.as_str(), group.name.as_str()];
        for phase in DevicePhase::ALL {
            let count = sum.phases.get(&phase).copied().unwrap_or(0);
            self.group_identities
                .with_label_values(&[labels[0], labels[1], phase.as_str()])
                .set(count);
        }
        for (count, (window, _)) in sum.within.iter().zip(WINDOWS) {
            self.group_expiring
                .with_label_values(&[labels[0], labels[1], window])
                .set(*count);
        }
        self.group_overdue
            .with_label_values(&labels)
            .set(sum.overdue);
        self.group_late.with_label_values(&labels).set(sum.late);
        let soonest = sum.soonest.into_sorted_vec();
        if let Some((expiry, _, _)) = soonest.first() {
            self.group_next_expiration
                .with_label_values(&labels)
                .set(seconds(*expiry));
        }
        for (expiry, renewal, identity) in soonest {
            let labels = [labels[0], labels[1], identity.as_str()];
            self.identity_expiration
                .with_label_values(&labels)
                .set(seconds(expiry));
            self.identity_renewal
                .with_label_values(&labels)
                .set(seconds(renewal));
        }
    }

    fn all(&self) -> [&dyn Collector; 10] {
        [
            &self.synced,
            &self.authority_expiration,
            &self.authority_not_before,
            &self.identity_expiration,
            &self.identity_renewal,
            &self.group_next_expiration,
            &self.group_identities,
            &self.group_expiring,
            &self.group_overdue,
            &self.group_late,
        ]
    }

    fn descriptions(&self) -> Vec<Desc> {
        self.all()
            .iter()
            .flat_map(|gauge| gauge.desc().into_iter().cloned().collect::<Vec<_>>())
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // A family without series would be an empty block, which the text format does not know.
        self.all()
            .iter()
            .flat_map(|gauge| gauge.collect())
            .filter(|family| !family.get_metric().is_empty())
            .collect()
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_second() as f64
}
