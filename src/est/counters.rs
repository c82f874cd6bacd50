//! What the front end counts, for whoever exposes metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::policy::Reason;

/// Totals since the start of the process, and how many connections are open. Cheap to share and to read.
#[derive(Debug, Default)]
pub struct Counters {
    events: [AtomicU64; Event::COUNT],
    refused: Refused,
}

/// What is counted besides refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Opened,
    Closed,
    Dropped,
    Evicted,
    HandshakeFull,
    HandshakeResumed,
    HandshakeFailed,
    HandshakeShed,
    Throttled,
    Shed,
    Answered,
}

impl Event {
    const COUNT: usize = Event::Answered as usize + 1;
}

#[derive(Debug)]
struct Refused([AtomicU64; Reason::ALL.len()]);

impl Default for Refused {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Counters {
    /// Connections that are open now, handshakes included.
    pub fn connections_open(&self) -> u64 {
        // Closed first: a connection that closes in between is then counted as open, never below zero.
        let closed = self.total(Event::Closed);
        self.total(Event::Opened).saturating_sub(closed)
    }

    /// Connections that were accepted and not dropped at once.
    pub fn connections_accepted(&self) -> u64 {
        self.total(Event::Opened)
    }

    /// Connections that were dropped at once because there was no room for them.
    pub fn connections_dropped(&self) -> u64 {
        self.total(Event::Dropped)
    }

    /// Connections without a request that were closed to make room for others.
    pub fn connections_evicted(&self) -> u64 {
        self.total(Event::Evicted)
    }

    /// TLS handshakes that succeeded with a key exchange of their own.
    pub fn handshakes_full(&self) -> u64 {
        self.total(Event::HandshakeFull)
    }

    /// TLS handshakes that resumed a session.
    pub fn handshakes_resumed(&self) -> u64 {
        self.total(Event::HandshakeResumed)
    }

    /// TLS handshakes that failed or took too long.
    pub fn handshakes_failed(&self) -> u64 {
        self.total(Event::HandshakeFailed)
    }

    /// TLS handshakes that were given up before they began, because too many were under way.
    pub fn handshakes_shed(&self) -> u64 {
        self.total(Event::HandshakeShed)
    }

    /// Requests that were answered 429 because their source had failed too often.
    pub fn failures_throttled(&self) -> u64 {
        self.total(Event::Throttled)
    }

    /// Requests that were answered 503 because too many were under way.
    pub fn requests_shed(&self) -> u64 {
        self.total(Event::Shed)
    }

    /// Requests that were answered with what they asked for.
    pub fn answered(&self) -> u64 {
        self.total(Event::Answered)
    }

    /// Requests that were refused for `reason`, by the front end or by the registrar behind it; also those that wait for
    /// a person ([`Reason::PendingApproval`]).
    pub fn refused(&self, reason: Reason) -> u64 {
        self.refused.0[reason as usize].load(Relaxed)
    }

    /// Counts one and returns the new total.
    pub(super) fn count(&self, event: Event) -> u64 {
        self.events[event as usize].fetch_add(1, Relaxed) + 1
    }

    pub(super) fn count_refusal(&self, reason: Reason) {
        self.refused.0[reason as usize].fetch_add(1, Relaxed);
    }

    fn total(&self, event: Event) -> u64 {
        self.events[event as usize].load(Relaxed)
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

    #[test]
    fn open_connections_are_those_that_were_not_closed() {
        let counters = Counters::default();
        counters.count(Event::Opened);
        assert_eq!(counters.count(Event::Opened), 2);
        counters.count(Event::Closed);
        assert_eq!(
            (counters.connections_open(), counters.connections_accepted()),
            (1, 2)
        );
    }
}
