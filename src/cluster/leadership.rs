//! Whether this replica leads. Every replica watches, serves and signs; only the leader reconciles.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, stream};
use tokio::{sync::watch, time::sleep_until};

/// How this replica stands, as the election keeps it and controllers ask it. Cheap to clone; all clones say the same.
///
/// Leadership ends by itself at a moment that is fixed when it is given, by a clock that nobody can set: a process that was
/// paused for longer finds the gate closed when it wakes, before any task of it has noticed anything.
#[derive(Clone)]
pub struct Leadership {
    standing: Arc<watch::Sender<Standing>>,
    at_work: Arc<watch::Sender<usize>>,
}

#[derive(Clone, Copy)]
struct Standing {
    phase: Phase,
    /// How often this replica has become the leader.
    term: u64,
}

#[derive(Clone, Copy)]
enum Phase {
    /// There is no election: this is the only replica.
    Alone,
    /// Another replica leads, or none.
    Following,
    /// This one leads until then.
    Leading(Instant),
    /// This one begins nothing, and lets what has begun go on until then.
    Finishing(Instant),
}

impl Leadership {
    /// Of a process that takes part in no election and always leads.
    pub fn alone() -> Self {
        Self::new(Phase::Alone)
    }

    /// Of a replica that does not lead until it is elected.
    pub fn following() -> Self {
        Self::new(Phase::Following)
    }

    fn new(phase: Phase) -> Self {
        Self {
            standing: Arc::new(watch::Sender::new(Standing { phase, term: 0 })),
            at_work: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Whether work may begin now.
    pub fn is_leading(&self) -> bool {
        match self.standing.borrow().phase {
            Phase::Alone => true,
            Phase::Leading(until) => Instant::now() < until,
            Phase::Following | Phase::Finishing(_) => false,
        }
    }

    /// Does some work as the leader. `None`: this replica does not lead, or lost its leadership meanwhile; the work was then
    /// dropped wherever it was, as by a crash.
    pub async fn while_leading<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        // Counted before the look, so that whoever waits for the end of all work cannot miss this.
        let _counted = Counted::new(&self.at_work);
        if !self.is_leading() {
            return None;
        }
        tokio::select! {
            biased;
            () = self.lost() => None,
            done = work => Some(done),
        }
    }

    /// Yields each time that this replica becomes the leader.
    pub fn terms(&self) -> impl Stream<Item = ()> + Send + use<> {
        let ears = (self.clone(), self.standing.subscribe(), 0);
        stream::unfold(ears, |(leadership, mut ear, known)| async move {
            loop {
                let Standing { phase, term } = *ear.borrow_and_update();
                if matches!(phase, Phase::Leading(_)) && term != known {
                    return Some(((), (leadership, ear, term)));
                }
                // `leadership` holds the sender, so this cannot fail.
                ear.changed().await.ok()?;
            }
        })
    }

    /// Waits until this replica begins to lead, or ceases to.
    pub async fn changed(&self) {
        let before = self.is_leading();
        let mut ear = self.standing.subscribe();
        while self.is_leading() == before {
            let until = match ear.borrow_and_update().phase {
                Phase::Leading(until) if before => Some(until),
                _ => None,
            };
            tokio::select! {
                _ = ear.changed() => {}
                () = at(until) => {}
            }
        }
    }

    /// Waits until work that has begun must stop.
    async fn lost(&self) {
        let mut ear = self.standing.subscribe();
        loop {
            let until = match ear.borrow_and_update().phase {
                Phase::Alone => None,
                Phase::Following => return,
                Phase::Leading(until) | Phase::Finishing(until) => Some(until),
            };
            if until.is_some_and(|until| until <= Instant::now()) {
                return;
            }
            tokio::select! {
                _ = ear.changed() => {}
                () = at(until) => {}
            }
        }
    }

    /// This replica leads until then.
    pub(super) fn lead(&self, until: Instant) {
        self.standing.send_modify(|standing| {
            // Whoever looked since the old end found the gate closed, so that is a new term too.
            let goes_on = matches!(standing.phase, Phase::Leading(until) if Instant::now() < until);
            standing.term += u64::from(!goes_on);
            standing.phase = Phase::Leading(until);
        });
    }

    /// This replica does not lead.
    pub(super) fn follow(&self) {
        self.standing
            .send_modify(|standing| standing.phase = Phase::Following);
    }

    /// Begins nothing any more, and waits until what has begun is done: for so long, and not beyond the end of the
    /// leadership.
    pub(super) async fn finish(&self, patience: Duration) {
        self.standing.send_modify(|standing| {
            if let Phase::Leading(until) = standing.phase {
                standing.phase = Phase::Finishing(until.min(Instant::now() + patience));
            }
        });
        // Work ends by itself at that moment, and the sender is our own.
        let _ = self.at_work.subscribe().wait_for(|count| *count == 0).await;
        self.follow();
    }
}

/// Returns at that moment; never, where there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// One piece of work, counted while it lives.
struct Counted<'a>(&'a watch::Sender<usize>);

