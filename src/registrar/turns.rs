//! Whose key is made next. A key of RSA-4096 takes a core for seconds, so few are made at the same time, and of one group one:
//! whoever floods one group must not hold up the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::policy::{GroupKey, Reason, Refusal};

/// How many keys are made at the same time.
const AT_ONCE: usize = 2;
/// How long others wait for their turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many groups are remembered before those are forgotten that make no key now.
const REMEMBERED: usize = 1024;

/// The turns of all groups.
pub(super) struct Turns {
    all: Semaphore,
    groups: Mutex<HashMap<GroupKey, Arc<Semaphore>>>,
}

/// A key may be made while this is held.
pub(super) struct Turn<'a> {
    _own: OwnedSemaphorePermit,
    _all: SemaphorePermit<'a>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            all: Semaphore::new(AT_ONCE),
            groups: Mutex::default(),
        }
    }
}

impl Turns {
    /// Waits for a turn of this group.
    pub(super) async fn take(&self, group: &GroupKey) -> Result<Turn<'_>, Refusal> {
        let busy = || {
            Refusal::new(
                Reason::Overloaded,
                "too many keys are being made: try again soon",
            )
        };
        let turn = async {
            let own = self.of(group).acquire_owned().await.map_err(|_| busy())?;
            let all = self.all.acquire().await.map_err(|_| busy())?;
            Ok(Turn {
                _own: own,
                _all: all,
            })
        };
        timeout(PATIENCE, turn).await.map_err(|_| busy())?
    }

    fn of(&self, group: &GroupKey) -> Arc<Semaphore> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.len() >= REMEMBERED {
            groups.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        let own = groups
            .entry(group.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(1)));
        own.clone()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn group(name: &str) -> GroupKey {
        GroupKey {
            namespace: "default".into(),
            name: name.into(),
        }
    }

    #[tokio::test]
    async fn many_who_wait_in_one_group_do_not_hold_up_another() {
        let turns = Turns::default();
        let first = turns.take(&group("a")).await.unwrap();
        let mut waiting: Vec<_> = (0..50)
            .map(|_| Box::pin(async { turns.take(&group("a")).await.map(drop) }))
            .collect();
        for one in &mut waiting {
            assert!(one.now_or_never().is_none());
        }
        let other = turns.take(&group("b")).now_or_never();
        let other = other.expect("it need not wait").unwrap();
        let third = group("c");
        let mut third = Box::pin(turns.take(&third));
        assert!((&mut third).now_or_never().is_none(), "both are taken");
        drop(other);
        assert!(third.now_or_never().expect("one is free").is_ok());
        drop(first);
        for one in waiting {
            one.await.unwrap();
        }
    }
}
