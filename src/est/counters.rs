//! What the front end counts, for whoever exposes metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::policy::Reason;

/// Totals since the start of the process. Cheap to share and to read.
#[derive(Debug, Default)]
pub struct Counters {
    connections_dropped: AtomicU64,
    handshakes_failed: AtomicU64,
    answered: AtomicU64,
    refused: Refused,
}

#[derive(Debug)]
struct Refused([AtomicU64; Reason::ALL.len()]);

impl Default for Refused {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Counters {
    /// Connections that were dropped because `max_connections` were open.
    pub fn connections_dropped(&self) -> u64 {
        self.connections_dropped.load(Relaxed)
    }

    /// TLS handshakes that failed or took too long.
    pub fn handshakes_failed(&self) -> u64 {
        self.handshakes_failed.load(Relaxed)
    }

    /// Requests that were answered with what they asked for.
    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Requests that were refused for `reason`, by the front end or by the registrar behind it.
    pub fn refused(&self, reason: Reason) -> u64 {
        self.refused.0[reason as usize].load(Relaxed)
    }

    /// Counts one and returns the new total.
    pub(super) fn count_dropped_connection(&self) -> u64 {
        self.connections_dropped.fetch_add(1, Relaxed) + 1
    }

    pub(super) fn count_failed_handshake(&self) {
        self.handshakes_failed.fetch_add(1, Relaxed);
    }

    pub(super) fn count_answer(&self) {
        self.answered.fetch_add(1, Relaxed);
    }

    pub(super) fn count_refusal(&self, reason: Reason) {
        self.refused.0[reason as usize].fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let counters = Counters::default();
        for &reason in Reason::ALL {
            counters.count_refusal(reason);
        }
        for &reason in Reason::ALL {
            assert_eq!(counters.refused(reason), 1, "{reason}");
        }
    }
}
