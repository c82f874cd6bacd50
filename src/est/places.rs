//! Room for connections: how many may be open, in all and from one source, and who leaves when there is none.
//!
//! Where there is no room, the connection that has waited longest without a request leaves, so that those who do nothing
//! cannot keep out those who want something. A connection at work is never ended for another.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::source::Source;

/// All connections that are open.
pub(super) struct Places {
    max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    connections: usize,
    sources: HashMap<Source, OfSource>,
    /// Those that wait for a request, longest first.
    resting: BTreeMap<Turn, (Source, Arc<Notify>)>,
    last_turn: Turn,
}

#[derive(Default)]
struct OfSource {
    connections: usize,
    resting: BTreeSet<Turn>,
}

/// Counts up each time that a connection begins to wait.
type Turn = u64;

/// The place of one connection, given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    source: Source,
    leave: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
enum State {
    Working,
    Resting(Turn),
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All places are taken by connections at work.
    Everywhere,
    /// The source has as many connections at work as it may have.
    ForSource,
}

/// Somebody had to leave, or nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// There was room.
    Free,
    /// Another connection was asked to leave.
    ByEviction,
}

impl Places {
    /// Room for `max` connections.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            open: Mutex::default(),
        })
    }

    /// Takes a place for a connection from `source`, which may have `per_source` of them (0: any number). The connection
    /// counts as resting until it says that it works.
    pub fn enter(
        self: &Arc<Self>,
        source: Source,
        per_source: usize,
    ) -> Result<(Place, Made), Full> {
        let mut open = self.lock();
        let mut made = Made::Free;
        let of_source = open.sources.get(&source).map_or(0, |of| of.connections);
        if per_source > 0 && of_source >= per_source {
            let longest = open.sources[&source].resting.first().copied();
            open.evict(longest.ok_or(Full::ForSource)?);
            made = Made::ByEviction;
        }
        if open.connections >= self.max {
            let longest = open.resting.keys().next().copied();
            open.evict(longest.ok_or(Full::Everywhere)?);
            made = Made::ByEviction;
        }
        let leave = Arc::new(Notify::new());
        open.connections += 1;
        open.sources.entry(source).or_default().connections += 1;
        let turn = open.rest(source, &leave);
        drop(open);
        let place = Place {
            places: Arc::clone(self),
            source,
            leave,
            state: Mutex::new(State::Resting(turn)),
        };
        Ok((place, made))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn rest(&mut self, source: Source, leave: &Arc<Notify>) -> Turn {
        self.last_turn += 1;
        let turn = self.last_turn;
        self.resting.insert(turn, (source, Arc::clone(leave)));
        self.sources.entry(source).or_default().resting.insert(turn);
        turn
    }

    /// Takes a connection out of those that rest. `None`: it was asked to leave before.
    fn rouse(&mut self, turn: Turn) -> Option<Arc<Notify>> {
        let (source, leave) = self.resting.remove(&turn)?;
        if let Some(of) = self.sources.get_mut(&source) {
            of.resting.remove(&turn);
        }
        Some(leave)
    }

    fn evict(&mut self, turn: Turn) {
        let source = self.resting.get(&turn).map(|(source, _)| *source);
        if let (Some(source), Some(leave)) = (source, self.rouse(turn)) {
            self.leave(source);
            leave.notify_one();
        }
    }

    fn leave(&mut self, source: Source) {
        self.connections -= 1;
        if let Some(of) = self.sources.get_mut(&source) {
            of.connections -= 1;
            if of.connections == 0 {
                self.sources.remove(&source);
            }
        }
    }
}

impl Place {
    /// The connection has a request. `Err` if it was asked to leave before that: then it must not begin.
    pub fn work(&self) -> Result<(), Evicted> {
        let mut state = self.state();
        if let State::Resting(turn) = *state {
            self.places.lock().rouse(turn).ok_or(Evicted)?;
            *state = State::Working;
        }
        Ok(())
    }

    /// The connection waits for a request, from now on.
    pub fn rest(&self) {
        let mut state = self.state();
        let mut open = self.places.lock();
        let resumed = match *state {
            State::Working => true,
            State::Resting(turn) => open.rouse(turn).is_some(),
        };
        if resumed {
            *state = State::Resting(open.rest(self.source, &self.leave));
        }
    }

    /// Resolves when the connection must leave.
    pub async fn evicted(&self) {
        self.leave.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let state = *self.state();
        let mut open = self.places.lock();
        let held = match state {
            State::Working => true,
            State::Resting(turn) => open.rouse(turn).is_some(),
        };
        if held {
            open.leave(self.source);
        }
    }
}

/// The connection was asked to leave.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("closed to make room for others")]
pub(super) struct Evicted;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use futures::FutureExt;

    use super::*;

    fn source(number: u32) -> Source {
        Source::from(IpAddr::from(Ipv4Addr::from_bits(number)))
    }

    fn enter(places: &Arc<Places>, from: u32) -> Result<Place, Full> {
        places.enter(source(from), 3).map(|(place, _)| place)
    }

    fn asked_to_leave(place: &Place) -> bool {
        place.evicted().now_or_never().is_some()
    }

    #[test]
    fn a_newcomer_takes_the_place_of_whoever_has_rested_longest() {
        let places = Places::new(3);
        let [first, second, third] = [1, 2, 3].map(|from| enter(&places, from).unwrap());
        first.work().unwrap();
        first.rest();
        let _fourth = enter(&places, 4).unwrap();
        assert!(asked_to_leave(&second));
        assert!(!asked_to_leave(&first) && !asked_to_leave(&third));
        assert_eq!(second.work(), Err(Evicted));
        assert_eq!(places.lock().connections, 3);
        drop(second);
        assert_eq!(places.lock().connections, 3);
        drop((first, third));
        assert_eq!(places.lock().connections, 1);
    }

    #[test]
    fn nobody_at_work_leaves() {
        let places = Places::new(2);
        let both = [1, 2].map(|from| enter(&places, from).unwrap());
        both.iter().for_each(|place| place.work().unwrap());
        assert_eq!(enter(&places, 3).err(), Some(Full::Everywhere));
        both[1].rest();
        assert!(enter(&places, 3).is_ok());
        assert!(!asked_to_leave(&both[0]) && asked_to_leave(&both[1]));
    }

    #[test]
    fn a_source_at_its_limit_makes_room_among_its_own() {
        let places = Places::new(100);
        let other = enter(&places, 9).unwrap();
        let own: Vec<_> = (0..3).map(|_| enter(&places, 1).unwrap()).collect();
        let (newcomer, made) = places.enter(source(1), 3).unwrap();
        assert_eq!(made, Made::ByEviction);
        assert!(asked_to_leave(&own[0]) && !asked_to_leave(&other));
        for place in own[1..].iter().chain([&newcomer]) {
            place.work().unwrap();
        }
        assert_eq!(enter(&places, 1).err(), Some(Full::ForSource));
        assert!(enter(&places, 2).is_ok());
        assert!(places.enter(source(1), 0).is_ok());
    }

    #[test]
    fn nothing_is_left_of_those_who_left() {
        let places = Places::new(10);
        for round in 0..100 {
            let place = enter(&places, round).unwrap();
            if round % 2 == 0 {
                place.work().unwrap();
            }
        }
        let open = places.lock();
        assert!(open.sources.is_empty() && open.resting.is_empty());
        assert_eq!(open.connections, 0);
    }
}
