//! An enrolment that has begun runs to its end, whoever loses patience with it: no certificate comes on record of which the
//! audit trail and the counters do not hear.

use std::{panic::resume_unwind, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use super::{Enrolled, EnrollmentRequest, Registrar, Rejection};
use crate::policy::{Reason, Refusal};

/// How many enrolments are under way at the same time, those that nobody waits for any more among them. Each ends by itself:
/// every call to the API server has its time.
const UNDER_WAY: u32 = 1024;

/// A registrar whose enrolments are not dropped with the future that asked for them.
pub struct ToTheEnd<R> {
    registrar: Arc<R>,
    places: Arc<Semaphore>,
}

impl<R: Registrar> ToTheEnd<R> {
    /// Around a registrar.
    pub fn new(registrar: Arc<R>) -> Self {
        Self {
            registrar,
            places: Arc::new(Semaphore::new(UNDER_WAY as usize)),
        }
    }

    /// Waits until nothing is under way, and no longer than that. For the end of the process, when nobody asks any more.
    pub async fn finish(&self, patience: Duration) {
        if timeout(patience, self.places.acquire_many(UNDER_WAY))
            .await
            .is_err()
        {
            tracing::warn!("enrolments are under way that do not end, and are dropped");
        }
    }
}

impl<R: Registrar> Registrar for ToTheEnd<R> {
    async fn authorities(&self, label: Option<&str>) -> Result<Vec<Vec<u8>>, Rejection> {
        self.registrar.authorities(label).await
    }

    async fn attributes(&self, label: Option<&str>) -> Result<Vec<u8>, Rejection> {
        self.registrar.attributes(label).await
    }

    async fn enroll(&self, request: EnrollmentRequest) -> Result<Enrolled, Rejection> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Refusal::new(
                Reason::Overloaded,
                "too many enrolments are under way: try again",
            )
        })?;
        let registrar = Arc::clone(&self.registrar);
        let work = tokio::spawn(async move {
            let _place = place;
            registrar.enroll(request).await
        });
        match work.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(result) => result,
            // As if it had been our own; whoever asked answers for it.
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(_)) => Err(Refusal::new(Reason::NotReady, "the operator is stopping").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Mutex};

    use tokio::sync::Notify;

    use super::*;
    use crate::registrar::{ChannelBindings, Credentials, Operation};

    /// Waits for `go`, then writes down what it was asked.
    #[derive(Default)]
    struct Slow {
        go: Notify,
        begun: Notify,
        done: Mutex<Vec<Vec<u8>>>,
    }

    impl Registrar for Slow {
        async fn authorities(&self, _: Option<&str>) -> Result<Vec<Vec<u8>>, Rejection> {
            Ok(Vec::new())
        }

        async fn attributes(&self, _: Option<&str>) -> Result<Vec<u8>, Rejection> {
            Ok(Vec::new())
        }

        async fn enroll(&self, request: EnrollmentRequest) -> Result<Enrolled, Rejection> {
            self.begun.notify_one();
            self.go.notified().await;
            assert_ne!(request.csr, b"panic");
            self.done.lock().unwrap().push(request.csr.clone());
            Ok(Enrolled::Certificate(request.csr))
        }
    }

    fn request(csr: &[u8]) -> EnrollmentRequest {
        EnrollmentRequest {
            label: None,
            operation: Operation::Enroll,
            csr: csr.to_vec(),
            credentials: Credentials::default(),
            bindings: ChannelBindings::default(),
            peer: Ipv4Addr::LOCALHOST.into(),
        }
    }

    #[tokio::test]
    async fn what_has_begun_is_finished_although_nobody_waits_for_it() {
        let slow = Arc::new(Slow::default());
        let whole = Arc::new(ToTheEnd::new(slow.clone()));
        let (asked, asking) = (whole.clone(), request(b"one"));
        let client = tokio::spawn(async move { asked.enroll(asking).await });
        slow.begun.notified().await;
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());

        let soon = Duration::from_millis(1);
        whole.finish(soon).await;
        assert!(slow.done.lock().unwrap().is_empty());
        slow.go.notify_one();
        whole.finish(Duration::from_secs(60)).await;
        assert_eq!(*slow.done.lock().unwrap(), [b"one".to_vec()]);
    }

    #[tokio::test]
    async fn one_more_than_the_limit_is_told_to_come_again() {
        let whole = ToTheEnd::new(Arc::new(Slow::default()));
        let _all = whole.places.acquire_many(UNDER_WAY).await.unwrap();
        let refusal = whole.enroll(request(b"one")).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::Overloaded);
        assert!(refusal.retry_after.is_some());
    }

    #[tokio::test]
    #[should_panic = "assertion `left != right` failed"]
    async fn a_panic_reaches_whoever_waits() {
        let slow = Arc::new(Slow::default());
        slow.go.notify_one();
        let _ = ToTheEnd::new(slow).enroll(request(b"panic")).await;
    }
}
