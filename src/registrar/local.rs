//! The registrar in the process that holds the keys: fresh inputs, one decision, one signature, one record.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Resource, ResourceExt};

use super::{
    Keyring, Passwords, Rejection, Signer, compiled::Compiled, fresh::Fresh, key_secret_name,
    pace::Pace, pending::Protection, reserved::Reserved, server_key::ServerPair,
    signer::random_serial, turns::Turns,
};
use crate::{
    api::{CertificateAuthority, DeviceIdentity, EnrollmentGroup},
    audit::Audit,
    cluster::{self, ApiError, Clients, Events, Outcome, patch_status},
    fleet::Fleet,
    metrics::{Counters, Door},
    pki::Certificate,
    policy::{
        Asked, Authority, Device, Grant, Group, GroupKey, Labels, Principal, Purpose, Reason,
        Recording, Refusal, Situation, Standing, authority_not_found, authorize, passwords_missing,
        read_authority_facts, record, renewal_time,
    },
};

/// The registrar that signs.
pub struct LocalRegistrar {
    client: Client,
    fleet: Arc<Fleet>,
    keyring: Arc<Keyring>,
    pub(super) labels: Labels,
    pub(super) counters: Counters,
    pub(super) audit: Audit,
    groups: Fresh<EnrollmentGroup, Result<Arc<Group>, Refusal>>,
    authorities: Fresh<CertificateAuthority, AuthorityRead>,
    password_secrets: Fresh<Secret, Result<Arc<Passwords>, Refusal>>,
    pub(super) events: Arc<Events>,
    pub(super) protection: Protection,
    pub(super) pace: Pace,
    pub(super) reserved: Reserved,
    pub(super) compiled: Compiled,
    pub(super) turns: Turns,
    pub(super) server: RwLock<Option<Arc<ServerPair>>>,
}

/// A decision, and what it takes to carry it out.
pub(super) struct Decided {
    pub group: Arc<Group>,
    pub grant: Grant,
    pub signer: Signer,
    pub now: jiff::Timestamp,
}

/// What a fresh read of a CertificateAuthority says.
#[derive(Clone)]
struct AuthorityRead {
    facts: Authority,
    key_secret: Option<String>,
}

/// Who asks, and in which group's name. The group is the one that authenticated the requester (EST: the one that the path
/// names), so that a password of one group opens nothing in another.
pub struct Requester {
    /// What was proven.
    pub principal: Principal,
    /// The group whose rules hold.
    pub group: GroupKey,
    /// The door, for metrics.
    pub door: Door,
    /// Whether the request proved that it was made for its TLS connection.
    pub bound_to_channel: bool,
}

impl Requester {
    /// The operator itself, for a device of this group in the cluster.
    pub fn operator(group: GroupKey) -> Self {
        Self {
            principal: Principal::Operator,
            group,
            door: Door::Operator,
            bound_to_channel: false,
        }
    }
}

/// A certificate that is on record and may be released.
pub struct Issued {
    /// The certificate.
    pub certificate: Certificate,
    /// Its issuers, up to the self-signed root.
    pub chain: Vec<Certificate>,
    /// The device with the certificate on its record.
    pub device: DeviceIdentity,
    /// Whether it is the first or a renewal.
    pub reason: Reason,
}

