//! Replicas in an election against a Lease that behaves as the API server's does, at moments that the tests choose.

use super::*;

const TIMES: ElectionTimes = ElectionTimes {
    lease_duration: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry_period: Duration::from_secs(2),
};

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq)]
enum Network {
    Fine,
    /// Nothing arrives.
    Cut,
    /// The write is carried out, its answer is lost.
    AnswerLost,
}

/// The API server's side: one object, versions, preconditions.
#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    version: u32,
}

impl Server {
    fn put(&mut self, over: Option<&Lease>, spec: LeaseSpec) -> Option<Lease> {
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        if self.lease.as_ref().map(version) != over.map(version) {
            return None;
        }
        self.version += 1;
        let mut lease = Lease {
            spec: Some(spec),
            ..Lease::default()
        };
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        Some(lease)
    }

    fn spec(&self) -> &LeaseSpec {
        self.lease.as_ref().unwrap().spec.as_ref().unwrap()
    }

    fn holder(&self) -> &str {
        self.spec().holder_identity.as_deref().unwrap()
    }

    fn transitions(&self) -> i32 {
        self.spec().lease_transitions.unwrap()
    }
}

/// A replica whose wall clock goes wrong by so many seconds.
struct Replica {
    elector: Elector,
    clock_error: i64,
}

fn replica(name: &str) -> Replica {
    Replica {
        elector: Elector::new(name.into(), TIMES),
        clock_error: 0,
    }
}

impl Replica {
    /// As `Election::attempt` does it.
    fn attempt(&mut self, server: &mut Server, network: Network, now: Instant) {
        let elector = &mut self.elector;
        if elector.must_read(now) {
            if network == Network::Cut {
                return elector.failed();
            }
            elector.saw(server.lease.clone(), now);
        }
        let clock = Timestamp::from_second(1_800_000_000 + self.clock_error).unwrap();
        let (over, spec) = match elector.decide(now, clock) {
            Attempt::StandBy => return,
            Attempt::Create(spec) => (None, spec),
            Attempt::Write(spec) => (elector.seen().cloned(), spec),
        };
        let written = match network {
            Network::Cut => None,
            Network::Fine => server.put(over.as_ref(), spec),
            Network::AnswerLost => server.put(over.as_ref(), spec).and(None),
        };
        match written {
            Some(lease) => elector.wrote(lease, now),
            None => elector.failed(),
        }
    }

