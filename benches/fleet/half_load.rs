//! Half load: turns planned at half the rate that was reached before, whether or not earlier ones are done. First renewals, then
//! only the writes that these took: how much of a late answer is the API server's, which shares the processors.

use std::{future::Future, time::Duration};

use devicecert::{
    api::{DeviceIdentity, DeviceIdentityStatus},
    cluster::patch_status,
};
use kube::Api;
use tokio::time::{Instant, sleep_until};

use crate::{
    Failure,
    cluster::{BARE, BENCH, Cluster, concurrently},
    progress,
};

/// How many turns each line gets. A device's record must stay as short as it is in the field, and between two of its turns a
/// watch needs time.
pub const TURNS: usize = 4;

/// Gives every line its turns, `rate` of all turns a second. Returns ms, from the moment for which each turn was planned.
pub async fn at_rate<L, J>(
    rate: f64,
    lines: Vec<L>,
    turn: impl Fn(L, usize) -> J + Clone + Send + 'static,
) -> Result<Vec<f64>, Failure>
where
    L: Send + 'static,
    J: Future<Output = Result<L, Failure>> + Send,
{
    let began = Instant::now();
    let count = lines.len();
    let turns = |(place, mut line): (usize, L)| {
        let turn = turn.clone();
        async move {
            let mut latencies = Vec::new();
            for number in 0..TURNS {
                let before = (number * count + place) as f64;
                let planned = began + Duration::from_secs_f64(before / rate);
                sleep_until(planned).await;
                line = turn(line, number).await?;
                latencies.push(planned.elapsed().as_secs_f64() * 1e3);
            }
            Ok(latencies)
        }
    };
    let latencies = concurrently(count, lines.into_iter().enumerate().map(turns)).await?;
    Ok(latencies.concat())
}

/// Writes the records that these devices have, by a client that does nothing else. Returns what [`at_rate`] returns.
pub async fn bare(cluster: &Cluster, names: &[String], rate: f64) -> Result<Vec<f64>, Failure> {
    let api: Api<DeviceIdentity> = cluster.api(BARE);
    let devices = cluster.create_devices(BARE, names, 8).await?;
    let examples: Api<DeviceIdentity> = cluster.api(BENCH);
    let read = |name: &String| {
        let (examples, name) = (examples.clone(), name.clone());
        async move { Ok(examples.get(&name).await?.status.unwrap_or_default()) }
    };
    let records = concurrently(8, names.iter().map(read)).await?;
    let neighbours = records.iter().cycle().skip(1);
    let written = devices.into_iter().zip(&records).zip(neighbours);
    let prepare = written.map(|((device, record), neighbour)| {
        let record = Record {
            device,
            now: DeviceIdentityStatus::default(),
            next: record.clone(),
        };
        let (api, neighbour) = (api.clone(), neighbour.clone());
        async move {
            Ok(Record {
                next: neighbour,
                ..record.write(&api).await?
            })
        }
    });
    let lines = concurrently(8, prepare).await?;
    progress("their writes alone, at the same rate");
    let write = move |record: Record, _| {
        let api = api.clone();
        async move { record.write(&api).await }
    };
    at_rate(rate, lines, write).await
}

/// A device, its record, and the one that is written next: its neighbour's, which is as long, and its own again.
struct Record {
    device: DeviceIdentity,
    now: DeviceIdentityStatus,
    next: DeviceIdentityStatus,
}

impl Record {
    async fn write(self, api: &Api<DeviceIdentity>) -> Result<Self, Failure> {
        let device = patch_status(api, &self.device, &self.now, &self.next).await?;
        Ok(Self {
            device: device.ok_or("two devices have the same record")?,
            now: self.next,
            next: self.now,
        })
    }
}
