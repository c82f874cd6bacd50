//! The metrics of the EST front end, read from its counters at the moment of the scrape.

use std::sync::Arc;

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{est::Counters, policy::Reason, registrar::socket::RemoteRegistrar};

/// Name, help, and where the value is.
type Total = (&'static str, &'static str, fn(&Counters) -> u64);

/// The totals without labels.
const TOTALS: &[Total] = &[
    (
        "devicecert_est_connections_accepted_total",
        "Connections accepted.",
        Counters::connections_accepted,
    ),
    (
        "devicecert_est_connections_dropped_total",
        "Connections dropped because there was no room for them.",
        Counters::connections_dropped,
    ),
    (
        "devicecert_est_connections_evicted_total",
        "Idle connections closed to make room for newer ones.",
        Counters::connections_evicted,
    ),
    (
        "devicecert_est_handshakes_full_total",
        "Full TLS handshakes.",
        Counters::handshakes_full,
    ),
    (
        "devicecert_est_handshakes_resumed_total",
        "TLS handshakes that resumed a session.",
        Counters::handshakes_resumed,
    ),
    (
        "devicecert_est_handshakes_failed_total",
        "TLS handshakes that failed or took too long.",
        Counters::handshakes_failed,
    ),
    (
        "devicecert_est_handshakes_shed_total",
        "TLS handshakes dropped because too many were going on.",
        Counters::handshakes_shed,
    ),
    (
        "devicecert_est_failures_throttled_total",
        "Requests answered with 429 because their source had failed too often.",
        Counters::failures_throttled,
    ),
    (
        "devicecert_est_requests_shed_total",
        "Requests answered with 503 because too many were under way.",
        Counters::requests_shed,
    ),
    (
        "devicecert_est_answered_total",
        "Requests answered with what they asked for.",
        Counters::answered,
    ),
];

/// Reads the counters of a front end, and whether its controller is there.
pub(super) struct FrontMetrics {
    counters: Arc<Counters>,
    registrar: Option<Arc<RemoteRegistrar>>,
    descriptions: Vec<Desc>,
}

impl FrontMetrics {
    /// `registrar` where it is in another process.
    pub fn new(
        counters: Arc<Counters>,
        registrar: Option<Arc<RemoteRegistrar>>,
    ) -> Result<Self, prometheus::Error> {
        let mut metrics = Self {
            counters,
            registrar,
            descriptions: Vec::new(),
        };
        for part in metrics.read()? {
            metrics
                .descriptions
                .extend(part.desc().into_iter().cloned());
        }
        Ok(metrics)
    }

    fn read(&self) -> Result<Vec<Box<dyn Collector>>, prometheus::Error> {
        let mut parts: Vec<Box<dyn Collector>> = Vec::new();
        for (name, help, value) in TOTALS {
            let total = IntCounter::new(*name, *help)?;
            total.inc_by(value(&self.counters));
            parts.push(Box::new(total));
        }
        let refused = IntCounterVec::new(
            Opts::new(
                "devicecert_est_refused_total",
                "Requests refused, by the front end or by the registrar behind it, by reason.",
            ),
            &["reason"],
        )?;
        for &reason in Reason::ALL {
            let count = self.counters.refused(reason);
            if count > 0 {
                refused.with_label_values(&[reason.as_str()]).inc_by(count);
            }
        }
        parts.push(Box::new(refused));
        let open = IntGauge::new("devicecert_est_connections_open", "Connections open now.")?;
        open.set(
            self.counters
                .connections_open()
                .try_into()
                .unwrap_or(i64::MAX),
        );
        parts.push(Box::new(open));
        if let Some(registrar) = &self.registrar {
            let connected = IntGauge::new(
                "devicecert_est_controller_connected",
                "1 if the EST front end has its connection with the controller, else 0.",
            )?;
            connected.set(registrar.is_connected().into());
            parts.push(Box::new(connected));
            let kept = IntGauge::new(
                "devicecert_est_authorities_kept",
                "Labels for which /cacerts is answered even while the controller is away.",
            )?;
            kept.set(registrar.authorities_kept().try_into().unwrap_or(i64::MAX));
            parts.push(Box::new(kept));
        }
        Ok(parts)
    }
}

impl Collector for FrontMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        match self.read() {
            Ok(parts) => parts.iter().flat_map(|part| part.collect()).collect(),
            Err(error) => {
                tracing::error!(%error, "the metrics of the EST front end cannot be computed");
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Page;

    #[test]
    fn every_total_is_there_before_anything_happened() {
        let (registrar, _line, _identity) = RemoteRegistrar::new("nowhere".into(), None);
        let page = Page::new().unwrap();
        let front = FrontMetrics::new(Arc::default(), Some(Arc::new(registrar)));
        page.add(front.unwrap()).unwrap();
        let text = page.render().unwrap();
        for (name, ..) in TOTALS {
            assert!(text.contains(&format!("{name} 0\n")), "{text}");
        }
        assert!(
            text.contains("devicecert_est_controller_connected 0\n"),
            "{text}"
        );
        assert!(text.contains("devicecert_build_info"), "{text}");
    }
}
