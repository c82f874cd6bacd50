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
}

impl Pace {
    /// Takes one from the device's hour, or says after which time there will be one.
    fn take(&self, uid: &str, limit: f64, now: Instant) -> Result<(), Duration> {
        let per_second = limit / HOUR.as_secs_f64();
        let drained = |spent: &Spent| {
            (spent.level - now.duration_since(spent.since).as_secs_f64() * per_second).max(0.0)
        };
        let mut all = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED && !all.contains_key(uid) {
            all.retain(|_, spent| drained(spent) > 0.0);
        }
        let spent = all.entry(uid.into()).or_insert(Spent {
            level: 0.0,
            since: now,
        });
        let level = drained(spent);
        if level + 1.0 > limit {
            return Err(Duration::from_secs_f64((level + 1.0 - limit) / per_second));
        }
        *spent = Spent {
            level: level + 1.0,
            since: now,
        };
        Ok(())
    }
}

impl LocalRegistrar {
    /// Refuses a device that has had its certificates for this hour.
    pub(super) fn check_pace(&self, device: &Device, group: &Group) -> Result<(), Rejection> {
        let limit = group.limits.certificates_per_hour;
        let Err(wait) = self
            .pace
            .take(&device.uid, f64::from(limit), Instant::now())
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_its_number_at_once_and_then_one_each_share_of_the_hour() {
        let (pace, start) = (Pace::default(), Instant::now());
        let minutes = |n: u64| start + Duration::from_secs(60 * n);
        for _ in 0..6 {
            assert_eq!(pace.take("a", 6.0, start), Ok(()));
        }
        let wait = pace.take("a", 6.0, start).unwrap_err();
        assert_eq!(wait.as_secs_f64().round(), 600.0);
        assert_eq!(pace.take("b", 6.0, start), Ok(()));
        assert!(pace.take("a", 6.0, minutes(9)).is_err());
        assert_eq!(pace.take("a", 6.0, minutes(10)), Ok(()));
        assert!(pace.take("a", 6.0, minutes(11)).is_err());
    }
}
