//! Client certificates: TLS proves that the client holds the key of the certificate it shows, and nothing else.
//!
//! Whether the certificate is good for anything is the registrar's to judge, which can refuse in words; a refusal in the
//! handshake is a bare alert that devices in the field cannot explain. So expired ones pass, ones of unknown issuers,
//! and X.509 v1 ones, which webpki does not parse: only the public key is handed to it.

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use webpki::RawPublicKeyEntity;
use x509_parser::{nom::Parser, prelude::X509CertificateParser};

/// All certificates of a chain together, in bytes. Chains are kept with resumable sessions.
const MAX_CHAIN_BYTES: usize = 16 * 1024;

/// Accepts any certificate whose key signs the handshake, and clients without one.
#[derive(Debug)]
pub(super) struct AnyClientCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyClientCertificate {
    pub fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { algorithms }
    }
}

impl ClientCertVerifier for AnyClientCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No names: a client then shows what it has. RFC 8446 §4.2.4, RFC 5246 §7.4.4.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let total = intermediates.iter().map(|der| der.len()).sum::<usize>() + end_entity.len();
        if total > MAX_CHAIN_BYTES {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        public_key(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = public_key(cert)?;
        let bad_encoding = |_| Error::from(CertificateError::BadEncoding);
        let key = RawPublicKeyEntity::try_from(&spki).map_err(bad_encoding)?;
        // In TLS 1.2 a scheme does not name the curve, so each algorithm that may be meant is tried. RFC 5246 §7.4.1.4.1.
        let candidates = self
            .algorithms
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == dss.scheme);
        let signed = candidates
            .flat_map(|(_, algorithms)| *algorithms)
            .any(|algorithm| {
                key.verify_signature(*algorithm, message, dss.signature())
                    .is_ok()
            });
        match signed {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &public_key(cert)?, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn public_key<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'a>, Error> {
    // The contents of extensions are not our business here.
    match X509CertificateParser::new()
        .with_deep_parse_extensions(false)
        .parse(certificate)
    {
        Ok(([], parsed)) => Ok(SubjectPublicKeyInfoDer::from(
            parsed.tbs_certificate.subject_pki.raw,
        )),
        _ => Err(CertificateError::BadEncoding.into()),
    }
}