impl<'a> Counted<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::{FutureExt, StreamExt, poll};
    use tokio::sync::oneshot;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn later(time: Duration) -> Instant {
        Instant::now() + time
    }

    #[tokio::test]
    async fn work_is_done_only_by_the_leader() {
        assert_eq!(
            Leadership::alone().while_leading(async { 1 }).await,
            Some(1)
        );
        let leadership = Leadership::following();
        assert_eq!(leadership.while_leading(async { 1 }).await, None);
        leadership.lead(later(LONG));
        assert_eq!(leadership.while_leading(async { 1 }).await, Some(1));
        leadership.follow();
        assert_eq!(leadership.while_leading(async { 1 }).await, None);
    }

    #[tokio::test]
    async fn the_gate_closes_at_its_time_though_nobody_closes_it() {
        let leadership = Leadership::following();
        leadership.lead(later(Duration::from_millis(30)));
        assert!(leadership.is_leading());
        let never = leadership.while_leading(std::future::pending::<()>());
        assert_eq!(never.await, None);
        assert!(!leadership.is_leading());
    }

    #[tokio::test]
    async fn a_renewal_in_time_goes_on_with_the_term_and_a_late_one_begins_another() {
        let leadership = Leadership::following();
        let mut terms = pin!(leadership.terms());
        assert!(poll!(terms.next()).is_pending());
        leadership.lead(later(LONG));
        assert!(poll!(terms.next()).is_ready());
        leadership.lead(later(LONG));
        assert!(poll!(terms.next()).is_pending());
        // Over, unnoticed, and led again before anybody looked.
        leadership.lead(Instant::now());
        leadership.lead(later(LONG));
        assert!(poll!(terms.next()).is_ready());
        leadership.follow();
        leadership.lead(later(LONG));
        assert!(poll!(terms.next()).is_ready());
        assert!(poll!(terms.next()).is_pending());
    }

    #[tokio::test]
    async fn a_graceful_end_waits_for_work_that_has_begun_and_begins_none() {
        let leadership = Leadership::following();
        leadership.lead(later(LONG));
        let (done, work) = oneshot::channel::<()>();
        let mut working = pin!(leadership.while_leading(work));
        assert!(poll!(&mut working).is_pending());
        let mut finishing = pin!(leadership.finish(LONG));
        assert!(poll!(&mut finishing).is_pending());
        assert_eq!(leadership.while_leading(async {}).await, None);
        done.send(()).unwrap();
        assert_eq!(working.await, Some(Ok(())));
        // The counted work is dropped with its future.
        assert!(finishing.now_or_never().is_some());
    }

    #[tokio::test]
    async fn patience_with_work_has_an_end() {
        let leadership = Leadership::following();
        leadership.lead(later(LONG));
        let endless = leadership.while_leading(std::future::pending::<()>());
        let (left, ()) = tokio::join!(endless, async {
            tokio::task::yield_now().await;
            leadership.finish(Duration::from_millis(20)).await;
        });
        assert_eq!(left, None);
    }

    #[tokio::test]
    async fn whoever_waits_for_a_change_hears_of_both_kinds() {
        let leadership = Leadership::following();
        let mut change = pin!(leadership.changed());
        assert!(poll!(&mut change).is_pending());
        leadership.lead(later(Duration::from_millis(30)));
        change.await;
        leadership.changed().await;
        assert!(!leadership.is_leading());
    }
}
