//! One replica's part in the election, without clock and network: what it has seen of the Lease, and what it does next.
//!
//! The semantics are those of client-go's LeaderElector. Moments are this process's own ([`Instant`], which nobody can set);
//! the times that stand in the Lease are for people to read and decide nothing.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};

/// The times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionTimes {
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

/// How much longer than the retry period a pause may be by chance, so that replicas do not keep step: a fifth.
const JITTER: f64 = 0.2;

impl ElectionTimes {
    /// Checks the three times together. The error is a sentence that names the flags.
    ///
    /// # Errors
    /// If a leader that fails to renew would not have stopped before the others may take over, or could not try at least
    /// twice.
    pub fn new(
        lease_duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<Self, String> {
        let longest = Duration::from_secs(3600);
        if lease_duration > longest {
            return Err("--lease-duration must be at most 1h".into());
        }
        if renew_deadline >= lease_duration {
            return Err(format!(
                "--renew-deadline {}s must be shorter than --lease-duration {}s: a leader has to stop before another takes over",
                renew_deadline.as_secs(),
                lease_duration.as_secs()
            ));
        }
        if retry_period.is_zero() || retry_period.mul_f64(1.0 + JITTER) >= renew_deadline {
            return Err(format!(
                "--retry-period {}s must be at least 1s and, with a fifth added, shorter than --renew-deadline {}s: a leader \
                 has to get a second try",
                retry_period.as_secs(),
                renew_deadline.as_secs()
            ));
        }
        Ok(Self {
            lease_duration,
            renew_deadline,
            retry_period,
        })
    }

    /// The pause between two attempts, with a share from 0 to 1 of the jitter.
    pub(super) fn pause(&self, share: f64) -> Duration {
        self.retry_period.mul_f64(1.0 + JITTER * share)
    }

    /// How long one call may take: after the longest, a leader still has time for another.
    pub(super) fn patience(&self) -> Duration {
        self.renew_deadline / 2
    }
}

/// What to do about the Lease.
#[derive(Debug, PartialEq)]
pub(super) enum Attempt {
    /// Another replica holds it.
    StandBy,
    /// There is none: create it like this.
    Create(LeaseSpec),
    /// Write this over the version that was seen, and over no other.
    Write(LeaseSpec),
}

/// The Lease as it was seen last.
struct Sighting {
    lease: Option<Lease>,
    /// Since when it is like that, as far as this replica knows.
    since: Instant,
}

/// One replica in the election.
pub(super) struct Elector {
    identity: String,
    times: ElectionTimes,
    seen: Option<Sighting>,
    /// Whether `seen` is the answer to the last call, and that call had an answer.
    is_certain: bool,
    lead_until: Option<Instant>,
}

impl Elector {
    pub(super) fn new(identity: String, times: ElectionTimes) -> Self {
        Self {
            identity,
            times,
            seen: None,
            is_certain: false,
            lead_until: None,
        }
    }

    /// Until when this replica leads; `None` while it does not.
    pub(super) fn lead_until(&self, now: Instant) -> Option<Instant> {
        self.lead_until.filter(|until| now < *until)
    }

    /// The Lease whose version a write rests on.
    pub(super) fn seen(&self) -> Option<&Lease> {
        self.seen.as_ref()?.lease.as_ref()
    }

    /// Whether the Lease must be read before the next decision. A leader writes over the version that it wrote itself.
    pub(super) fn must_read(&self, now: Instant) -> bool {
        !self.is_certain || self.lead_until(now).is_none()
    }

    /// The Lease was read.
    pub(super) fn saw(&mut self, lease: Option<Lease>, now: Instant) {
        let is_mine = holder(lease.as_ref()) == Some(&self.identity);
        if !is_mine {
            // Whatever became of it: it is no longer ours.
            self.lead_until = None;
        }
        let since = match &self.seen {
            Some(seen) if spec(seen.lease.as_ref()) == spec(lease.as_ref()) => seen.since,
            _ => now,
        };
        self.seen = Some(Sighting { lease, since });
        self.is_certain = true;
    }

    /// A write was confirmed. It counts from the moment before it was sent, since nobody knows when it was carried out.
    pub(super) fn wrote(&mut self, lease: Lease, sent: Instant) {
        self.seen = Some(Sighting {
            lease: Some(lease),
            since: sent,
        });
        self.is_certain = true;
        self.lead_until = Some(sent + self.times.renew_deadline);
    }

    /// A call failed, or had no answer: a write may have been carried out, or may still be.
    pub(super) fn failed(&mut self) {
        self.is_certain = false;
    }

    /// What to do now. `clock` is the time that people read.
    pub(super) fn decide(&self, now: Instant, clock: Timestamp) -> Attempt {
        let Some(Sighting {
            lease: Some(lease),
            since,
        }) = &self.seen
        else {
            return Attempt::Create(self.claim(0, clock, clock));
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let clock = other_than(spec.renew_time.as_ref(), clock);
        let transitions = spec.lease_transitions.unwrap_or(0);
        match holder(Some(lease)) {
            // Also where our own first write had no answer.
            Some(holder) if *holder == self.identity => {
                let acquired = spec.acquire_time.map_or(clock, |time| time.0);
                Attempt::Write(self.claim(transitions, acquired, clock))
            }
            Some(_) if now < *since + validity(&spec, self.times.lease_duration) => {
                Attempt::StandBy
            }
            _ => Attempt::Write(self.claim(transitions.saturating_add(1), clock, clock)),
        }
    }

    /// How to give the Lease back; `None` where it is not ours.
    pub(super) fn release(&self, clock: Timestamp) -> Option<LeaseSpec> {
        let spec = self.seen()?.spec.clone()?;
        (holder(self.seen()) == Some(&self.identity)).then(|| LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            ..self.claim(spec.lease_transitions.unwrap_or(0), clock, clock)
        })
    }

    fn claim(&self, transitions: i32, acquired: Timestamp, clock: Timestamp) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            // At most an hour, so this cannot fail.
            lease_duration_seconds: i32::try_from(self.times.lease_duration.as_secs()).ok(),
            lease_transitions: Some(transitions),
            acquire_time: Some(MicroTime(acquired)),
            renew_time: Some(MicroTime(clock)),
            ..LeaseSpec::default()
        }
    }
}

/// This time, or the next microsecond where the Lease says just this already: a renewal under a clock that stands still has
/// to be a change that others see.
fn other_than(shown: Option<&MicroTime>, clock: Timestamp) -> Timestamp {
    match shown {
        Some(shown) if shown.0.as_microsecond() == clock.as_microsecond() => {
            let next = Timestamp::from_microsecond(clock.as_microsecond() + 1);
            // Fails only in the last microsecond that there is.
            next.unwrap_or(clock)
        }
        _ => clock,
    }
}

/// For how long a Lease counts after its last change: what its holder wrote, within reason.
fn validity(spec: &LeaseSpec, ours: Duration) -> Duration {
    match spec.lease_duration_seconds.map(u64::try_from) {
        Some(Ok(seconds @ 1..=3600)) => Duration::from_secs(seconds),
        _ => ours,
    }
}

fn spec(lease: Option<&Lease>) -> Option<&LeaseSpec> {
    lease?.spec.as_ref()
}

fn holder(lease: Option<&Lease>) -> Option<&String> {
    spec(lease)?
        .holder_identity
        .as_ref()
        .filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests;
