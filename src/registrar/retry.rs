//! The same request once more, because its answer was lost: the same certificate again.

use jiff::{SignedDuration, Timestamp};

use super::{Rejection, enroll::Attempt, local::LocalRegistrar};
use crate::{
    cluster,
    pki::{Certificate, Csr},
    policy::{Asked, Device, Principal, Purpose},
};

/// For how long the same request is answered with the same certificate.
const RETRY: SignedDuration = SignedDuration::from_secs(60);

impl LocalRegistrar {
    /// The recorded certificate, if this is the same request from the same principal once more, a moment later, and the
    /// principal would get one today. Never the certificate that the request was authenticated with. What looks like a
    /// retry is judged on the object as it is now.
    pub(super) async fn answer_to_retry(
        &self,
        attempt: &Attempt,
    ) -> Result<Option<Certificate>, Rejection> {
        let (requester, csr) = (&attempt.requester, &attempt.csr);
        let device = Device::compile(&attempt.device)?;
        // A key that was made for the first answer is not kept.
        if attempt.server_key.is_some()
            || !is_retry(&device, &requester.principal, csr, cluster::now())
        {
            return Ok(None);
        }
        let Some(object) = self.read_device(&device.namespace, &device.name).await? else {
            return Ok(None);
        };
        let device = Device::compile(&object)?;
        if !is_retry(&device, &requester.principal, csr, cluster::now()) {
            return Ok(None);
        }
        self.decide(&device, requester, Asked::Csr(csr), Purpose::Repetition)
            .await?;
        let pem = object.status.and_then(|status| status.certificate?.pem);
        let certificate = pem.and_then(|pem| Certificate::from_pem(&pem).ok());
        if let Some(certificate) = &certificate {
            tracing::info!(device = device.name, serial = %certificate.serial(), "a repeated request is answered again");
        }
        Ok(certificate)
    }
}

fn is_retry(device: &Device, principal: &Principal, csr: &Csr, now: Timestamp) -> bool {
    device.live(now).is_some_and(|current| {
        current.request_digest == csr.digest()
            && current.requester == principal.to_string()
            && Some(current.fingerprint) != principal.fingerprint()
            && is_recent(current.issued_at(), current.validity.not_after, now)
    })
}

fn is_recent(issued: Timestamp, expiry: Timestamp, now: Timestamp) -> bool {
    let life = expiry.duration_since(issued);
    now.duration_since(issued) <= RETRY.min(life / 100)
}
