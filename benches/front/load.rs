//! Load: as fast as the server can (closed loop), or at a fixed rate that does not wait for it (open loop).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    Failure,
    client::{Connection, Device},
};

/// How requests come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Each on a new connection, with a full TLS 1.3 handshake.
    Handshake,
    /// On connections that are kept open.
    Kept,
}

/// What a load is made of.
#[derive(Clone)]
pub struct Load {
    /// Who asks.
    pub device: Device,
    /// For what.
    pub path: &'static str,
    /// How.
    pub way: Way,
    /// Over how many connections at a time.
    pub connections: usize,
}

/// Latencies, in µs, sorted.
pub struct Latencies(Vec<f64>);

impl Load {
    /// Sends `count` requests, each connection its next as soon as the last was answered. Returns requests per second.
    pub async fn closed(&self, count: usize) -> Result<f64, Failure> {
        let began = Instant::now();
        let left = Arc::new(Semaphore::new(count));
        self.run(began, Duration::ZERO, count, left).await?;
        Ok(count as f64 / began.elapsed().as_secs_f64())
    }

    /// Sends `rate` requests per second for a while, whether or not earlier ones were answered. Latency counts from the
    /// moment for which a request was planned, so the wait for a free connection is in it.
    pub async fn open(&self, rate: f64, time: Duration) -> Result<Latencies, Failure> {
        let count = (rate * time.as_secs_f64()) as usize;
        let interval = Duration::from_secs_f64(1.0 / rate);
        let due = Arc::new(Semaphore::new(0));
        let began = Instant::now() + Duration::from_millis(50);
        let pacer = Arc::clone(&due);
        // A thread of its own, because tokio's timer knows milliseconds only.
        let pacer = std::thread::spawn(move || {
            for place in 0..count {
                let at = began + interval * place as u32;
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                pacer.add_permits(1);
            }
        });
        let mut latencies = self.run(began, interval, count, due).await?;
        pacer.join().map_err(|_| "the pacer panicked")?;
        latencies.sort_by(f64::total_cmp);
        Ok(Latencies(latencies))
    }

    /// Carries out `count` requests, each when there is a permit. Returns µs since the moment each was planned for.
    async fn run(
        &self,
        began: Instant,
        interval: Duration,
        count: usize,
        due: Arc<Semaphore>,
    ) -> Result<Vec<f64>, Failure> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        for _ in 0..self.connections {
            let (load, due, next) = (self.clone(), Arc::clone(&due), Arc::clone(&next));
            workers.spawn(async move {
                let mut latencies = Vec::new();
                let mut kept: Option<Connection> = None;
                loop {
                    let place = next.fetch_add(1, Relaxed);
                    if place >= count {
                        return Ok::<_, Failure>(latencies);
                    }
                    due.acquire().await?.forget();
                    match load.way {
                        Way::Handshake => load.device.connect().await?.enrol(load.path).await?,
                        Way::Kept => {
                            let connection = match &mut kept {
                                Some(connection) => connection,
                                none => none.insert(load.device.connect().await?),
                            };
                            connection.enrol(load.path).await?;
                        }
                    }
                    let planned = began + interval * place as u32;
                    latencies.push(planned.elapsed().as_secs_f64() * 1e6);
                }
            });
        }
        let mut all = Vec::with_capacity(count);
        while let Some(worker) = workers.join_next().await {
            all.extend(worker??);
        }
        Ok(all)
    }
}

impl Latencies {
    /// The latency that this share of the requests did not exceed, in µs.
    pub fn quantile(&self, share: f64) -> f64 {
        let place = (self.0.len() as f64 * share) as usize;
        let last = self.0.len().saturating_sub(1);
        self.0.get(place.min(last)).copied().unwrap_or(f64::NAN)
    }

    /// p99 to the median.
    pub fn spread(&self) -> f64 {
        self.quantile(0.99) / self.quantile(0.5)
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p90, p99, p999, most] = [0.5, 0.9, 0.99, 0.999, 1.0].map(|s| self.quantile(s));
        write!(
            f,
            "median {p50:.0}, p90 {p90:.0}, p99 {p99:.0}, p99.9 {p999:.0}, max {most:.0} µs, n {}",
            self.0.len()
        )
    }
}
