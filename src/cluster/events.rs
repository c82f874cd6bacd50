//! Kubernetes Events: at most so many a second, never waited for, and never the same twice within a few minutes.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;

use crate::policy::Reason;

/// How many Events may wait to be written; more are dropped, since conditions tell the same story.
const WAITING: usize = 512;
/// The pause after each Event, which bounds the load on the API server.
const PAUSE: Duration = Duration::from_millis(50);
/// For how long the same Event about the same object is not repeated.
const REPEAT_AFTER: Duration = Duration::from_secs(300);
/// How many recent Events are remembered.
const REMEMBERED: usize = 10_000;

/// Where Events are handed in.
pub struct Events {
    queue: mpsc::Sender<(Event, ObjectReference)>,
    recent: Mutex<HashMap<(String, Reason), Instant>>,
}

impl Events {
    /// The sink, and the task that writes; the caller owns the task.
    pub fn new(client: Client) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, mut incoming) = mpsc::channel::<(Event, ObjectReference)>(WAITING);
        let recorder = Recorder::new(
            client,
            Reporter {
                controller: "devicecert-operator".into(),
                instance: std::env::var("POD_NAME").ok(),
            },
        );
        let writer = async move {
            while let Some((event, object)) = incoming.recv().await {
                if let Err(error) = recorder.publish(&event, &object).await {
                    tracing::debug!(%error, object = object.name, "an Event could not be written");
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        (
            Self {
                queue,
                recent: Mutex::new(HashMap::new()),
            },
            writer,
        )
    }

    /// Something went as it should.
    pub fn normal(&self, object: ObjectReference, reason: Reason, note: &str) {
        self.publish(EventType::Normal, object, reason, note);
    }

    /// Something needs a person's attention.
    pub fn warning(&self, object: ObjectReference, reason: Reason, note: &str) {
        self.publish(EventType::Warning, object, reason, note);
    }

    fn publish(&self, type_: EventType, object: ObjectReference, reason: Reason, note: &str) {
        let key = (object.uid.clone().unwrap_or_default(), reason);
        if type_ == EventType::Warning && !self.is_new(key) {
            return;
        }
        let mut note = note.to_string();
        note.truncate(
            (0..=1000.min(note.len()))
                .rev()
                .find(|at| note.is_char_boundary(*at))
                .unwrap_or(0),
        );
        let event = Event {
            type_,
            reason: reason.to_string(),
            note: Some(note),
            action: "Reconcile".into(),
            secondary: None,
        };
        if self.queue.try_send((event, object)).is_err() {
            tracing::debug!(%reason, "too many Events are waiting: this one is dropped");
        }
    }

    fn is_new(&self, key: (String, Reason)) -> bool {
        // A poisoned lock only means that another thread stopped while it held a plain map.
        let mut recent = self
            .recent
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if recent.len() >= REMEMBERED {
            recent.retain(|_, at| at.elapsed() < REPEAT_AFTER);
        }
        if recent.len() >= REMEMBERED
            || recent
                .get(&key)
                .is_some_and(|at| at.elapsed() < REPEAT_AFTER)
        {
            return false;
        }
        recent.insert(key, Instant::now());
        true
    }
}
