//! Who asks? Turns what a client offered into what it proved.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Authorization, BasicCredentials, Credentials, Rejection, local::LocalRegistrar};
use crate::{
    api::DeviceIdentity,
    pki::Certificate,
    policy::{Group, Principal, Reason, Refusal, Standing, TokenText, proof, wrong_token},
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
            None => Err(group.credentials_missing().into()),
        }
    }

    async fn by_certificate(
        &self,
        leaf: &[u8],
        issuers: &[Vec<u8>],
        group: &Group,
        now: Timestamp,
    ) -> Result<Authenticated, Rejection> {
        let certificate = proof::read(leaf)?;
        let standing = proof::standing(&certificate, now)?;
        let Some(device) = self.device_of(&certificate, group).await? else {
            if standing == Standing::Expired {
                return Err(proof::not_valid_now(&certificate).into());
            }
            return self
                .by_bootstrap(certificate, issuers, group, now)
                .await
                .map(Authenticated::somebody);
        };
        let authorities: Vec<_> = self.chains_in(Some(&group.namespace)).collect();
        Ok(Authenticated {
            principal: proof::device(certificate, standing, &device, &authorities)?,
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
        let names = proof::names_of_owner(certificate, group);
        for name in names {
            if let Some(device) = self.read_device(&group.namespace, &name).await?
                && proof::has_on_record(&device, &fingerprint)
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
        let authorities: Vec<_> = self.chains_in(namespace).collect();
        proof::is_signed_by_one_of(certificate, &authorities)
    }

    async fn by_password(
        &self,
        basic: &BasicCredentials,
        group: &Group,
    ) -> Result<Authenticated, Rejection> {
        let rules = group.password_rules()?;
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
        group.check_takes_tokens()?;
        let token = self
            .read_token(&group.namespace, text.name())
            .await?
            .filter(|token| token.proves(text, &group.name))
            .ok_or_else(wrong_token)?;
        Ok(Authenticated::somebody(Principal::Token {
            token: Box::new(token),
        }))
    }
}