    fn leads(&self, now: Instant) -> bool {
        self.elector.lead_until(now).is_some()
    }
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

/// A leader `a` and a standby `b` that has seen it, at the same moment.
fn leader_and_standby() -> (Server, Replica, Replica, Instant) {
    let (mut server, mut a, mut b) = (Server::default(), replica("a"), replica("b"));
    let start = Instant::now();
    a.attempt(&mut server, Network::Fine, start);
    b.attempt(&mut server, Network::Fine, start);
    assert!(a.leads(start) && !b.leads(start));
    (server, a, b, start)
}

#[test]
fn the_first_to_come_leads_at_once() {
    let (server, ..) = leader_and_standby();
    assert_eq!((server.holder(), server.transitions()), ("a", 0));
    assert_eq!(server.spec().lease_duration_seconds, Some(15));
}

#[test]
fn of_two_that_come_together_one_leads() {
    let (mut server, mut a, mut b) = (Server::default(), replica("a"), replica("b"));
    let now = Instant::now();
    // Both have read that there is none.
    a.elector.saw(None, now);
    b.attempt(&mut server, Network::Fine, now);
    let Attempt::Create(spec) = a.elector.decide(now, Timestamp::UNIX_EPOCH) else {
        panic!("a does not want it");
    };
    assert_eq!(server.put(None, spec), None);
    a.elector.failed();
    a.attempt(&mut server, Network::Fine, now);
    assert!(b.leads(now) && !a.leads(now));
}

#[test]
fn a_leader_that_renews_stays_for_ever() {
    let (mut server, mut a, mut b, start) = leader_and_standby();
    let acquired = server.spec().acquire_time.clone();
    for second in (2..3600).step_by(2) {
        let now = after(start, second);
        a.attempt(&mut server, Network::Fine, now);
        b.attempt(&mut server, Network::Fine, now);
        assert!(a.leads(now) && !b.leads(now));
    }
    assert_eq!(server.transitions(), 0);
    assert_eq!(server.spec().acquire_time, acquired);
}

#[test]
fn a_leader_that_died_is_followed_once_the_lease_was_seen_unchanged_for_its_duration() {
    let (mut server, _, mut b, start) = leader_and_standby();
    for second in 1..15 {
        b.attempt(&mut server, Network::Fine, after(start, second));
        assert!(!b.leads(after(start, second)), "after {second} s");
    }
    b.attempt(&mut server, Network::Fine, after(start, 15));
    assert!(b.leads(after(start, 15)));
    assert_eq!((server.holder(), server.transitions()), ("b", 1));
}

#[test]
fn a_replica_that_comes_late_waits_the_whole_duration_from_its_first_look() {
    let (mut server, _, _, start) = leader_and_standby();
    let mut late = replica("late");
    late.attempt(&mut server, Network::Fine, after(start, 1000));
    late.attempt(&mut server, Network::Fine, after(start, 1014));
    assert!(!late.leads(after(start, 1014)));
    late.attempt(&mut server, Network::Fine, after(start, 1015));
    assert!(late.leads(after(start, 1015)));
}

#[test]
fn wrong_clocks_decide_nothing() {
    let years = 50 * 365 * 86_400;
    for (of_a, of_b) in [(-years, 0), (years, 0), (0, years), (years, -years)] {
        let (mut server, mut a, mut b) = (Server::default(), replica("a"), replica("b"));
        (a.clock_error, b.clock_error) = (of_a, of_b);
        let start = Instant::now();
        for second in (0..60).step_by(2) {
            let now = after(start, second);
            // The clock of the leader steps at each renewal.
            a.clock_error = -a.clock_error;
            a.attempt(&mut server, Network::Fine, now);
            b.attempt(&mut server, Network::Fine, now);
            assert!(a.leads(now) && !b.leads(now), "{of_a} {of_b}");
        }
        b.attempt(&mut server, Network::Fine, after(start, 58 + 14));
        assert!(!b.leads(after(start, 58 + 14)));
        b.attempt(&mut server, Network::Fine, after(start, 58 + 15));
        assert!(b.leads(after(start, 58 + 15)), "{of_a} {of_b}");
    }
}

#[test]
fn a_leader_that_cannot_renew_stops_before_another_may_begin() {
    let (mut server, mut a, mut b, start) = leader_and_standby();
    for second in 1..60 {
        let now = after(start, second);
        a.attempt(&mut server, Network::Cut, now);
        b.attempt(&mut server, Network::Fine, now);
        assert!(!(a.leads(now) && b.leads(now)), "two lead after {second} s");
        assert_eq!(a.leads(now), second < 10, "after {second} s");
        assert_eq!(b.leads(now), second >= 15, "after {second} s");
    }
}

#[test]
fn a_stale_leader_that_wakes_up_stands_by() {
    let (mut server, mut a, mut b, start) = leader_and_standby();
    for second in [14, 15] {
        b.attempt(&mut server, Network::Fine, after(start, second));
    }
    // Paused for 20 seconds, `a` finds its time over without asking anybody.
    let now = after(start, 20);
    assert!(!a.leads(now));
    a.attempt(&mut server, Network::Fine, now);
    assert!(!a.leads(now) && b.leads(now));
    assert_eq!(server.holder(), "b");
}

#[test]
fn the_late_write_of_a_stale_leader_changes_nothing() {
    let (mut server, a, mut b, start) = leader_and_standby();
    let Attempt::Write(late) = a.elector.decide(after(start, 9), Timestamp::UNIX_EPOCH) else {
        panic!("a does not renew");
    };
    for second in [14, 15] {
        b.attempt(&mut server, Network::Fine, after(start, second));
    }
    assert_eq!(server.put(a.elector.seen(), late), None);
    assert_eq!(server.holder(), "b");
}

#[test]
fn a_lost_answer_to_a_renewal_costs_nothing() {
    let (mut server, mut a, mut b, start) = leader_and_standby();
    a.attempt(&mut server, Network::AnswerLost, after(start, 2));
    b.attempt(&mut server, Network::Fine, after(start, 3));
    a.attempt(&mut server, Network::Fine, after(start, 4));
    assert!(a.leads(after(start, 13)));
    b.attempt(&mut server, Network::Fine, after(start, 16));
    assert!(!b.leads(after(start, 16)), "it has seen renewals");
    assert_eq!(server.transitions(), 0);
}

#[test]
fn a_lost_answer_makes_no_leader_but_the_next_attempt_does() {
    let (mut server, mut a) = (Server::default(), replica("a"));
    let start = Instant::now();
    a.attempt(&mut server, Network::AnswerLost, start);
    assert!(!a.leads(start));
    assert_eq!(server.holder(), "a");
    a.attempt(&mut server, Network::Fine, after(start, 2));
    assert!(a.leads(after(start, 2)));
    assert_eq!(server.transitions(), 0);
}

#[test]
fn renewals_without_answers_do_not_prolong_anything() {
    let (mut server, mut a, _, start) = leader_and_standby();
    for second in 1..10 {
        a.attempt(&mut server, Network::AnswerLost, after(start, second));
    }
    assert!(!a.leads(after(start, 10)));
    // It comes back as what it still is, since nobody has taken over.
    a.attempt(&mut server, Network::Fine, after(start, 12));
    assert!(a.leads(after(start, 12)));
    assert_eq!(server.transitions(), 0);
}

#[test]
fn a_conflicting_write_makes_a_leader_look_again() {
    let (mut server, mut a, _, start) = leader_and_standby();
    // Somebody adds an annotation: another version, the same holder.
    let same = server.spec().clone();
    server.put(server.lease.clone().as_ref(), same).unwrap();
    a.attempt(&mut server, Network::Fine, after(start, 2));
    a.attempt(&mut server, Network::Fine, after(start, 4));
    assert!(a.leads(after(start, 13)));
}

#[test]
fn a_leader_whose_lease_is_taken_away_stops_when_it_sees_that() {
    for taken in ["somebody", ""] {
        let (mut server, mut a, _, start) = leader_and_standby();
        let other = LeaseSpec {
            holder_identity: Some(taken.into()),
            ..server.spec().clone()
        };
        server.put(server.lease.clone().as_ref(), other).unwrap();
        a.attempt(&mut server, Network::Fine, after(start, 2));
        let before = server.lease.clone();
        a.elector.saw(before, after(start, 4));
        assert!(!a.leads(after(start, 4)), "{taken:?}");
    }
    let (mut server, mut a, _, start) = leader_and_standby();
    server.lease = None;
    a.attempt(&mut server, Network::Fine, after(start, 2));
    a.elector.saw(None, after(start, 4));
    assert!(!a.leads(after(start, 4)));
    a.attempt(&mut server, Network::Fine, after(start, 4));
    assert!(a.leads(after(start, 4)), "it makes a new one");
}

#[test]
fn a_lease_that_was_given_back_is_taken_at_once() {
    let (mut server, a, mut b, start) = leader_and_standby();
    let released = a.elector.release(Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(released.holder_identity.as_deref(), Some(""));
    assert_eq!(released.lease_duration_seconds, Some(1));
    server.put(a.elector.seen(), released).unwrap();
    b.attempt(&mut server, Network::Fine, after(start, 1));
    assert!(b.leads(after(start, 1)));
    assert_eq!((server.holder(), server.transitions()), ("b", 1));
    assert!(b.elector.release(Timestamp::UNIX_EPOCH).is_some());
}

#[test]
fn nobody_gives_back_what_another_holds() {
    let (_, _, b, _) = leader_and_standby();
    assert_eq!(b.elector.release(Timestamp::UNIX_EPOCH), None);
}

#[test]
fn the_duration_is_that_of_the_holder_and_a_senseless_one_is_replaced() {
    for (theirs, taken_after) in [
        (Some(40), 40),
        (None, 15),
        (Some(-3), 15),
        (Some(i32::MAX), 15),
    ] {
        let (mut server, _, _, start) = leader_and_standby();
        let other = LeaseSpec {
            lease_duration_seconds: theirs,
            ..server.spec().clone()
        };
        server.put(server.lease.clone().as_ref(), other).unwrap();
        let mut b = replica("b");
        b.attempt(&mut server, Network::Fine, start);
        b.attempt(&mut server, Network::Fine, after(start, taken_after - 1));
        assert!(!b.leads(after(start, taken_after - 1)), "{theirs:?}");
        b.attempt(&mut server, Network::Fine, after(start, taken_after));
        assert!(b.leads(after(start, taken_after)), "{theirs:?}");
    }
}

#[test]
fn times_that_do_not_fit_are_refused_in_words() {
    let times = |lease, renew, retry| {
        let [lease, renew, retry] = [lease, renew, retry].map(Duration::from_secs);
        ElectionTimes::new(lease, renew, retry)
    };
    assert_eq!(times(15, 10, 2), Ok(TIMES));
    for (wrong, word) in [
        (times(10, 10, 2), "--lease-duration"),
        (times(15, 2, 2), "second try"),
        (times(15, 10, 0), "at least 1s"),
        (times(4000, 10, 2), "1h"),
    ] {
        let words = wrong.unwrap_err();
        assert!(words.contains(word), "{words}");
    }
}
