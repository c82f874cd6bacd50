//! Metrics: counters that the doors and controllers turn, and a collector that computes everything else from the fleet at
//! the moment of the scrape, so that a gauge can never be stale.

mod gauges;
mod leader;

use std::{sync::Arc, time::Duration};

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};

use crate::{
    cluster::Leadership,
    fleet::Fleet,
    policy::{GroupKey, Reason},
};
use gauges::FleetCollector;

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

/// Where audit events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditSink {
    /// The log.
    Log,
    /// The webhook.
    Webhook,
}

impl AuditSink {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Webhook => "webhook",
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
    audit_lost: IntCounterVec,
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

    /// An audit event did not reach its sink.
    pub fn audit_lost(&self, sink: AuditSink) {
        self.audit_lost.with_label_values(&[sink.as_str()]).inc();
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

/// Which version runs.
fn build_info() -> Result<Box<dyn Collector>, prometheus::Error> {
    let build = IntGaugeVec::new(
        Opts::new(
            "devicecert_build_info",
            "Always 1; its label says which version runs.",
        ),
        &["version"],
    )?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    Ok(Box::new(build))
}

/// What `/metrics` shows.
pub struct Page(Registry);

impl Page {
    /// A page that says which version runs, and nothing else yet.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(build_info()?)?;
        Ok(Self(registry))
    }

    /// Adds metrics.
    pub fn add(&self, collector: impl Collector + 'static) -> Result<(), prometheus::Error> {
        self.0.register(Box::new(collector))
    }

    /// Everything in the Prometheus text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.gather(), &mut text)?;
        String::from_utf8(text).map_err(|e| prometheus::Error::Msg(e.to_string()))
    }
}

/// The metrics of a process that knows the fleet.
pub struct Metrics {
    /// Where they are shown.
    pub page: Arc<Page>,
    /// The counters.
    pub counters: Counters,
}

impl Metrics {
    /// Makes and registers the counters.
    pub fn new() -> Result<Self, prometheus::Error> {
        let page = Arc::new(Page::new()?);
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
            audit_lost: counter(
                "devicecert_audit_lost_total",
                "Audit events that did not reach the audit log or the webhook, by sink.",
                &["sink"],
            )?,
        };
        // There from the start, so that the first loss is seen as an increase.
        for sink in [AuditSink::Log, AuditSink::Webhook] {
            counters.audit_lost.with_label_values(&[sink.as_str()]);
        }
        for collector in [
            &counters.issued,
            &counters.refused,
            &counters.writes,
            &counters.reconcile_errors,
            &counters.audit_lost,
        ] {
            page.add(collector.clone())?;
        }
        page.add(counters.reconcile_seconds.clone())?;
        Ok(Self { page, counters })
    }

    /// Adds the gauges that are computed from the fleet. At most `soonest` identities of each group get series of their
    /// own: the live ones that expire first.
    pub fn observe(&self, fleet: Arc<Fleet>, soonest: usize) -> Result<(), prometheus::Error> {
        self.page.add(FleetCollector::new(fleet, soonest)?)
    }

    /// Adds the gauge that says whether this replica leads.
    pub fn observe_leadership(&self, leadership: Leadership) -> Result<(), prometheus::Error> {
        self.page.add(leader::LeaderCollector::new(leadership)?)
    }
}
