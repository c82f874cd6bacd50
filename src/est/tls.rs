//! TLS: the server's identity, which may change at any moment, and the configuration around it. RFC 7030 §3.3.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::{
    CipherSuite, ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::client_certificate::AnyClientCertificate;
use crate::registrar::ServerIdentity;

/// Sessions that may be resumed. Each holds the client's chain, which `AnyClientCertificate` bounds.
const RESUMABLE_SESSIONS: usize = 2048;

/// The certificate and key that new connections get. Connections that exist are not affected by a change.
#[derive(Debug, Default)]
pub(super) struct CurrentIdentity(ArcSwapOption<CertifiedKey>);

impl CurrentIdentity {
    /// Uses `identity` from now on. `None`: every handshake is refused with an `access_denied` alert.
    pub fn set(&self, identity: Option<&ServerIdentity>) -> Result<(), rustls::Error> {
        let key = identity.map(certified_key).transpose()?;
        self.0.store(key.map(Arc::new));
        Ok(())
    }
}

impl ResolvesServerCert for CurrentIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// TLS 1.2 and 1.3, HTTP/1.1, client certificates of any kind but not demanded, resumption.
pub(super) fn server_config(identity: Arc<CurrentIdentity>) -> Result<ServerConfig, rustls::Error> {
    let mut provider = aws_lc_rs::default_provider();
    // For SHA-256 most processors have instructions, for SHA-384 hardly any; a key schedule needs no more than either.
    provider.cipher_suites.sort_by_key(|suite| {
        suite
            .suite()
            .as_str()
            .is_some_and(|name| name.ends_with("SHA384"))
    });
    let provider = Arc::new(provider);
    let verifier = AnyClientCertificate::new(provider.signature_verification_algorithms);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(identity);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(RESUMABLE_SESSIONS);
    // An EST client comes back one connection after the other.
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// Whether our order of cipher suites holds for a client. One that has ChaCha20 first has no instructions for AES, and keeps its
/// own order.
pub(super) fn our_order_holds(offered: &[CipherSuite]) -> bool {
    let is_chacha = |suite: &CipherSuite| {
        let name = suite.as_str();
        name.is_some_and(|name| name.contains("CHACHA20"))
    };
    // Names that do not exist are there to keep servers tolerant (RFC 8701).
    let first = offered.iter().find(|suite| suite.as_str().is_some());
    !first.is_some_and(is_chacha)
}

fn certified_key(identity: &ServerIdentity) -> Result<CertifiedKey, rustls::Error> {
    let chain = identity
        .chain
        .iter()
        .cloned()
        .map(CertificateDer::from)
        .collect();
    // Borrowed, so that no copy of the key is left behind.
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.as_slice()));
    let key = CertifiedKey::new(chain, aws_lc_rs::sign::any_supported_type(&der)?);
    key.keys_match()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn identity() -> ServerIdentity {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        ServerIdentity {
            chain: vec![made.cert.der().to_vec()],
            key: Zeroizing::new(made.signing_key.serialize_der()),
        }
    }

    #[test]
    fn a_client_without_instructions_for_aes_keeps_its_order() {
        use CipherSuite::{
            TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256, Unknown,
        };
        let (aes, chacha) = (TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256);
        assert!(our_order_holds(&[aes, chacha]));
        assert!(our_order_holds(&[]));
        assert!(!our_order_holds(&[chacha, aes]));
        assert!(!our_order_holds(&[Unknown(0x1a1a), chacha, aes]));
        assert!(!our_order_holds(&[
            TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            aes
        ]));
    }

    #[test]
    fn an_identity_that_does_not_fit_together_leaves_the_old_one_in_place() {
        let current = CurrentIdentity::default();
        let good = identity();
        current.set(Some(&good)).unwrap();
        let mixed = ServerIdentity {
            chain: identity().chain,
            key: identity().key,
        };
        let empty = ServerIdentity {
            chain: Vec::new(),
            key: identity().key,
        };
        let broken = ServerIdentity {
            chain: identity().chain,
            key: Zeroizing::new(vec![1]),
        };
        for bad in [mixed, empty, broken] {
            assert!(current.set(Some(&bad)).is_err());
            assert_eq!(
                current.0.load().as_ref().unwrap().cert[0].to_vec(),
                good.chain[0]
            );
        }
        current.set(None).unwrap();
        assert!(current.0.load().is_none());
    }
}
