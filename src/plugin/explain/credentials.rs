//! Who asks: from what is offered to what it proves, by the same steps as the server's.

use jiff::Timestamp;

use super::{Evidence, observed::Observed};
use crate::{
    api::{CertificateAuthority, DeviceIdentity},
    cluster::ApiError,
    pki::Certificate,
    policy::{
        Group, Principal, Refusal, RegistrationId, Standing, Token, proof, read_authority_facts,
        wrong_token,
    },
};

/// A proven requester, with the device that a certificate leads to.
pub(super) struct Authenticated {
    pub principal: Principal,
    pub device: Option<DeviceIdentity>,
}

impl From<Principal> for Authenticated {
    fn from(principal: Principal) -> Self {
        Self {
            principal,
            device: None,
        }
    }
}

/// The outer error is that of a question to the API server; the inner one is the answer of the EST server.
pub(super) type Answer<T> = Result<Result<T, Refusal>, ApiError>;

pub(super) async fn authenticate(
    observed: &Observed,
    evidence: &Evidence,
    group: &Group,
    now: Timestamp,
) -> Answer<Authenticated> {
    match evidence {
        Evidence::Nothing => Ok(Err(group.credentials_missing())),
        Evidence::User(user) => Ok(group
            .password_rules()
            .map(|_| Principal::Password { user: user.clone() }.into())),
        Evidence::Token(name) => by_token(observed, name, group).await,
        Evidence::Certificate { leaf, presented } => match leaf.as_ref() {
            Ok(leaf) => by_certificate(observed, leaf, presented, group, now).await,
            Err(refusal) => Ok(Err(refusal.clone())),
        },
    }
}

async fn by_token(observed: &Observed, name: &str, group: &Group) -> Answer<Authenticated> {
    if let Err(refusal) = group.check_takes_tokens() {
        return Ok(Err(refusal));
    }
    let found = observed.token(name).await?;
    let token = found.ok_or_else(wrong_token).and_then(|object| {
        Token::compile(&object).and_then(|token| {
            token
                .is_for(&group.name)
                .then_some(token)
                .ok_or_else(wrong_token)
        })
    });
    Ok(token.map(|token| {
        Principal::Token {
            token: Box::new(token),
        }
        .into()
    }))
}

async fn by_certificate(
    observed: &Observed,
    leaf: &Certificate,
    presented: &[Vec<u8>],
    group: &Group,
    now: Timestamp,
) -> Answer<Authenticated> {
    let standing = match proof::standing(leaf, now) {
        Ok(standing) => standing,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let owners = observed.owners(leaf);
    let here =
        |device: &&&DeviceIdentity| device.metadata.namespace.as_ref() == Some(&group.namespace);
    if let Some(device) = owners.iter().find(here) {
        let principal = proof::device(leaf.clone(), standing, device, &observed.known);
        return Ok(principal.map(|principal| Authenticated {
            principal,
            device: Some((*device).clone()),
        }));
    }
    if standing == Standing::Expired {
        return Ok(Err(proof::not_valid_now(leaf)));
    }
    // Where the group takes no such certificate, nothing more needs to be asked.
    let claimed = match proof::bootstrap_rules(leaf, group) {
        Ok(_) => observed.claim(leaf).await?,
        Err(_) => None,
    };
    let claimed = claimed.map(|claim| claim.spec.registration_id);
    let bootstrap = by_bootstrap(observed, leaf, presented, group, claimed.as_deref(), now);
    Ok(bootstrap.map(Authenticated::from))
}

fn by_bootstrap(
    observed: &Observed,
    leaf: &Certificate,
    presented: &[Vec<u8>],
    group: &Group,
    claimed: Option<&str>,
    now: Timestamp,
) -> Result<Principal, Refusal> {
    let rules = proof::bootstrap_rules(leaf, group)?;
    let mut anchors = rules.anchors.clone();
    for name in &rules.authorities {
        let authority = find_authority(observed, &group.namespace, name);
        let facts = authority.map(read_authority_facts);
        anchors.extend(facts.and_then(|facts| facts.usable().ok().cloned()));
    }
    proof::leads_to(leaf, presented, &anchors, &observed.known, now)?;
    Ok(Principal::Bootstrap {
        own_name: proof::own_name(leaf, &observed.owners(leaf), &observed.known)?,
        claimed: claimed.map(RegistrationId::parse).transpose()?,
        certificate: Box::new(leaf.clone()),
    })
}

pub(super) fn find_authority<'o>(
    observed: &'o Observed,
    namespace: &str,
    name: &str,
) -> Option<&'o CertificateAuthority> {
    observed.authorities.iter().find(|authority| {
        let metadata = &authority.metadata;
        metadata.namespace.as_deref() == Some(namespace) && metadata.name.as_deref() == Some(name)
    })
}

/// A registration authority that asks for another device.
pub(super) fn for_another(
    observed: &Observed,
    authenticated: &Authenticated,
    csr: &crate::pki::Csr,
    group: &Group,
) -> Option<Result<Principal, Refusal>> {
    let own = authenticated.device.as_ref()?;
    let name = own.metadata.name.as_deref().unwrap_or_default();
    let certificate = proof::speaks_for_another(&authenticated.principal, name, csr, group)?;
    let listed = proof::check_listed(certificate, name, group, &observed.known);
    Some(listed.and_then(|()| proof::registration_authority(certificate, name, Some(own))))
}
