//! Keys that are being certified now, or were a moment ago: a watch tells of a record a little later than it is written, and
//! meanwhile the same key must not be certified for another device.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Rejection, local::LocalRegistrar};
use crate::{
    pki::{Fingerprint, SubjectPublicKey},
    policy::{self, Device, key_in_use},
};

/// For how long a key is remembered after its record was written. The watch has told of it long before, or no decision is made
/// at all because the API server is away.
const LAG: Duration = Duration::from_secs(60);
/// How many keys are remembered before old ones are cleared out.
const REMEMBERED: usize = 4096;

/// Namespace and name.
type Name = (String, String);

/// By the SHA-256 of the public key. Kept by this replica alone.
#[derive(Default)]
pub(super) struct Reserved(Mutex<Keys>);

#[derive(Default)]
struct Keys {
    keys: HashMap<Fingerprint, Holding>,
    /// At which length old ones are cleared out next.
    clear_at: usize,
}

struct Holding {
    device: Name,
    /// How many requests for it are between decision and record.
    under_way: usize,
    /// When the last of them was done.
    since: Instant,
}

/// Why a key cannot be had.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// Another device is about to get a certificate for it.
    UnderWay,
    /// This device was about to a moment ago, and may have it on record.
    Lately(Name),
}

/// A key that is one device's until this is dropped, and for a while after.
pub(super) struct Reservation<'a> {
    reserved: &'a Reserved,
    key: Fingerprint,
}

impl Reserved {
    /// Reserves a key, if it is no other device's. `stale` is a device that turned out not to have it.
    fn take(
        &self,
        key: Fingerprint,
        device: Name,
        stale: Option<&Name>,
        now: Instant,
    ) -> Result<Reservation<'_>, Taken> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = match all.keys.get(&key) {
            Some(other) if other.device != device => {
                if other.under_way > 0 {
                    return Err(Taken::UnderWay);
                }
                if stale != Some(&other.device) && now.duration_since(other.since) < LAG {
                    return Err(Taken::Lately(other.device.clone()));
                }
                0
            }
            Some(own) => own.under_way,
            None => 0,
        };
        if all.keys.len() >= all.clear_at.max(REMEMBERED) {
            all.keys.retain(|_, holding| {
                holding.under_way > 0 || now.duration_since(holding.since) < LAG
            });
            // Not at each request, where all of them are new.
            all.clear_at = all.keys.len() * 2;
        }
        let holding = Holding {
            device,
            under_way: under_way + 1,
            since: now,
        };
        all.keys.insert(key, holding);
        Ok(Reservation {
            reserved: self,
            key,
        })
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let all = &self.reserved.0;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(holding) = all.keys.get_mut(&self.key) {
            holding.under_way = holding.under_way.saturating_sub(1);
            // Also where the record failed: that may be true of its confirmation only.
            holding.since = Instant::now();
        }
    }
}

impl LocalRegistrar {
    /// Makes sure that no other request has the key certified for another device between the decision and the moment at which
    /// the watch tells of the record. Another replica may: then both have it on record, and neither can renew with it.
    pub(super) async fn reserve(
        &self,
        key: &SubjectPublicKey,
        device: &Device,
    ) -> Result<Reservation<'_>, Rejection> {
        let fingerprint = key.fingerprint();
        let own = (device.namespace.clone(), device.name.clone());
        let take = |stale| {
            self.reserved
                .take(fingerprint, own.clone(), stale, Instant::now())
        };
        let mut taken = take(None);
        if let Err(Taken::Lately(other)) = &taken {
            let object = self.read_device(&other.0, &other.1).await?;
            let status = object.and_then(|object| object.status).unwrap_or_default();
            let text = fingerprint.to_string();
            if !status.key_fingerprints().any(|known| known == text) {
                taken = take(Some(other));
            }
        }
        let reservation = taken.map_err(|_| key_in_use("another device"))?;
        // It may have been recorded, and told by the watch, since the decision.
        let holders = self.fleet().devices_by_key(&fingerprint);
        policy::key_holder(key, device, &holders, &[], None).check()?;
        Ok(reservation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Fingerprint {
        Fingerprint::of(&number.to_be_bytes())
    }

    fn name(name: &str) -> Name {
        ("ns".into(), name.into())
    }

    #[test]
    fn a_key_is_one_devices_while_it_is_certified_and_for_a_while_after() {
        let (reserved, now) = (Reserved::default(), Instant::now());
        let first = reserved.take(key(1), name("a"), None, now).ok().unwrap();
        let again = reserved.take(key(1), name("a"), None, now).ok().unwrap();
        let other = |stale: Option<&Name>, now| {
            let taken = reserved.take(key(1), name("b"), stale, now);
            taken.map(drop)
        };
        drop(first);
        assert_eq!(other(None, now), Err(Taken::UnderWay));
        assert_eq!(other(Some(&name("a")), now), Err(Taken::UnderWay));
        drop(again);
        assert_eq!(other(None, now), Err(Taken::Lately(name("a"))));
        assert_eq!(other(Some(&name("c")), now), Err(Taken::Lately(name("a"))));
        assert_eq!(other(Some(&name("a")), now), Ok(()));
        // Now it is b's.
        let first = reserved.take(key(1), name("a"), None, now).map(drop);
        assert_eq!(first, Err(Taken::Lately(name("b"))));
        let later = Instant::now() + LAG;
        let first = reserved.take(key(1), name("a"), None, later).map(drop);
        assert_eq!(first, Ok(()));
    }

    #[test]
    fn the_same_name_in_another_namespace_is_another_device() {
        let (reserved, now) = (Reserved::default(), Instant::now());
        let _first = reserved.take(key(1), name("a"), None, now).ok().unwrap();
        let there = ("other".to_string(), "a".to_string());
        let other = reserved.take(key(1), there, None, now).map(drop);
        assert_eq!(other, Err(Taken::UnderWay));
    }

    #[test]
    fn old_keys_are_cleared_out_and_those_under_way_are_not() {
        let (reserved, now) = (Reserved::default(), Instant::now());
        let _kept = reserved.take(key(0), name("a"), None, now).ok().unwrap();
        for number in 1..REMEMBERED {
            drop(reserved.take(key(number), name("a"), None, now));
        }
        let later = Instant::now() + LAG;
        drop(reserved.take(key(REMEMBERED), name("a"), None, later));
        assert_eq!(reserved.0.lock().unwrap().keys.len(), 2);
        let other = reserved.take(key(0), name("b"), None, later).map(drop);
        assert_eq!(other, Err(Taken::UnderWay));
    }
}