impl LocalRegistrar {
    /// A registrar over the fleet.
    pub fn new(
        clients: &Clients,
        fleet: Arc<Fleet>,
        keyring: Arc<Keyring>,
        labels: Labels,
        counters: Counters,
        events: Arc<Events>,
        audit: Audit,
    ) -> Self {
        let client = clients.calls.clone();
        Self {
            groups: Fresh::new(client.clone(), "read EnrollmentGroup", |group| {
                Group::compile(&group).map(Arc::new)
            }),
            authorities: Fresh::new(client.clone(), "read CertificateAuthority", |authority| {
                read_authority(&authority)
            }),
            password_secrets: Fresh::new(client.clone(), "read the password Secret", |secret| {
                Passwords::from_secret(&secret).map(Arc::new)
            }),
            protection: Protection::new(&client),
            client,
            fleet,
            keyring,
            labels,
            counters,
            events,
            pace: Pace::default(),
            reserved: Reserved::default(),
            compiled: Compiled::default(),
            turns: Turns::default(),
            server: RwLock::default(),
            audit,
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub(super) fn devices(&self, namespace: &str) -> Api<DeviceIdentity> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A group's rules, as of at most a second ago.
    pub async fn group(&self, key: &GroupKey) -> Result<Arc<Group>, Rejection> {
        match self
            .groups
            .get(
                &key.namespace,
                &key.name,
                self.fleet
                    .group(key)
                    .and_then(|group| group.resource_version()),
            )
            .await?
        {
            Some(group) => Ok(group?),
            None => Err(Refusal::new(
                Reason::GroupNotFound,
                format!("there is no EnrollmentGroup {key}: create it"),
            )
            .into()),
        }
    }

    /// The users of a password Secret, as of at most a second ago.
    pub async fn passwords(
        &self,
        namespace: &str,
        secret: &str,
    ) -> Result<Arc<Passwords>, Rejection> {
        match self.password_secrets.get(namespace, secret, None).await? {
            Some(passwords) => Ok(passwords?),
            None => Err(passwords_missing(namespace, secret).into()),
        }
    }

    /// An authority as policy sees it, and the means to sign if it may, as of at most a second ago.
    pub async fn authority(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<(Authority, Option<Signer>), Rejection> {
        let known = self
            .fleet
            .authority(namespace, name)
            .and_then(|authority| authority.resource_version());
        let Some(read) = self.authorities.get(namespace, name, known).await? else {
            return Err(authority_not_found(namespace, name).into());
        };
        let (Ok(certificate), Some(secret)) = (read.facts.usable(), &read.key_secret) else {
            return Ok((read.facts, None));
        };
        let key = self.keyring.get(secret, certificate.fingerprint()).await?;
        Ok((read.facts, Some(Signer::new(key))))
    }

    /// A device as the API server has it now.
    pub(super) async fn read_device(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<DeviceIdentity>, Rejection> {
        let device = self.devices(namespace).get_opt(name).await;
        Ok(device.map_err(|e| ApiError::new("read DeviceIdentity", name, e))?)
    }

    /// Decides, signs and records. The certificate comes back only once the API server has confirmed the record, which is
    /// written under the resourceVersion that the decision rested on: [`Reason::Conflict`] means that the object has
    /// changed, and the certificate is dropped. Refusals are for the caller to count: only it knows which is its last word.
    pub async fn issue(
        &self,
        object: &DeviceIdentity,
        requester: &Requester,
        asked: Asked<'_>,
    ) -> Result<Issued, Rejection> {
        let device = Device::compile(object)?;
        match requester.door {
            // The answer over EST is the last word, and is told where it is given.
            Door::Est => {
                self.sign_and_record(object, &device, requester, asked)
                    .await
            }
            Door::Operator => {
                let result = match self.auditable() {
                    Ok(()) => {
                        self.sign_and_record(object, &device, requester, asked)
                            .await
                    }
                    Err(refusal) => Err(refusal.into()),
                };
                match result {
                    // Nothing is decided: the object has changed, and will be looked at anew.
                    Err(rejection) if rejection.reason == Reason::Conflict => Err(rejection),
                    result => self.audited_within(&device, requester, asked, result).await,
                }
            }
        }
    }

    async fn sign_and_record(
        &self,
        object: &DeviceIdentity,
        device: &Device,
        requester: &Requester,
        asked: Asked<'_>,
    ) -> Result<Issued, Rejection> {
        let Decided {
            group,
            grant,
            signer,
            now,
        } = self.decide(device, requester, asked, Purpose::New).await?;
        let _reservation = self.reserve(asked.key(), device).await?;
        let certificate = signer.sign(&grant, random_serial()?, now)?;
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        let recording = Recording {
            device,
            principal: &requester.principal,
            grant: &grant,
            certificate: &certificate,
            renewal_time: renewal_time(certificate.validity(), group.threshold, uid),
            generation: object.metadata.generation,
            now,
        };
        let old = object.status.clone().unwrap_or_default();
        let new = record(&old, &recording);
        let written = patch_status(&self.devices(&device.namespace), object, &old, &new).await?;
        let written = written.ok_or_else(|| {
            Refusal::new(
                Reason::Internal,
                "a new certificate left no trace on the record",
            )
        })?;
        let reason = if device.current.is_some() {
            Reason::Renewed
        } else {
            Reason::Issued
        };
        self.counters
            .issued(requester.door, &requester.group, reason);
        Ok(Issued {
            certificate,
            chain: signer.chain(),
            device: written,
            reason,
        })
    }

    /// One decision on inputs that are at most a second old.
    pub(super) async fn decide(
        &self,
        device: &Device,
        requester: &Requester,
        asked: Asked<'_>,
        purpose: Purpose,
    ) -> Result<Decided, Rejection> {
        let group = self.group(&requester.group).await?;
        self.check_approval_is_protected(&group).await?;
        let (authority, signer) = self.authority(&group.namespace, &group.authority).await?;
        let now = cluster::now();
        let grant = authorize(&Situation {
            principal: &requester.principal,
            asked,
            group: &group,
            authority: &authority,
            device,
            key_holder: &self.key_holder(asked.key(), device),
            bound_to_channel: requester.bound_to_channel,
            purpose,
            now,
        })?;
        let signer = signer.ok_or_else(|| {
            Refusal::new(
                Reason::AuthorityNotReady,
                "the authority has no key at hand",
            )
        })?;
        Ok(Decided {
            group,
            grant,
            signer,
            now,
        })
    }

    /// A certificate that was renewed after it had expired deserves a look.
    pub(super) fn tell_of_recovery(&self, device: &DeviceIdentity, principal: &Principal) {
        let Principal::Device {
            certificate,
            standing: Standing::Expired,
        } = principal
        else {
            return;
        };
        let note = format!(
            "the certificate that expired at {} was renewed within the group's recoveryWindow",
            certificate.validity().not_after
        );
        self.events
            .warning(device.object_ref(&()), Reason::Recovered, &note);
    }
}

fn read_authority(object: &CertificateAuthority) -> AuthorityRead {
    AuthorityRead {
        facts: read_authority_facts(object),
        // The name follows from the object, never from what its status says: whoever can write a status of his own must
        // not reach the key of another authority.
        key_secret: object
            .status
            .as_ref()
            .and_then(|status| status.generations.last())
            .map(|generation| {
                let namespace = object.namespace().unwrap_or_default();
                key_secret_name(&namespace, &object.name_any(), generation.number)
            }),
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let retry_after = match refusal.reason {
            Reason::Overloaded | Reason::Conflict | Reason::NotReady => {
                Some(Duration::from_secs(2))
            }
            // How often somebody who waits for a person should ask.
            Reason::PendingApproval => Some(Duration::from_secs(30)),
            Reason::TooManyCertificates => Some(Duration::from_secs(60)),
            _ => None,
        };
        Self {
            reason: refusal.reason,
            message: refusal.message,
            retry_after,
        }
    }
}

impl From<&ApiError> for Rejection {
    fn from(error: &ApiError) -> Self {
        tracing::warn!(%error, source = ?std::error::Error::source(error), "a call to the API server failed");
        let reason = match error.outcome() {
            // An object that is gone has changed like any other: whoever decided on it decides anew.
            Outcome::Conflict | Outcome::NotFound => Reason::Conflict,
            // An API server that is starting refuses everybody until it knows the roles.
            Outcome::Unavailable | Outcome::Forbidden => Reason::ApiUnavailable,
            Outcome::Exists | Outcome::Refused => Reason::Internal,
        };
        Self {
            reason,
            message: error.to_string(),
            retry_after: Some(Duration::from_secs(5)),
        }
    }
}

impl From<ApiError> for Rejection {
    fn from(error: ApiError) -> Self {
        (&error).into()
    }
}

impl From<Arc<ApiError>> for Rejection {
    fn from(error: Arc<ApiError>) -> Self {
        error.as_ref().into()
    }
}
