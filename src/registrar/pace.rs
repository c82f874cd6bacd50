//! How often one device may get a certificate over EST, and one registration authority for others. What holds back a broken-into
//! front end, and a client in a loop.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Rejection, local::LocalRegistrar};
use crate::policy::{Device, Group, Principal, Reason, Refusal};

const HOUR: Duration = Duration::from_secs(3600);
/// How many are remembered before those with nothing to remember are cleared out.
const REMEMBERED: usize = 16 * 1024;

/// When each got its certificates lately: a device by UID, a registration authority by group and subject. Kept by this replica
/// alone and lost when it ends.
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

/// Somebody who has a number of certificates in an hour.
struct Hour {
    key: String,
    limit: i32,
    /// In words.
    who: String,
    /// The field with the limit.
    setting: &'static str,
}

/// The shares of one certificate that is being issued: the device's, and that of a registration authority that asks for it.
pub(super) struct Shares<'a>(Vec<Share<'a>>);

/// One certificate that is being issued. It counts if it was issued, and for nothing if it is dropped.
struct Share<'a> {
    pace: &'a Pace,
    key: String,
    limit: f64,
}

impl Shares<'_> {
    /// The certificate was issued.
    pub(super) fn count(self) {
        self.0.into_iter().for_each(Share::count);
    }
}

impl Share<'_> {
    fn count(self) {
        self.pace.count(&self.key, self.limit, Instant::now());
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let all = &self.pace.spent;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spent) = all.get_mut(&self.key) {
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
    /// Whether there is one left in the hour; the error is after which time there will be.
    fn check(&self, key: &str, limit: f64, now: Instant) -> Result<(), Duration> {
        let per_second = limit / HOUR.as_secs_f64();
        let all = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let level = all
            .get(key)
            .map_or(0.0, |spent| spent.drained(per_second, now));
        if level + 1.0 > limit {
            // Where the limit is none at all, that is never.
            let wait = Duration::try_from_secs_f64((level + 1.0 - limit) / per_second);
            return Err(wait.unwrap_or(HOUR));
        }
        Ok(())
    }

    /// A share of the hour for a certificate that is to be issued, if there is one beside those that are under way.
    fn begin(&self, key: &str, limit: f64, now: Instant) -> Option<Share<'_>> {
        let per_second = limit / HOUR.as_secs_f64();
        let mut all = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut all, key, now);
        let spent = all.entry(key.into()).or_insert(Spent {
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
            key: key.into(),
            limit,
        })
    }

    /// Takes one from the hour.
    fn count(&self, key: &str, limit: f64, now: Instant) {
        let per_second = limit / HOUR.as_secs_f64();
        let mut all = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spent) = all.get_mut(key) {
            spent.level = spent.drained(per_second, now) + 1.0;
            spent.since = now;
            spent.per_second = per_second;
        }
    }
}

/// Clears out those with nothing to remember, each by the pace of its own group.
fn make_room(all: &mut HashMap<String, Spent>, key: &str, now: Instant) {
    if all.len() >= REMEMBERED && !all.contains_key(key) {
        all.retain(|_, spent| spent.under_way > 0 || spent.drained(spent.per_second, now) > 0.0);
    }
}

/// Against whose hours a certificate counts.
fn hours(device: &Device, group: &Group, principal: &Principal) -> Vec<Hour> {
    let mut hours = vec![Hour {
        key: device.uid.clone(),
        limit: group.limits.certificates_per_hour,
        who: device.id.to_string(),
        setting: "limits.certificatesPerHour",
    }];
    if let Principal::RegistrationAuthority { certificate } = principal {
        let subject = certificate.subject();
        let rules = group.registration_authorities.iter();
        let limits = rules
            .filter(|rule| rule.subject.same_text(subject))
            .map(|rule| rule.certificates_per_hour);
        hours.push(Hour {
            key: format!("{}/{}/{subject}", group.namespace, group.name),
            // It may have been taken off the list after it was let in.
            limit: limits.min().unwrap_or(0),
            who: format!("the registration authority {subject}"),
            setting: "authentication.registrationAuthorities[].certificatesPerHour",
        });
    }
    hours
}

impl LocalRegistrar {
    /// Refuses those who have had their certificates for this hour.
    pub(super) fn check_pace(
        &self,
        device: &Device,
        group: &Group,
        principal: &Principal,
    ) -> Result<(), Rejection> {
        hours(device, group, principal)
            .iter()
            .try_for_each(|hour| self.check_hour(hour))
    }

    fn check_hour(&self, hour: &Hour) -> Result<(), Rejection> {
        let limit = f64::from(hour.limit);
        let Err(wait) = self.pace.check(&hour.key, limit, Instant::now()) else {
            return Ok(());
        };
        let message = format!(
            "{} has had {} certificates within an hour, which is the group's {}: wait",
            hour.who, hour.limit, hour.setting
        );
        let mut rejection = Rejection::from(Refusal::new(Reason::RenewedTooOften, message));
        rejection.retry_after = Some(wait);
        Err(rejection)
    }

    /// Shares of the hours for a certificate that is to be issued, unless those hours are spent. What is refused, or answered
    /// again, counts for nothing.
    pub(super) fn begin_pace(
        &self,
        device: &Device,
        group: &Group,
        principal: &Principal,
    ) -> Result<Shares<'_>, Rejection> {
        let begin = |hour: &Hour| {
            let share = self
                .pace
                .begin(&hour.key, f64::from(hour.limit), Instant::now());
            share.ok_or_else(|| {
                // Whether the others get theirs is soon known.
                let message = format!(
                    "{} asks for several certificates at once: try again",
                    hour.who
                );
                Refusal::new(Reason::Conflict, message)
            })
        };
        let hours = hours(device, group, principal);
        hours.iter().try_for_each(|hour| self.check_hour(hour))?;
        let shares: Result<_, Refusal> = hours.iter().map(begin).collect();
        Ok(Shares(shares?))
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
    fn who_may_have_none_is_refused_and_told_when_to_ask_again() {
        let (pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.check("a", 0.0, now), Err(HOUR));
        assert!(pace.begin("a", 0.0, now).is_none());
    }

    #[test]
    fn a_crowd_with_a_quick_pace_makes_nobody_forget_a_slow_one() {
        let (pace, start) = (Pace::default(), Instant::now());
        let one = |key: &str, limit, now| {
            drop(pace.begin(key, limit, now));
            pace.count(key, limit, now);
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
