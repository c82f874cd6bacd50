//! Knows when every watch has delivered its first list.
//!
//! The stores' own `wait_until_ready` wakes only the last of several waiters (kube 5.0), and each store's controller is
//! one already; so this is counted here.

use std::sync::Arc;

use tokio::sync::watch;

/// How many watches have not delivered yet; cheap to clone.
#[derive(Clone)]
pub(super) struct Synced {
    missing: Arc<watch::Sender<usize>>,
}

impl Synced {
    pub(super) fn new() -> Self {
        Self {
            missing: Arc::new(watch::Sender::new(0)),
        }
    }

    /// One more watch is expected; the returned function is to be called when it has delivered.
    pub(super) fn expect(&self) -> impl FnMut() + Send + use<> {
        self.missing.send_modify(|missing| *missing += 1);
        let missing = self.missing.clone();
        let mut delivered = false;
        move || {
            if !std::mem::replace(&mut delivered, true) {
                missing.send_modify(|missing| *missing -= 1);
            }
        }
    }

    pub(super) fn is_done(&self) -> bool {
        *self.missing.borrow() == 0
    }

    pub(super) async fn wait(&self) {
        // The sender lives as long as self, so this cannot fail.
        let _ = self
            .missing
            .subscribe()
            .wait_for(|missing| *missing == 0)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn every_waiter_wakes_once_the_last_watch_has_delivered() {
        let sync = Synced::new();
        let (mut first, mut second) = (sync.expect(), sync.expect());
        let waiters: Vec<_> = (0..10)
            .map(|_| {
                let sync = sync.clone();
                tokio::spawn(async move { sync.wait().await })
            })
            .collect();
        first();
        first();
        assert!(!sync.is_done());
        second();
        for waiter in waiters {
            tokio::time::timeout(Duration::from_secs(10), waiter)
                .await
                .unwrap()
                .unwrap();
        }
    }
}
