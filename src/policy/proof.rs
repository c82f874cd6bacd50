//! What a client certificate proves: that it is a device's, that it may begin as a bootstrap certificate, or that it speaks for
//! others as a registration authority.

use std::borrow::Borrow;

use jiff::Timestamp;

use super::{
    BootstrapRules, Group, KnownAuthority, Principal, Reason, Refusal, RegistrationId, Standing,
};
use crate::{
    api::{CertificateAuthority, DeviceIdentity, DeviceState},
    pki::{Certificate, Csr, ExtendedKeyUsage, Fingerprint, chain},
};

fn unknown(why: impl Into<String>) -> Refusal {
    Refusal::new(Reason::UnknownCertificate, why)
}

/// The certificate that was presented, DER.
pub fn read(der: &[u8]) -> Result<Certificate, Refusal> {
    Certificate::from_der(der)
        .map_err(|e| unknown(format!("the client certificate cannot be read: {e}")))
}

/// Whether a certificate is valid still. One that is not valid yet proves nothing.
pub fn standing(certificate: &Certificate, now: Timestamp) -> Result<Standing, Refusal> {
    let validity = certificate.validity();
    if now < validity.not_before {
        return Err(not_valid_now(certificate));
    }
    Ok(if now >= validity.not_after {
        Standing::Expired
    } else {
        Standing::Valid
    })
}

/// What is said of a certificate that is out of its time.
pub fn not_valid_now(certificate: &Certificate) -> Refusal {
    let validity = certificate.validity();
    Refusal::new(
        Reason::CertificateExpired,
        format!(
            "the client certificate is valid from {} until {} only: enrol anew in another way",
            validity.not_before, validity.not_after
        ),
    )
}

/// Whether a certificate is on a device's record.
pub fn has_on_record(device: &DeviceIdentity, fingerprint: &Fingerprint) -> bool {
    let fingerprint = fingerprint.to_string();
    device.status.as_ref().is_some_and(|status| {
        let newest = status.certificate.iter().map(|newest| &newest.fingerprint);
        newest
            .chain(status.previous.iter().map(|past| &past.fingerprint))
            .any(|known| *known == fingerprint)
    })
}

/// The names of the DeviceIdentities on whose record a certificate could be: its common name is the ID, or leads to it by the
/// group's template.
pub fn names_of_owner(certificate: &Certificate, group: &Group) -> Vec<String> {
    let Some(name) = certificate.subject().common_name() else {
        return Vec::new();
    };
    let ids = [RegistrationId::parse(&name), group.ids.id_of(&name)];
    let mut names: Vec<String> = ids
        .into_iter()
        .flatten()
        .map(|id| id.object_name())
        .collect();
    names.dedup();
    names
}

/// Whether one of the authorities signed a certificate; `namespace` narrows that to its own.
pub fn is_signed_by_one_of(
    certificate: &Certificate,
    authorities: &[KnownAuthority],
    namespace: Option<&str>,
) -> bool {
    authorities
        .iter()
        .filter(|authority| {
            namespace.is_none() || authority.object.metadata.namespace.as_deref() == namespace
        })
        .any(|authority| authority.signed(certificate))
}

/// The device on whose record the certificate is; that its authority signed it is verified again.
pub fn device(
    certificate: Certificate,
    standing: Standing,
    device: &DeviceIdentity,
    authorities: &[KnownAuthority],
) -> Result<Principal, Refusal> {
    let fingerprint = certificate.fingerprint().to_string();
    let issuer = device.status.as_ref().and_then(|status| {
        let newest = status
            .certificate
            .iter()
            .map(|newest| (&newest.fingerprint, &newest.issuer_fingerprint));
        let older = status
            .previous
            .iter()
            .map(|past| (&past.fingerprint, &past.issuer_fingerprint));
        let mut all = newest.chain(older);
        all.find_map(|(known, issuer)| (*known == fingerprint).then_some(issuer))
    });
    let is_signed = issuer.is_some_and(|issuer| {
        authorities
            .iter()
            .filter(|authority| authority.object.metadata.namespace == device.metadata.namespace)
            .filter(|authority| is_certified_as(&authority.object, issuer))
            .filter(|authority| authority.chain[0].fingerprint().to_string() == *issuer)
            .any(|authority| authority.signed(&certificate))
    });
    if !is_signed {
        return Err(unknown(
            "the client certificate was not signed by the authority that is on its record",
        ));
    }
    Ok(Principal::Device {
        certificate: Box::new(certificate),
        standing,
    })
}

fn is_certified_as(authority: &CertificateAuthority, fingerprint: &str) -> bool {
    let own = authority
        .status
        .as_ref()
        .and_then(|status| status.certificate.as_ref());
    own.is_some_and(|own| own.fingerprint == fingerprint)
}

