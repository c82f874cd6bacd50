//! What is computed from the fleet at the moment of the scrape.

use std::{
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use jiff::Timestamp;
use prometheus::{
    GaugeVec, IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{
    api::{ConditionStatus, DeviceIdentity, DevicePhase, DeviceState},
    cluster,
    fleet::Fleet,
    policy::GroupKey,
};

/// The windows of remaining life that are counted per group.
const WINDOWS: [(&str, i64); 5] = [
    ("1h", 3_600),
    ("1d", 86_400),
    ("7d", 604_800),
    ("30d", 2_592_000),
    ("90d", 7_776_000),
];

/// Computes the gauges at each scrape.
pub(super) struct FleetCollector {
    fleet: Arc<Fleet>,
    soonest: usize,
    descriptions: Vec<Desc>,
}

impl FleetCollector {
    pub(super) fn new(fleet: Arc<Fleet>, soonest: usize) -> Result<Self, prometheus::Error> {
        let descriptions = Gauges::new()?.descriptions();
        Ok(Self {
            fleet,
            soonest,
            descriptions,
        })
    }
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
            let ready = authority
                .status
                .iter()
                .flat_map(|status| &status.conditions)
                .any(|condition| {
                    condition.type_ == "Ready" && condition.status == ConditionStatus::True
                });
            gauges
                .authority_ready
                .with_label_values(&labels)
                .set(i64::from(ready));
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
    refused: BTreeMap<String, i64>,
    /// The live certificates that expire first, the latest of them on top: expiry, renewal, name.
    soonest: BinaryHeap<(Timestamp, Timestamp, String)>,
}

impl GroupSum {
    fn add(&mut self, device: &DeviceIdentity, now: Timestamp, soonest: usize) {
        let phase = phase(device, now);
        *self.phases.entry(phase).or_default() += 1;
        let conditions = device.status.iter().flat_map(|status| &status.conditions);
        if let Some(refused) = conditions
            .filter(|condition| condition.status == ConditionStatus::False)
            .find(|condition| condition.type_ == "Issued")
            .filter(|_| device.spec.state == DeviceState::Active)
        {
            *self.refused.entry(refused.reason.clone()).or_default() += 1;
        }
        let Some(certificate) = device
            .status
            .as_ref()
            .and_then(|status| status.certificate.as_ref())
        else {
            return;
        };
        let (expiry, renewal) = (certificate.not_after.0, certificate.renewal_time.0);
        if expiry <= now || device.spec.state != DeviceState::Active {
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
    group_refused: IntGaugeVec,
    authority_ready: IntGaugeVec,
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
            group_refused: count(
                "devicecert_group_refused_identities",
                "Active devices of a group whose last attempt at a certificate was refused, by reason.",
                &["namespace", "group", "reason"],
            )?,
            authority_ready: count(
                "devicecert_authority_ready",
                "1 if a CertificateAuthority can sign, else 0.",
                &["namespace", "authority"],
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
        for (reason, count) in sum.refused {
            self.group_refused
                .with_label_values(&[labels[0], labels[1], &reason])
                .set(count);
        }
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

    fn all(&self) -> [&dyn Collector; 12] {
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
            &self.group_refused,
            &self.authority_ready,
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
