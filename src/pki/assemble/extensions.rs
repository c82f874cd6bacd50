//! The extensions of a certificate, in their fixed order.

use der::asn1::{ObjectIdentifier, OctetString};
use der::{Encode, oid::AssociatedOid};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix;

use super::{AssembleError, CertificateTemplate, Issuer, Role};
use crate::pki::{ExtendedKeyUsage, KeyUsage, PublicKeyAlgorithm};

enum Criticality {
    Critical,
    NonCritical,
}

/// Basic constraints, key usage, extended key usage, SKI, AKI, SAN: each where it applies.
pub(super) fn all(
    template: &CertificateTemplate,
    issuer: Issuer<'_>,
) -> Result<Vec<Extension>, AssembleError> {
    let mut extensions = Vec::new();
    // RFC 5280 §4.2.1.9: critical in authorities. Leaves carry none, so no reader can take one for an authority.
    if let Role::Authority { path_length } = template.role {
        let constraints = pkix::BasicConstraints {
            ca: true,
            path_len_constraint: path_length,
        };
        extensions.push(extension(&constraints, Criticality::Critical)?);
    }
    // §4.2.1.3: critical.
    if let Some(usage) = key_usage(template)? {
        extensions.push(extension(&usage, Criticality::Critical)?);
    }
    // §4.2.1.12.
    if let Some(usage) = extended_key_usage(&template.extended_key_usages)? {
        extensions.push(extension(&usage, Criticality::NonCritical)?);
    }
    // §4.2.1.2: never critical.
    let own_id = pkix::SubjectKeyIdentifier(OctetString::new(template.key.key_id())?);
    extensions.push(extension(&own_id, Criticality::NonCritical)?);
    // §4.2.1.1: never critical; may be left out of self-signed certificates.
    if let Some(id) = authority_key_id(issuer)? {
        let id = pkix::AuthorityKeyIdentifier {
            key_identifier: Some(OctetString::new(id)?),
            ..Default::default()
        };
        extensions.push(extension(&id, Criticality::NonCritical)?);
    }
    // §4.2.1.6: critical if the subject is empty.
    if !template.sans.is_empty() {
        let criticality = if template.subject.is_empty() {
            Criticality::Critical
        } else {
            Criticality::NonCritical
        };
        extensions.push(raw(
            pkix::SubjectAltName::OID,
            template.sans.encode()?,
            criticality,
        )?);
    }
    Ok(extensions)
}

fn key_usage(template: &CertificateTemplate) -> Result<Option<pkix::KeyUsage>, AssembleError> {
    let algorithm = template.key.algorithm();
    let possible = template
        .key_usages
        .iter()
        .filter(|usage| is_possible(**usage, algorithm));
    let flags: Vec<pkix::KeyUsages> = possible.map(|usage| flag(*usage)).collect();
    match (flags.as_slice(), template.key_usages.as_slice()) {
        ([], []) => Ok(None),
        ([], _) => Err(AssembleError::NoKeyUsage { algorithm }),
        _ => Ok(Some(pkix::KeyUsage(
            flags
                .into_iter()
                .fold(Default::default(), |all, flag| all | flag),
        ))),
    }
}

pub(in crate::pki) fn flag(usage: KeyUsage) -> pkix::KeyUsages {
    match usage {
        KeyUsage::DigitalSignature => pkix::KeyUsages::DigitalSignature,
        KeyUsage::ContentCommitment => pkix::KeyUsages::NonRepudiation,
        KeyUsage::KeyEncipherment => pkix::KeyUsages::KeyEncipherment,
        KeyUsage::DataEncipherment => pkix::KeyUsages::DataEncipherment,
        KeyUsage::KeyAgreement => pkix::KeyUsages::KeyAgreement,
        KeyUsage::KeyCertSign => pkix::KeyUsages::KeyCertSign,
        KeyUsage::CrlSign => pkix::KeyUsages::CRLSign,
    }
}

/// RFC 3279 §2.3.1 for RSA, RFC 5480 §3 and RFC 8813 §3 for ECDSA, RFC 8410 §5 for Ed25519.
fn is_possible(usage: KeyUsage, algorithm: PublicKeyAlgorithm) -> bool {
    match usage {
        KeyUsage::KeyEncipherment | KeyUsage::DataEncipherment => {
            matches!(algorithm, PublicKeyAlgorithm::Rsa { .. })
        }
        KeyUsage::KeyAgreement => !matches!(
            algorithm,
            PublicKeyAlgorithm::Rsa { .. } | PublicKeyAlgorithm::Ed25519
        ),
        KeyUsage::DigitalSignature
        | KeyUsage::ContentCommitment
        | KeyUsage::KeyCertSign
        | KeyUsage::CrlSign => true,
    }
}

/// The extension, each purpose once; `None` for none.
pub(in crate::pki) fn extended_key_usage(
    purposes: &[ExtendedKeyUsage],
) -> Result<Option<pkix::ExtendedKeyUsage>, AssembleError> {
    let mut oids = Vec::new();
    for purpose in purposes {
        let invalid = || AssembleError::ExtendedKeyUsage {
            oid: purpose.oid().to_owned(),
        };
        let oid = crate::pki::dotted::parse(purpose.oid()).ok_or_else(invalid)?;
        if !oids.contains(&oid) {
            oids.push(oid);
        }
    }
    Ok((!oids.is_empty()).then_some(pkix::ExtendedKeyUsage(oids)))
}

/// The issuer's SKI as it stands; for an issuer without one, what its SKI would be (RFC 7093 §2, method 1).
fn authority_key_id(issuer: Issuer<'_>) -> Result<Option<Vec<u8>>, AssembleError> {
    let Issuer::Authority { certificate, .. } = issuer else {
        return Ok(None);
    };
    if let Some(id) = certificate.subject_key_id() {
        return Ok(Some(id.to_vec()));
    }
    let key = certificate
        .public_key()
        .map_err(|_| AssembleError::Signer)?;
    Ok(Some(key.key_id().to_vec()))
}

fn extension<T: AssociatedOid + Encode>(
    value: &T,
    criticality: Criticality,
) -> Result<Extension, AssembleError> {
    raw(T::OID, value.to_der()?, criticality)
}

fn raw(
    oid: ObjectIdentifier,
    value: Vec<u8>,
    criticality: Criticality,
) -> Result<Extension, AssembleError> {
    let critical = matches!(criticality, Criticality::Critical);
    Ok(Extension {
        extn_id: oid,
        critical,
        extn_value: OctetString::new(value)?,
    })
}