/// The group's rules for certificates from elsewhere, if it has any and does not deny this one.
pub fn bootstrap_rules<'g>(
    certificate: &Certificate,
    group: &'g Group,
) -> Result<&'g BootstrapRules, Refusal> {
    let rules = group
        .bootstrap
        .as_ref()
        .ok_or_else(|| unknown("the client certificate is on no device's record here"))?;
    if rules.denied.contains(&certificate.fingerprint()) {
        let message = "this bootstrap certificate is on the group's list of denied ones";
        return Err(Refusal::new(Reason::BootstrapDenied, message));
    }
    Ok(rules)
}

/// Refuses a bootstrap certificate that leads to none of the trust anchors. `presented` is what came with it, DER.
pub fn leads_to(
    certificate: &Certificate,
    presented: &[Vec<u8>],
    anchors: &[Certificate],
    now: Timestamp,
) -> Result<(), Refusal> {
    let presented: Vec<Certificate> = presented
        .iter()
        .filter_map(|der| Certificate::from_der(der).ok())
        .collect();
    let verified = chain::verify(certificate, &presented, anchors, now);
    verified.map(|_anchor| ()).map_err(|why| {
        unknown(format!(
            "the client certificate is on no device's record here, and as a bootstrap certificate it is not trusted: {why}"
        ))
    })
}

/// The only ID that a certificate may claim which one of our own authorities signed: such a certificate was a device's, and
/// must never become another's. One whose device is suspended or revoked may claim nothing. `owners` are the devices on
/// whose record it is.
pub fn own_name(
    certificate: &Certificate,
    owners: &[impl Borrow<DeviceIdentity>],
    authorities: &[KnownAuthority],
) -> Result<Option<RegistrationId>, Refusal> {
    let is_stopped = |owner: &DeviceIdentity| owner.spec.state != DeviceState::Active;
    if owners.iter().any(|owner| is_stopped(owner.borrow())) {
        let message = "the client certificate is that of a device which is suspended or revoked";
        return Err(Refusal::new(Reason::Revoked, message));
    }
    if owners.is_empty() && !is_signed_by_one_of(certificate, authorities, None) {
        return Ok(None);
    }
    let name = certificate.subject().common_name().unwrap_or_default();
    RegistrationId::parse(&name).map(Some).map_err(|_| {
        unknown("the client certificate was issued here and names no device, so it opens nothing")
    })
}

/// The certificate of a registration authority that asks for another device than its own, `name`. RFC 7030 §3.7,
/// RFC 6402 §2.10.
pub fn speaks_for_another<'p>(
    principal: &'p Principal,
    name: &str,
    csr: &Csr,
    group: &Group,
) -> Option<&'p Certificate> {
    let Principal::Device {
        certificate,
        standing: Standing::Valid,
    } = principal
    else {
        return None;
    };
    if !certificate
        .extended_key_usages()
        .contains(&ExtendedKeyUsage::CmcRa)
    {
        return None;
    }
    let asked = csr
        .subject()
        .common_name()
        .map(|name| group.ids.id_of(&name));
    let is_for_itself = matches!(asked, Some(Ok(id)) if id.object_name() == name);
    (!is_for_itself).then_some(certificate)
}

/// Refuses a registration authority, the device `name`, that the group does not list.
pub fn check_listed(
    certificate: &Certificate,
    name: &str,
    group: &Group,
    authorities: &[KnownAuthority],
) -> Result<(), Refusal> {
    let is_listed = group.registration_authorities.iter().any(|rule| {
        rule.subject.same_text(certificate.subject())
            && authorities
                .iter()
                .filter(|authority| {
                    let metadata = &authority.object.metadata;
                    metadata.namespace.as_ref() == Some(&group.namespace)
                        && metadata.name.as_ref() == Some(&rule.authority)
                })
                .any(|authority| authority.signed(certificate))
    });
    if is_listed {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::RegistrationAuthorityNotListed,
        format!(
            "the certificate of {name} is that of a registration authority, but this group does not list it: add its authority \
             and subject to authentication.registrationAuthorities"
        ),
    ))
}

/// A registration authority, whose own device is as it is `now`.
pub fn registration_authority(
    certificate: &Certificate,
    name: &str,
    now: Option<&DeviceIdentity>,
) -> Result<Principal, Refusal> {
    match now {
        Some(now) if now.spec.state != DeviceState::Active => Err(Refusal::new(
            Reason::Suspended,
            format!("the registration authority {name} is suspended or revoked"),
        )),
        Some(now) if has_on_record(now, &certificate.fingerprint()) => {
            Ok(Principal::RegistrationAuthority {
                certificate: Box::new(certificate.clone()),
            })
        }
        _ => Err(unknown(format!(
            "the registration authority {name} was deleted just now"
        ))),
    }
}
