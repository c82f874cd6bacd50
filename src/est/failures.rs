//! Failures per source: who fails too often is not heard for a while. Nobody is locked out by name.
//!
//! Each source has a budget for each [`Kind`] of failure, which refills steadily. Only a failure uses it, and an empty
//! one stops only requests of that kind: guessing passwords behind a NAT does not keep a neighbour's certificate from
//! renewing. The table is bounded: of sources that no longer fail it forgets the longest quiet ones.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{limits::Limits, source::Source};
use crate::policy::Reason;

/// Sources in one of the two generations of the table.
const MAX_SOURCES: usize = 8192;

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The request could not be understood, or there was none because the handshake failed.
    Wire,
    /// A password or a token was wrong.
    Secret,
    /// A client certificate was not accepted.
    Certificate,
}

impl Kind {
    /// The kind of failure that a refusal is. Most refusals are none: they tell a known device of a rule, or they are
    /// our own fault. Nor is it a failure to send no credentials at first: some clients always begin so.
    pub fn of(reason: Reason) -> Option<Self> {
        use Reason::*;
        match reason {
            MalformedRequest | InvalidCsr | TooLarge => Some(Kind::Wire),
            WrongPassword | WrongToken | TokenExpired | TokenConsumed => Some(Kind::Secret),
            UnknownCertificate
            | CertificateExpired
            | BootstrapDenied
            | RegistrationAuthorityNotListed => Some(Kind::Certificate),
            _ => None,
        }
    }
}

/// The budgets of all sources.
pub(super) struct Failures {
    /// How long one failure takes to be forgiven. Zero: failures are not counted.
    interval: Duration,
    /// How long a spent budget takes to be full again.
    capacity: Duration,
    generations: Mutex<Generations>,
}

/// Sources that failed of late, and those that did before them. Each is bounded, so forgetting costs nothing.
#[derive(Default)]
struct Generations {
    recent: HashMap<Source, Debts>,
    older: HashMap<Source, Debts>,
}

/// When the budget of each kind will be full again.
type Debts = [Option<Instant>; 3];

impl Failures {
    /// Budgets of the size and pace that `limits` say.
    pub fn new(limits: &Limits) -> Self {
        let interval = match limits.failures_per_minute {
            0 => Duration::ZERO,
            rate => Duration::from_secs(60) / rate,
        };
        Self {
            interval,
            capacity: interval * limits.failure_burst.max(1),
            generations: Mutex::default(),
        }
    }

    /// How long a source must wait before it may risk another failure of this kind; `None`: not at all.
    pub fn wait(&self, source: Source, kind: Kind, now: Instant) -> Option<Duration> {
        let full_again = self.locked(|table| table.debts(source)[kind as usize])?;
        let debt = full_again.saturating_duration_since(now);
        let over = (debt + self.interval).saturating_sub(self.capacity);
        (!over.is_zero()).then_some(over)
    }

    /// Notes a failure. Requests that were let in side by side can overdraw a budget, at most by as much as it holds.
    pub fn note(&self, source: Source, kind: Kind, now: Instant) {
        if self.interval.is_zero() {
            return;
        }
        self.locked(|table| {
            let mut debts = table.debts(source);
            let debt = &mut debts[kind as usize];
            let from = debt.map_or(now, |full_again| full_again.max(now));
            *debt = Some((from + self.interval).min(now + 2 * self.capacity));
            table.keep(source, debts);
        });
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Generations) -> T) -> T {
        work(
            &mut self
                .generations
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl Generations {
    fn debts(&self, source: Source) -> Debts {
        let found = self.recent.get(&source).or_else(|| self.older.get(&source));
        found.copied().unwrap_or_default()
    }

    fn keep(&mut self, source: Source, debts: Debts) {
        if self.recent.len() >= MAX_SOURCES && !self.recent.contains_key(&source) {
            self.older = mem::take(&mut self.recent);
        }
        self.recent.insert(source, debts);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failures() -> Failures {
        Failures::new(&Limits {
            failures_per_minute: 60,
            failure_burst: 3,
            ..Limits::default()
        })
    }

    fn source(number: usize) -> Source {
        let bits = u32::try_from(number).unwrap();
        Source::from(IpAddr::from(Ipv4Addr::from_bits(bits)))
    }

    #[test]
    fn a_budget_is_spent_by_failures_and_refills() {
        let (failures, now) = (failures(), Instant::now());
        let wait = |after| failures.wait(source(1), Kind::Secret, now + after);
        for _ in 0..3 {
            assert_eq!(wait(Duration::ZERO), None);
            failures.note(source(1), Kind::Secret, now);
        }
        assert_eq!(wait(Duration::ZERO), Some(SECOND));
        assert_eq!(wait(SECOND / 2), Some(SECOND / 2));
        assert_eq!(wait(SECOND), None);
        failures.note(source(1), Kind::Secret, now + SECOND);
        assert_eq!(wait(SECOND), Some(SECOND));
        assert_eq!(wait(10 * SECOND), None);
    }

    #[test]
    fn other_sources_and_other_kinds_have_budgets_of_their_own() {
        let (failures, now) = (failures(), Instant::now());
        for _ in 0..10 {
            failures.note(source(1), Kind::Secret, now);
        }
        assert!(failures.wait(source(1), Kind::Secret, now).is_some());
        assert_eq!(failures.wait(source(1), Kind::Certificate, now), None);
        assert_eq!(failures.wait(source(1), Kind::Wire, now), None);
        assert_eq!(failures.wait(source(2), Kind::Secret, now), None);
    }

    #[test]
    fn a_debt_is_bounded() {
        let (failures, now) = (failures(), Instant::now());
        for _ in 0..1000 {
            failures.note(source(1), Kind::Secret, now);
        }
        assert_eq!(
            failures.wait(source(1), Kind::Secret, now),
            Some(4 * SECOND)
        );
    }

    #[test]
    fn a_rate_of_zero_counts_nothing() {
        let failures = Failures::new(&Limits {
            failures_per_minute: 0,
            ..Limits::default()
        });
        let now = Instant::now();
        for _ in 0..1000 {
            failures.note(source(1), Kind::Secret, now);
        }
        assert_eq!(failures.wait(source(1), Kind::Secret, now), None);
    }

    #[test]
    fn the_table_is_bounded_and_who_keeps_failing_stays_in_it() {
        let (failures, now) = (failures(), Instant::now());
        for number in 0..5 * MAX_SOURCES {
            failures.note(source(number + 1), Kind::Secret, now);
            if number % 1000 == 0 {
                failures.note(source(0), Kind::Secret, now);
            }
        }
        let table = failures.generations.lock().unwrap();
        assert!(table.recent.len() <= MAX_SOURCES && table.older.len() <= MAX_SOURCES);
        drop(table);
        assert!(failures.wait(source(0), Kind::Secret, now).is_some());
    }
}
