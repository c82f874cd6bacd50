//! Whether this replica leads, as of the moment of the scrape.

use prometheus::{
    IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::cluster::Leadership;

/// Asks at each scrape: leadership ends without anybody saying so.
pub(super) struct LeaderCollector {
    leadership: Leadership,
    gauge: IntGauge,
}

impl LeaderCollector {
    pub(super) fn new(leadership: Leadership) -> Result<Self, prometheus::Error> {
        let gauge = IntGauge::new(
            "devicecert_leader",
            "1 on the replica that reconciles, 0 on those that stand by.",
        )?;
        Ok(Self { leadership, gauge })
    }
}

impl Collector for LeaderCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(i64::from(self.leadership.is_leading()));
        self.gauge.collect()
    }
}
