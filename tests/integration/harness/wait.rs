//! Patience: conditions with a deadline instead of sleeps.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// Ten times the two seconds in which the operator puts a Secret back.
pub const RESTORED: Duration = Duration::from_secs(20);

/// Long enough for anything that has no bound of its own, on a machine that others use too.
pub const CONVERGES: Duration = Duration::from_secs(60);

/// From when on a test tells (with --nocapture) what it waits for.
const SLOW: Duration = Duration::from_secs(3);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Looks until there is an `Ok`, and returns it. The error says what was seen instead, and is told if the time runs out.
pub async fn eventually<T, E: Display>(
    what: impl Display,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let started = Instant::now();
    loop {
        match look().await {
            Ok(found) => {
                let took = started.elapsed();
                if took > SLOW {
                    eprintln!("waited {took:?}: {what}");
                }
                return found;
            }
            Err(seen) if started.elapsed() > deadline => {
                panic!("not within {deadline:?}: {what}\nseen last: {seen}")
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
