//! Who asks? Turns what a client offered into what it proved.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Authorization, BasicCredentials, Credentials, Rejection, local::LocalRegistrar};
use crate::{
    api::{CertificateAuthority, DeviceIdentity},
    pki::Certificate,
    policy::{Group, Principal, Reason, Refusal, RegistrationId, Standing, TokenText},
};

/// How long a user name may be; it goes on record.
const LONGEST_USER: usize = 128;

/// A proven requester, with the device that a certificate leads to.
pub(super) struct Authenticated {
    pub principal: Principal,
    pub device: Option<Arc<DeviceIdentity>>,
}

impl Authenticated {
    fn somebody(principal: Principal) -> Self {
        Self {
            principal,
            device: None,
        }
    }
}

impl LocalRegistrar {
    /// A client certificate decides where there is one: a bad one beside a good password is refused, not ignored.
    pub(super) async fn authenticate(
        &self,
        credentials: &Credentials,
        group: &Group,
        now: Timestamp,
    ) -> Result<Authenticated, Rejection> {
        if let Some((leaf, issuers)) = credentials.chain.split_first() {
            return self.by_certificate(leaf, issuers, group, now).await;
        }
        match &credentials.authorization {
            Some(Authorization::Basic(basic)) => match TokenText::parse(&basic.password) {
                Some(token) => self.by_token(&token, group).await,
                None => self.by_password(basic, group).await,
            },
            Some(Authorization::Bearer(bearer)) => match TokenText::parse(&bearer.0) {
                Some(token) => self.by_token(&token, group).await,
                None => {
                    Err(Refusal::new(Reason::WrongToken, "the bearer token is none of ours").into())
                }
            },
            None => {
                let message = format!("send {}", ways_in(group));
                Err(Refusal::new(Reason::CredentialsMissing, message).into())
            }
        }
    }

    async fn by_certificate(
        &self,
        leaf: &[u8],
        issuers: &[Vec<u8>],
        group: &Group,
        now: Timestamp,
    ) -> Result<Authenticated, Rejection> {
        let unknown =
            |why: &str| Rejection::from(Refusal::new(Reason::UnknownCertificate, why.to_string()));
        let certificate = Certificate::from_der(leaf)
            .map_err(|e| unknown(&format!("the client certificate cannot be read: {e}")))?;
        let validity = certificate.validity();
        let expired = now >= validity.not_after;
        let not_valid = || {
            Refusal::new(
                Reason::CertificateExpired,
                format!(
                    "the client certificate is valid from {} until {} only: enrol anew in another way",
                    validity.not_before, validity.not_after
                ),
            )
        };
        if now < validity.not_before {
            return Err(not_valid().into());
        }
        let Some(device) = self.device_of(&certificate, group).await? else {
            if expired {
                return Err(not_valid().into());
            }
            return self
                .by_bootstrap(certificate, issuers, group, now)
                .await
                .map(Authenticated::somebody);
        };
        if !self.signed_by_own_authority(&device, &certificate) {
            return Err(unknown(
                "the client certificate was not signed by the authority that is on its record",
            ));
        }
        Ok(Authenticated {
            principal: Principal::Device {
                certificate: Box::new(certificate),
                standing: if expired {
                    Standing::Expired
                } else {
                    Standing::Valid
                },
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
        if !self.is_signed_here(certificate, Some(&group.namespace)) {
            return Ok(None);
        }
        let Some(name) = certificate.subject().common_name() else {
            return Ok(None);
        };
        // The common name is the ID, or leads to it by the group's template.
        let ids = [RegistrationId::parse(&name), group.ids.id_of(&name)];
        let mut names: Vec<String> = ids
            .into_iter()
            .flatten()
            .map(|id| id.object_name())
            .collect();
        names.dedup();
        for name in names {
            if let Some(device) = self.read_device(&group.namespace, &name).await?
                && has_on_record(&device, &fingerprint.to_string())
            {
                return Ok(Some(Arc::new(device)));
            }
        }
        Ok(None)
    }

    /// Whether one of the authorities here signed a certificate; `namespace` narrows that to its own.
    pub(super) fn is_signed_here(
        &self,
        certificate: &Certificate,
        namespace: Option<&str>,
    ) -> bool {
        self.chains_in(namespace)
            .filter_map(|(_, chain)| chain.first().cloned())
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
        self.chains_in(namespace)
            .filter(|(authority, _)| is_certified_as(authority, issuer))
            .filter_map(|(_, chain)| chain.first().cloned())
            .filter(|authority| authority.fingerprint().to_string() == *issuer)
            .any(|authority| certificate.is_signed_by(&authority))
    }

    async fn by_password(
        &self,
        basic: &BasicCredentials,
        group: &Group,
    ) -> Result<Authenticated, Rejection> {
        let Some(rules) = &group.passwords else {
            if group.tokens.is_some() {
                let message = "the password is none of this group's tokens: ask for one, it is printed by kubectl devicecert token";
                return Err(Refusal::new(Reason::WrongToken, message).into());
            }
            let message = format!(
                "this group does not accept passwords: send {}",
                ways_in(group)
            );
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
        Ok(Authenticated::somebody(Principal::Password {
            user: basic.user.clone(),
        }))
    }

    async fn by_token(&self, text: &TokenText, group: &Group) -> Result<Authenticated, Rejection> {
        if group.tokens.is_none() {
            let message = format!("this group does not accept tokens: send {}", ways_in(group));
            return Err(Refusal::new(Reason::TokensDisabled, message).into());
        }
        let wrong = || {
            Refusal::new(
                Reason::WrongToken,
                "the token is unknown, or not for this group: ask for another",
            )
        };
        let token = self
            .read_token(&group.namespace, text.name())
            .await?
            .filter(|token| token.proves(text, &group.name))
            .ok_or_else(wrong)?;
        Ok(Authenticated::somebody(Principal::Token {
            token: Box::new(token),
        }))
    }
}

/// What a requester may send to prove itself, in words.
fn ways_in(group: &Group) -> String {
    let ways = [
        group
            .passwords
            .as_ref()
            .map(|_| "a user name and password (HTTP Basic)"),
        group
            .tokens
            .as_ref()
            .map(|_| "a one-time token (as the password, or as Bearer)"),
        group
            .bootstrap
            .as_ref()
            .map(|_| "a bootstrap certificate in TLS"),
        Some("the device's certificate in TLS"),
    ];
    let ways: Vec<&str> = ways.into_iter().flatten().collect();
    ways.join(", or ")
}

/// Whether a certificate is on a device's record.
pub(super) fn has_on_record(device: &DeviceIdentity, fingerprint: &str) -> bool {
    device.status.as_ref().is_some_and(|status| {
        let newest = status.certificate.iter().map(|newest| &newest.fingerprint);
        newest
            .chain(status.previous.iter().map(|past| &past.fingerprint))
            .any(|known| known == fingerprint)
    })
}

fn is_certified_as(authority: &CertificateAuthority, fingerprint: &str) -> bool {
    let own = authority
        .status
        .as_ref()
        .and_then(|status| status.certificate.as_ref());
    own.is_some_and(|own| own.fingerprint == fingerprint)
}
