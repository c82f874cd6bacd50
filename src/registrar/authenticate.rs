//! Who asks? Turns what a client offered into what it proved.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Authorization, BasicCredentials, Credentials, Rejection, authority_chain, local::LocalRegistrar,
};
use crate::{
    api::{CertificateAuthority, DeviceIdentity},
    pki::Certificate,
    policy::{Group, Principal, Reason, Refusal, RegistrationId},
};

/// How long a user name may be; it goes on record.
const LONGEST_USER: usize = 128;

/// A proven requester, with the device that a certificate leads to.
pub(super) struct Authenticated {
    pub principal: Principal,
    pub device: Option<Arc<DeviceIdentity>>,
}

impl LocalRegistrar {
    /// A client certificate decides where there is one: a bad one beside a good password is refused, not ignored.
    pub(super) async fn authenticate(
        &self,
        credentials: &Credentials,
        group: &Group,
        now: Timestamp,
    ) -> Result<Authenticated, Rejection> {
        if let Some(leaf) = credentials.chain.first() {
            return self.by_certificate(leaf, group, now).await;
        }
        if let Some(Authorization::Basic(basic)) = &credentials.authorization {
            return self.by_password(basic, group).await;
        }
        let message = match group.passwords {
            Some(_) => {
                "send a user name and password (HTTP Basic), or the device's certificate in TLS"
            }
            None => "send the device's certificate in TLS: this group does not accept passwords",
        };
        Err(Refusal::new(Reason::CredentialsMissing, message).into())
    }

    async fn by_certificate(
        &self,
        leaf: &[u8],
        group: &Group,
        now: Timestamp,
    ) -> Result<Authenticated, Rejection> {
        let unknown =
            |why: &str| Rejection::from(Refusal::new(Reason::UnknownCertificate, why.to_string()));
        let certificate = Certificate::from_der(leaf)
            .map_err(|e| unknown(&format!("the client certificate cannot be read: {e}")))?;
        let validity = certificate.validity();
        if now < validity.not_before || now >= validity.not_after {
            return Err(Refusal::new(
                Reason::CertificateExpired,
                format!(
                    "the client certificate is valid from {} until {} only: enrol anew in another way",
                    validity.not_before, validity.not_after
                ),
            )
            .into());
        }
        let device = self
            .device_of(&certificate, group)
            .await?
            .ok_or_else(|| unknown("the client certificate is on no device's record here"))?;
        if !self.signed_by_own_authority(&device, &certificate) {
            return Err(unknown(
                "the client certificate was not signed by the authority that is on its record",
            ));
        }
        Ok(Authenticated {
            principal: Principal::Device {
                certificate: Box::new(certificate),
            },
            device: Some(device),
        })
    }

    /// The device on whose record the certificate is. A certificate that was issued a moment ago may not be in the
    /// fleet yet, so the device that its common name leads to is read as well.
    async fn device_of(
        &self,
        certificate: &Certificate,
        group: &Group,
    ) -> Result<Option<Arc<DeviceIdentity>>, Rejection> {
        let fingerprint = certificate.fingerprint();
        if let Some(device) = self
            .fleet()
            .device_by_certificate(&group.namespace, &fingerprint)
        {
            return Ok(Some(device));
        }
        // Anybody can make a certificate; only one that an authority here has signed is worth a question to the API server.
        if !self.is_signed_here(certificate, &group.namespace) {
            return Ok(None);
        }
        let Some(Ok(id)) = certificate
            .subject()
            .common_name()
            .map(|name| RegistrationId::parse(&name))
        else {
            return Ok(None);
        };
        let device = self
            .read_device(&group.namespace, &id.object_name())
            .await?;
        let recorded = |device: &DeviceIdentity| {
            let text = fingerprint.to_string();
            device.status.as_ref().is_some_and(|status| {
                status
                    .certificate
                    .as_ref()
                    .is_some_and(|current| current.fingerprint == text)
                    || status.previous.iter().any(|past| past.fingerprint == text)
            })
        };
        Ok(device.filter(recorded).map(Arc::new))
    }

    fn is_signed_here(&self, certificate: &Certificate, namespace: &str) -> bool {
        let authorities = self.fleet().authorities();
        let here = authorities
            .iter()
            .filter(|authority| authority.metadata.namespace.as_deref() == Some(namespace));
        here.filter_map(|authority| authority_chain(authority)?.into_iter().next())
            .any(|authority| certificate.is_signed_by(&authority))
    }

    fn signed_by_own_authority(&self, device: &DeviceIdentity, certificate: &Certificate) -> bool {
        let fingerprint = certificate.fingerprint().to_string();
        let Some(status) = &device.status else {
            return false;
        };
        let current = status
            .certificate
            .as_ref()
            .map(|current| (&current.fingerprint, &current.issuer_fingerprint));
        let previous = status
            .previous
            .iter()
            .map(|past| (&past.fingerprint, &past.issuer_fingerprint));
        let Some((_, issuer)) = current
            .into_iter()
            .chain(previous)
            .find(|(known, _)| **known == fingerprint)
        else {
            return false;
        };
        let namespace = device.metadata.namespace.as_deref();
        self.fleet()
            .authorities()
            .iter()
            .filter(|authority| authority.metadata.namespace.as_deref() == namespace)
            .filter(|authority| is_certified_as(authority, issuer))
            .filter_map(|authority| authority_chain(authority)?.into_iter().next())
            .filter(|authority| authority.fingerprint().to_string() == *issuer)
            .any(|authority| certificate.is_signed_by(&authority))
    }

    async fn by_password(
        &self,
        basic: &BasicCredentials,
        group: &Group,
    ) -> Result<Authenticated, Rejection> {
        let Some(rules) = &group.passwords else {
            let message = "this group does not accept passwords: use the device's certificate";
            return Err(Refusal::new(Reason::PasswordsDisabled, message).into());
        };
        if basic.user.len() > LONGEST_USER {
            let message = format!("the user name has more than {LONGEST_USER} bytes");
            return Err(Refusal::new(Reason::WrongPassword, message).into());
        }
        self.passwords(&group.namespace, &rules.secret)
            .await?
            .verify(basic)
            .await?;
        Ok(Authenticated {
            principal: Principal::Password {
                user: basic.user.clone(),
            },
            device: None,
        })
    }
}

fn is_certified_as(authority: &CertificateAuthority, fingerprint: &str) -> bool {
    let own = authority
        .status
        .as_ref()
        .and_then(|status| status.certificate.as_ref());
    own.is_some_and(|own| own.fingerprint == fingerprint)
}
