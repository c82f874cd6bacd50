//! How often one device may get a certificate over EST. What holds back a broken-into front end, and a client in a loop.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Rejection, local::LocalRegistrar};
use crate::policy::{Device, Group, Reason, Refusal};

const HOUR: Duration = Duration::from_secs(3600);
/// How many devices are remembered before those with nothing to remember are cleared out.
const REMEMBERED: usize = 16 * 1024;

/// When each device got its certificates lately, by UID. Kept by this replica alone and lost when it ends.
#[derive(Default)]
pub(super) struct Pace {
    spent: Mutex<HashMap<String, Spent>>,
}

/// A bucket that fills by `limit` in an hour and holds as many.
struct Spent {
    level: f64,
    since: Instant,
    /// Certificates that are being issued and not yet counted.
    under_way: u32,
    /// How fast it drains, which is the group's.
    per_second: f64,
}

/// One certificate that is being issued. It counts if it was issued, and for nothing if it is dropped.
pub(super) struct Share<'a> {
    pace: &'a Pace,
    uid: String,
    limit: f64,
}

impl Share<'_> {
    /// The certificate was issued.
    pub(super) fn count(self) {
        self.pace.count(&self.uid, self.limit, Instant::now());
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let all = &self.pace.spent;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spent) = all.get_mut(&self.uid) {
            spent.under_way = spent.under_way.saturating_sub(1);
        }
    }
}

impl Spent {
    fn drained(&self, per_second: f64, now: Instant) -> f64 {
        (self.level - now.duration_since(self.since).as_secs_f64() * per_second).max(0.0)
    }
}

impl Pace {
    /// Whether there is one left in the device's hour; the error is after which time there will be.
    fn check(&self, uid: &str, limit: f64, now: Instant) -> Result<(), Duration> {
        let per_second = limit / HOUR.as_secs_f64();
        let all = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let level = all
            .get(uid)
            .map_or(0.0, |spent| spent.drained(per_second, now));
        if level + 1.0 > limit {
            return Err(Duration::from_secs_f64((level + 1.0 - limit) / per_second));
        }
        Ok(())
    }

    /// A share of the device's hour for a certificate that is to be issued, if there is one beside those that are under way.
    fn begin(&self, uid: &str, limit: f64, now: Instant) -> Option<Share<'_>> {
        let per_second = limit / HOUR.as_secs_f64();
        let mut all = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut all, uid, now);
        let spent = all.entry(uid.into()).or_insert(Spent {
            level: 0.0,
            since: now,
            under_way: 0,
            per_second,
        });
        if spent.drained(per_second, now) + f64::from(spent.under_way) + 1.0 > limit {
            return None;
        }
        spent.under_way += 1;
        Some(Share {
            pace: self,
            uid: uid.into(),
            limit,
        })
    }

    /// Takes one from the device's hour.
    fn count(&self, uid: &str, limit: f64, now: Instant) {
        let per_second = limit / HOUR.as_secs_f64();
        let mut all = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spent) = all.get_mut(uid) {
            spent.level = spent.drained(per_second, now) + 1.0;
            spent.since = now;
            spent.per_second = per_second;
        }
    }
}

/// Clears out those with nothing to remember, each by the pace of its own group.
fn make_room(all: &mut HashMap<String, Spent>, uid: &str, now: Instant) {
    if all.len() >= REMEMBERED && !all.contains_key(uid) {
        all.retain(|_, spent| spent.under_way > 0 || spent.drained(spent.per_second, now) > 0.0);
    }
}

impl LocalRegistrar {
    /// Refuses a device that has had its certificates for this hour.
    pub(super) fn check_pace(&self, device: &Device, group: &Group) -> Result<(), Rejection> {
        let limit = group.limits.certificates_per_hour;
        let Err(wait) = self
            .pace
            .check(&device.uid, f64::from(limit), Instant::now())
        else {
            return Ok(());
        };
        let message = format!(
            "{} has had {limit} certificates within an hour, which is the group's limits.certificatesPerHour: wait",
            device.id
        );
        let mut rejection = Rejection::from(Refusal::new(Reason::RenewedTooOften, message));
        rejection.retry_after = Some(wait);
        Err(rejection)
    }

    /// A share of the device's hour for a certificate that is to be issued. What is refused, or answered again, counts for
    /// nothing.
    pub(super) fn begin_pace(&self, device: &Device, group: &Group) -> Result<Share<'_>, Refusal> {
        let limit = f64::from(group.limits.certificates_per_hour);
        let share = self.pace.begin(&device.uid, limit, Instant::now());
        share.ok_or_else(|| {
            // Whether the others get theirs is soon known.
            let message = format!(
                "{} asks for several certificates at once: try again",
                device.id
            );
            Refusal::new(Reason::Conflict, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_its_number_at_once_and_then_one_each_share_of_the_hour() {
        let (pace, start) = (Pace::default(), Instant::now());
        let minutes = |n: u64| start + Duration::from_secs(60 * n);
        for _ in 0..6 {
            assert_eq!(pace.check("a", 6.0, start), Ok(()));
            pace.begin("a", 6.0, start).unwrap();
            pace.count("a", 6.0, start);
        }
        let wait = pace.check("a", 6.0, start).unwrap_err();
        assert_eq!(wait.as_secs_f64().round(), 600.0);
        assert_eq!(pace.check("b", 6.0, start), Ok(()));
        assert!(pace.check("a", 6.0, minutes(9)).is_err());
        // Asking does not count.
        assert_eq!(pace.check("a", 6.0, minutes(10)), Ok(()));
        assert_eq!(pace.check("a", 6.0, minutes(10)), Ok(()));
        pace.count("a", 6.0, minutes(10));
        assert!(pace.check("a", 6.0, minutes(11)).is_err());
    }

    #[test]
    fn a_crowd_with_a_quick_pace_makes_nobody_forget_a_slow_one() {
        let (pace, start) = (Pace::default(), Instant::now());
        let one = |uid: &str, limit, now| {
            drop(pace.begin(uid, limit, now));
            pace.count(uid, limit, now);
        };
        one("slow", 1.0, start);
        let later = start + Duration::from_secs(60);
        for n in 0..REMEMBERED {
            one(&n.to_string(), 3600.0, later);
        }
        assert!(pace.check("slow", 1.0, later).is_err());
    }

    #[test]
    fn of_those_that_are_under_way_at_once_no_more_are_issued_than_the_hour_has() {
        let (pace, now) = (Pace::default(), Instant::now());
        let mut shares: Vec<_> = (0..10).filter_map(|_| pace.begin("a", 6.0, now)).collect();
        assert_eq!(shares.len(), 6);
        // What failed leaves its share to another.
        shares.pop();
        shares.extend(pace.begin("a", 6.0, now));
        assert!(shares.len() == 6 && pace.begin("a", 6.0, now).is_none());
        for share in shares {
            share.count();
        }
        assert!(pace.check("a", 6.0, now).is_err() && pace.begin("a", 6.0, now).is_none());
    }
}
