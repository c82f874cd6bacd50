//! What the bench sees of DeviceIdentities through a watch of its own, with the moment at which it saw it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use devicecert::api::{ConditionStatus, DeviceIdentity};
use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{task::JoinHandle, time::sleep};

use crate::Failure;

/// How often the collected sightings are looked through. Each has its own time, so this does not blur them.
const LOOK: Duration = Duration::from_millis(5);

/// One device as last seen.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// The reason of its Ready condition.
    pub reason: String,
    /// When it was first seen Ready.
    pub ready: Option<Instant>,
    /// The fingerprint of its certificate, and when that was first seen.
    pub certificate: Option<(String, Instant)>,
}

/// The devices of the whole cluster, by name; the bench gives every device a name of its own.
pub struct Sightings {
    seen: Arc<Mutex<HashMap<String, Sight>>>,
    watch: JoinHandle<()>,
}

impl Sightings {
    /// Begins to watch.
    pub fn begin(client: Client) -> Self {
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let noted = seen.clone();
        let watch = tokio::spawn(async move {
            let all: Api<DeviceIdentity> = Api::all(client);
            let mut devices = watcher(all, watcher::Config::default())
                .default_backoff()
                .applied_objects()
                .boxed();
            while let Some(device) = devices.next().await {
                match device {
                    Ok(device) => note(&mut lock(&noted), &device),
                    Err(error) => eprintln!("bench: the watch was interrupted: {error}"),
                }
            }
        });
        Self { seen, watch }
    }

    /// One device as last seen.
    pub fn of(&self, name: &str) -> Sight {
        lock(&self.seen).get(name).cloned().unwrap_or_default()
    }

    /// Waits until `moment` answers for every one of the devices; the answers, in their order.
    pub async fn wait_for(
        &self,
        what: &str,
        names: &[String],
        patience: Duration,
        moment: impl Fn(&str, &Sight) -> Option<Instant>,
    ) -> Result<Vec<Instant>, Failure> {
        let deadline = Instant::now() + patience;
        let mut moments = Vec::with_capacity(names.len());
        loop {
            {
                let seen = lock(&self.seen);
                // Goes on where it stopped: what has happened does not un-happen.
                let answer = |name: &String| seen.get(name).and_then(|sight| moment(name, sight));
                moments.extend(names[moments.len()..].iter().map_while(answer));
            }
            if moments.len() == names.len() {
                return Ok(moments);
            }
            if Instant::now() > deadline {
                let name = &names[moments.len()];
                let seen = self.of(name);
                return Err(
                    format!("{what}: {name} is not there after {patience:?}: {seen:?}").into(),
                );
            }
            sleep(LOOK).await;
        }
    }
}

impl Drop for Sightings {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn note(seen: &mut HashMap<String, Sight>, device: &DeviceIdentity) {
    let now = Instant::now();
    let sight = seen.entry(device.name_any()).or_default();
    let Some(status) = &device.status else {
        return;
    };
    if let Some(ready) = status.conditions.iter().find(|c| c.type_ == "Ready") {
        sight.reason.clone_from(&ready.reason);
        if ready.status == ConditionStatus::True {
            sight.ready.get_or_insert(now);
        }
    }
    if let Some(certificate) = &status.certificate
        && sight
            .certificate
            .as_ref()
            .is_none_or(|(known, _)| *known != certificate.fingerprint)
    {
        sight.certificate = Some((certificate.fingerprint.clone(), now));
    }
}

fn lock(seen: &Mutex<HashMap<String, Sight>>) -> MutexGuard<'_, HashMap<String, Sight>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
