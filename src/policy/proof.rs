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

/// How many certificates beside the leaf are looked at.
const MOST_PRESENTED: usize = 16;

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
    let status = device.status.as_ref();
    status.is_some_and(|status| status.fingerprints().any(|known| known == fingerprint))
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
        .ok_or_else(|| unknown("the client certificate is on no device's record here: enrol first, without it, by password or token"))?;
    rules.check_not_denied(certificate)?;
    Ok(rules)
}

/// Refuses a bootstrap certificate that leads to none of the trust anchors. `presented` is what came with it, DER.
///
/// What stands in between must not be a device's: a CA that was certified for a device (an Edge CA) signs for that device, and must
/// not make bootstrap certificates for others. So of what our own authorities signed, only authorities count.
pub fn leads_to(
    certificate: &Certificate,
    presented: &[Vec<u8>],
    anchors: &[Certificate],
    authorities: &[KnownAuthority],
    now: Timestamp,
) -> Result<(), Refusal> {
    let is_an_authority = |der: &Certificate| authorities.iter().any(|own| own.chain.contains(der));
    let presented: Vec<Certificate> = presented
        .iter()
        .take(MOST_PRESENTED)
        .filter_map(|der| Certificate::from_der(der).ok())
        .filter(|der| is_an_authority(der) || !is_signed_by_one_of(der, authorities, None))
        .collect();
    let verified = chain::verify(certificate, &presented, anchors, now);
    verified.map(|_anchor| ()).map_err(|why| {
        unknown(format!(
            "the client certificate is on no device's record here, and as a bootstrap certificate it is not trusted: {why}"
        ))
    })
}

