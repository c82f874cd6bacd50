//! Channel bindings: what a CSR may carry to show that it was made for this TLS connection. RFC 7030 §3.5.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use rustls::{HandshakeKind, KeyLog, ProtocolVersion, ServerConnection, SupportedCipherSuite};
use zeroize::Zeroizing;

use super::tap::Heard;
use crate::registrar::ChannelBindings;

/// RFC 9266 §4.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
const EXPORTER_LENGTH: usize = 32;
/// RFC 5246 §7.4.9.
const FINISHED_LABEL: &[u8] = b"client finished";
const FINISHED_LENGTH: usize = 12;

/// The TLS 1.2 master secret of one handshake. Each handshake has its own, which is gone when it ends.
#[derive(Default)]
pub(super) struct MasterSecret(Mutex<Option<Zeroizing<Vec<u8>>>>);

impl MasterSecret {
    fn take(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for MasterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterSecret")
    }
}

impl KeyLog for MasterSecret {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if self.will_log(label) {
            let kept = Some(Zeroizing::new(secret.to_vec()));
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        }
    }

    /// The name that key logs have for the master secret of TLS 1.2.
    fn will_log(&self, label: &str) -> bool {
        label == "CLIENT_RANDOM"
    }
}

/// The bindings of a connection whose handshake has just ended.
///
/// `tls-exporter` needs TLS 1.3 or the extended master secret (RFC 9266 §4.2); without the latter, a TLS 1.2 session is not tied to
/// its handshake. `tls-unique` is the client's Finished (RFC 5929 §3.1) of a full TLS 1.2 handshake; on a resumed session it
/// would be the server's and says nothing of who did the full one, so there is none.
pub(super) fn of(
    session: &ServerConnection,
    heard: &Heard,
    secret: &MasterSecret,
) -> ChannelBindings {
    let secret = secret.take();
    match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => ChannelBindings {
            exporter: exporter(session),
            unique: None,
        },
        Some(ProtocolVersion::TLSv1_2) => ChannelBindings {
            exporter: match heard.extended_master_secret() {
                true => exporter(session),
                false => None,
            },
            unique: secret.and_then(|secret| client_finished(session, heard, &secret)),
        },
        _ => ChannelBindings::default(),
    }
}

fn exporter(session: &ServerConnection) -> Option<Vec<u8>> {
    let binding = vec![0; EXPORTER_LENGTH];
    session
        .export_keying_material(binding, EXPORTER_LABEL, Some(b""))
        .ok()
}

fn client_finished(session: &ServerConnection, heard: &Heard, secret: &[u8]) -> Option<Vec<u8>> {
    let (Some(HandshakeKind::Full), Some(SupportedCipherSuite::Tls12(suite))) =
        (session.handshake_kind(), session.negotiated_cipher_suite())
    else {
        return None;
    };
    let covered = heard.before_client_finished()?;
    let hash = suite.common.hash_provider.hash(&covered);
    let mut finished = vec![0; FINISHED_LENGTH];
    suite
        .prf_provider
        .for_secret(&mut finished, secret, FINISHED_LABEL, hash.as_ref());
    Some(finished)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_master_secret_is_kept_and_it_is_in_no_debug_output() {
        let secret = MasterSecret::default();
        secret.log("SERVER_TRAFFIC_SECRET_0", &[1], b"other");
        assert!(secret.take().is_none());
        secret.log("CLIENT_RANDOM", &[1], b"master");
        assert!(!format!("{secret:?}").contains("109"));
        assert_eq!(**secret.take().unwrap(), *b"master");
        assert!(secret.take().is_none());
    }
}
