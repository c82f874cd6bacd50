//! What the controller remembers between looks at a device: which version it wrote last, and which version of the Secret
//! it has read. All of it can be lost at any time.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::{api::DeviceIdentity, cluster};

/// Over how long the contents of all Secrets are read once after a start.
const SWEEP: Duration = Duration::from_secs(3600);

/// The longest pause between two attempts to write a Secret.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What is remembered of each device, by UID.
#[derive(Default)]
pub struct Memory {
    devices: Mutex<HashMap<String, Remembered>>,
}

#[derive(Default)]
struct Remembered {
    /// The resourceVersion that we wrote last and have not seen in the watch yet, and since when.
    written: Option<(u64, Instant)>,
    /// The version of the Secret that is believed to be intact, and until when that is believed without a read.
    secret: Option<(String, Option<Timestamp>)>,
    /// How often in a row the Secret could not be written, and since when.
    failures: Option<(u32, Instant)>,
}

impl Memory {
    fn devices(&self) -> MutexGuard<'_, HashMap<String, Remembered>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether we have written a newer version of this object than this one. (Resource versions of one resource can be
    /// compared as numbers since Kubernetes 1.35; where they are none, nothing is ever outdated.)
    pub(super) fn is_outdated(&self, object: &DeviceIdentity) -> bool {
        let (Some(uid), Some(seen)) = (&object.metadata.uid, version(object)) else {
            return false;
        };
        let mut devices = self.devices();
        let Some(remembered) = devices.get_mut(uid) else {
            return false;
        };
        match remembered.written {
            // A watch that is far behind must not keep us from acting; preconditions protect the write then.
            Some((written, since))
                if seen < written && since.elapsed() < Duration::from_secs(30) =>
            {
                true
            }
            _ => {
                remembered.written = None;
                false
            }
        }
    }

    /// This version was written by us.
    pub(super) fn wrote(&self, object: &DeviceIdentity) {
        if let (Some(uid), Some(version)) = (&object.metadata.uid, version(object)) {
            self.devices().entry(uid.clone()).or_default().written =
                Some((version, Instant::now()));
        }
    }

    /// Whether this version of the Secret is believed to be intact. The first version that is seen after a start is,
    /// until its turn in the sweep comes; a version that appears later must be read.
    pub(super) fn trusts(&self, uid: &str, secret_version: Option<&str>) -> bool {
        let Some(seen) = secret_version else {
            return false;
        };
        let now = cluster::now();
        let mut devices = self.devices();
        let remembered = devices.entry(uid.into()).or_default();
        match &remembered.secret {
            None => {
                remembered.secret = Some((seen.into(), Some(sweep_time(uid, now))));
                true
            }
            Some((known, until)) => known == seen && until.is_none_or(|until| now < until),
        }
    }

    /// This version of the Secret was read, or written, and is intact.
    pub(super) fn verified(&self, uid: &str, secret_version: Option<&str>) {
        if let Some(version) = secret_version {
            self.devices().entry(uid.into()).or_default().secret = Some((version.into(), None));
        }
    }

    /// The Secret could not be written.
    pub(super) fn secret_failed(&self, uid: &str) {
        let mut devices = self.devices();
        let remembered = devices.entry(uid.into()).or_default();
        let failures = remembered.failures.map_or(0, |(failures, _)| failures);
        remembered.failures = Some((failures.saturating_add(1), Instant::now()));
    }

    /// The Secret was written.
    pub(super) fn secret_written(&self, uid: &str) {
        if let Some(remembered) = self.devices().get_mut(uid) {
            remembered.failures = None;
        }
    }

    /// How long the next attempt at the Secret must still wait: 2 s after the first failure, twice as long after each
    /// further one, at most ten minutes.
    pub(super) fn must_wait(&self, uid: &str) -> Option<Duration> {
        let (failures, since) = self.devices().get(uid)?.failures?;
        let pause = Duration::from_secs(1 << failures.min(9)).min(LONGEST_PAUSE);
        pause.checked_sub(since.elapsed())
    }

    /// Forgets the devices that are not among these UIDs.
    pub(in crate::controllers) fn retain(&self, uids: &HashSet<&str>) {
        self.devices().retain(|uid, _| uids.contains(uid.as_str()));
    }

    /// When the Secret of this device is to be read, if its turn is still to come.
    pub(super) fn sweep_time(&self, object: &DeviceIdentity) -> Option<Timestamp> {
        self.devices()
            .get(object.metadata.uid.as_deref()?)?
            .secret
            .as_ref()?
            .1
    }
}

fn version(object: &DeviceIdentity) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

fn sweep_time(uid: &str, now: Timestamp) -> Timestamp {
    let spread = uid.bytes().fold(17_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    let wait = SignedDuration::from_millis((spread % SWEEP.as_millis() as u64) as i64);
    now.checked_add(wait).unwrap_or(now)
}