/// The only ID that a certificate may claim which one of our own authorities signed: such a certificate was a device's, and
/// must never become another's. One whose device is suspended or revoked may claim nothing, nor one whose device is gone.
/// `owners` are the devices on whose record it is.
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
    if owners.is_empty() {
        return match is_signed_by_one_of(certificate, authorities, None) {
            true => Err(unknown(
                "the client certificate was issued here, but is on no device's record any more, so it opens nothing",
            )),
            false => Ok(None),
        };
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        api::{CertificateAuthority, DeviceIdentitySpec, EnrollmentGroup},
        pki::fixtures::{Ca, now, openssl_csr},
    };

    fn authority(name: &str, ca: &Ca) -> KnownAuthority {
        let fingerprint = ca.certificate.fingerprint().to_string();
        let mut object = CertificateAuthority::new(name, Default::default());
        object.metadata.namespace = Some("ns".into());
        let time = "2026-01-01T00:00:00Z";
        let certificate = json!({
            "serialNumber": "01", "notBefore": time, "notAfter": time, "fingerprint": fingerprint,
            "keyFingerprint": fingerprint, "subject": "CN=x", "issuer": "CN=x", "renewalTime": time,
        });
        object.status = serde_json::from_value(json!({ "certificate": certificate })).ok();
        KnownAuthority {
            object: object.into(),
            chain: [ca.certificate.clone()].into(),
        }
    }

    fn owner(certificate: &Certificate, issuer: &Ca) -> DeviceIdentity {
        let mut object = DeviceIdentity::new("dev1", DeviceIdentitySpec::default());
        object.metadata.namespace = Some("ns".into());
        let previous = json!([{
            "serialNumber": "01", "notAfter": "2030-01-01T00:00:00Z",
            "fingerprint": certificate.fingerprint().to_string(), "keyFingerprint": "",
            "issuerFingerprint": issuer.certificate.fingerprint().to_string(),
        }]);
        object.status = Some(serde_json::from_value(json!({ "previous": previous })).unwrap());
        object
    }

    fn group(spec: serde_json::Value) -> Group {
        let mut object = EnrollmentGroup::new("g", Default::default());
        object.metadata.namespace = Some("ns".into());
        object.spec = serde_json::from_value(spec).unwrap();
        Group::compile(&object).unwrap()
    }

    #[test]
    fn a_certificate_is_a_devices_only_if_the_authority_on_its_record_signed_it() {
        let (ca, other) = (Ca::root("CN=Root"), Ca::root("CN=Root"));
        let leaf = ca.leaf("CN=dev1");
        let judge = |device_: &DeviceIdentity, authorities: &[KnownAuthority]| {
            device(leaf.clone(), Standing::Valid, device_, authorities)
                .map_err(|refusal| refusal.reason)
                .map(|principal| principal.kind())
        };
        let known = owner(&leaf, &ca);
        assert!(has_on_record(&known, &leaf.fingerprint()));
        assert_eq!(judge(&known, &[authority("ca", &ca)]), Ok("Device"));
        let unknown = Err(Reason::UnknownCertificate);
        assert_eq!(judge(&known, &[authority("ca", &other)]), unknown);
        assert_eq!(
            judge(&owner(&leaf, &other), &[authority("ca", &other)]),
            unknown
        );
        let mut elsewhere = authority("ca", &ca);
        Arc::make_mut(&mut elsewhere.object).metadata.namespace = Some("other".into());
        assert_eq!(judge(&known, &[elsewhere]), unknown);
        assert_eq!(
            judge(&owner(&ca.leaf("CN=dev1"), &ca), &[authority("ca", &ca)]),
            unknown
        );
    }

    #[test]
    fn a_certificate_of_ours_claims_its_own_name_and_nothing_while_its_device_is_stopped() {
        let ca = Ca::root("CN=Root");
        let ours = [authority("ca", &ca)];
        let leaf = ca.leaf("CN=dev1");
        let nobody: [DeviceIdentity; 0] = [];
        let name = |certificate: &Certificate, owners: &[DeviceIdentity]| {
            own_name(certificate, owners, &ours).map(|id| id.map(|id| id.to_string()))
        };
        assert_eq!(name(&leaf, &[owner(&leaf, &ca)]), Ok(Some("dev1".into())));
        // Its device was deleted: what was known of it is gone, so it opens nothing.
        let forgotten = name(&leaf, &nobody).unwrap_err();
        assert_eq!(forgotten.reason, Reason::UnknownCertificate);
        assert_eq!(name(&Ca::root("CN=X").leaf("CN=dev1"), &nobody), Ok(None));
        let mut stopped = owner(&leaf, &ca);
        stopped.spec.state = DeviceState::Suspended;
        assert_eq!(name(&leaf, &[stopped]).unwrap_err().reason, Reason::Revoked);
        let nameless = ca.leaf("O=nameless");
        let unnamed = name(&nameless, &[owner(&nameless, &ca)]).unwrap_err();
        assert_eq!(unnamed.reason, Reason::UnknownCertificate);
    }

    #[test]
    fn out_of_its_time_a_certificate_is_expired_or_proves_nothing() {
        let leaf = Ca::root("CN=Root").leaf("CN=dev1");
        let validity = leaf.validity();
        assert_eq!(standing(&leaf, now()), Ok(Standing::Valid));
        assert_eq!(standing(&leaf, validity.not_after), Ok(Standing::Expired));
        let early = Timestamp::from_second(validity.not_before.as_second() - 1).unwrap();
        assert_eq!(
            standing(&leaf, early).unwrap_err().reason,
            Reason::CertificateExpired
        );
    }

    #[test]
    fn bootstrap_certificates_need_rules_and_may_be_denied() {
        let maker = Ca::root("CN=Maker");
        let leaf = maker.leaf("CN=dev1");
        let spec = |denied: serde_json::Value| {
            let bootstrap = json!({ "authorityRefs": [{ "name": "maker" }], "denied": denied });
            group(
                json!({ "authorityRef": { "name": "ca" }, "authentication": { "bootstrap": bootstrap } }),
            )
        };
        let reason = |group: &Group| {
            bootstrap_rules(&leaf, group)
                .map(|_| ())
                .map_err(|r| r.reason)
        };
        let closed = group(json!({ "authorityRef": { "name": "ca" } }));
        assert_eq!(reason(&closed), Err(Reason::UnknownCertificate));
        assert_eq!(reason(&spec(json!([]))), Ok(()));
        let denied = spec(json!([leaf.fingerprint().to_string()]));
        assert_eq!(reason(&denied), Err(Reason::BootstrapDenied));
        // Anybody can write its signature in another way.
        let twin = leaf.twin().unwrap();
        let denied = spec(json!([twin.fingerprint().to_string()]));
        assert_eq!(reason(&denied), Err(Reason::BootstrapDenied));
        let anchors = [maker.certificate.clone()];
        assert_eq!(leads_to(&leaf, &[], &anchors, &[], now()), Ok(()));
        assert!(leads_to(&leaf, &[], &[], &[], now()).is_err());
    }

    #[test]
    fn without_the_purpose_nobody_speaks_for_another() {
        let leaf = Ca::root("CN=Root").leaf("CN=dev1");
        let principal = Principal::Device {
            certificate: Box::new(leaf),
            standing: Standing::Valid,
        };
        let csr = Csr::from_der(&openssl_csr("/CN=dev2", &[])).unwrap();
        let open = group(json!({ "authorityRef": { "name": "ca" } }));
        assert!(speaks_for_another(&principal, "dev1", &csr, &open).is_none());
    }
}
