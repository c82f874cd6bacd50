//! What the cluster says that bears on the question. Of Secrets it asks whether they exist, never what is in them.

use std::fmt::Debug;

use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::Secret,
};
use kube::Api;

use super::Evidence;
use crate::{
    api::{
        BootstrapClaim, CertificateAuthority, DeviceIdentity, DeviceIdentityStatus,
        EnrollmentGroup, EnrollmentToken,
    },
    cluster::{ApiError, Outcome},
    pki::{Certificate, Csr, Fingerprint},
    plugin::connection::{Connection, Namespaced, list},
    policy::{
        Group, KnownAuthority, Reason, Refusal, approval_policy, is_waiting, passwords_missing,
    },
};

/// What the cluster says.
pub(super) struct Observed {
    connection: Connection,
    pub group: EnrollmentGroup,
    pub authorities: Vec<CertificateAuthority>,
    /// Those of them that have certificates.
    pub known: Vec<KnownAuthority>,
    /// The devices on whose record the key of the CSR, or the client certificate, is.
    pub holders: Vec<DeviceIdentity>,
    /// How many devices the group has.
    pub devices: usize,
    /// How many requests wait in the group for a person.
    pub waiting: usize,
    /// What could not be looked at.
    pub blind_spots: Vec<String>,
}

impl Observed {
    pub async fn read(
        connection: &Connection,
        group: EnrollmentGroup,
        csr: &Result<Csr, Refusal>,
        evidence: &Evidence,
    ) -> Result<Self, ApiError> {
        let mut observed = Self {
            connection: connection.clone(),
            authorities: Vec::new(),
            known: Vec::new(),
            holders: Vec::new(),
            devices: 0,
            waiting: 0,
            blind_spots: Vec::new(),
            group,
        };
        observed.authorities = observed.list(Some).await?;
        let all = observed.authorities.iter().cloned();
        observed.known = all.filter_map(KnownAuthority::read).collect();
        let key = csr.as_ref().ok().map(|csr| csr.key().fingerprint());
        let certificate = match evidence {
            Evidence::Certificate { leaf, .. } => {
                leaf.as_ref().as_ref().ok().map(Certificate::fingerprint)
            }
            _ => None,
        };
        let (key, certificate) = (key.map(text), certificate.map(text));
        let (namespace, name) = (
            connection.namespace.clone(),
            observed.group.metadata.name.clone(),
        );
        let (mut devices, mut waiting) = (0, 0);
        observed.holders = observed
            .list(|device: DeviceIdentity| {
                let is_member = device.metadata.namespace.as_ref() == Some(&namespace)
                    && Some(&device.spec.group_ref.name) == name.as_ref();
                devices += usize::from(is_member);
                waiting += usize::from(is_member && is_waiting(&device));
                let is_holder = device.status.as_ref().is_some_and(|status| {
                    let fingerprints = on_record(status);
                    fingerprints.iter().any(|(cert, of_key)| {
                        Some(*cert) == certificate.as_ref() || Some(*of_key) == key.as_ref()
                    })
                });
                is_holder.then_some(device)
            })
            .await?;
        (observed.devices, observed.waiting) = (devices, waiting);
        Ok(observed)
    }

    /// The objects of all namespaces, as the operator sees them; of one where that is all that the user may see.
    async fn list<K: Namespaced, T>(
        &mut self,
        mut keep: impl FnMut(K) -> Option<T>,
    ) -> Result<Vec<T>, ApiError> {
        match list(&self.connection.everywhere(), &mut keep).await {
            Err(error) if error.outcome() == Outcome::Forbidden => {
                self.blind_spots.push(format!(
                    "{} of other namespaces: you may not list them",
                    K::plural(&())
                ));
                list(&self.connection.here(), keep).await
            }
            result => result,
        }
    }

    pub async fn device(&self, name: &str) -> Result<Option<DeviceIdentity>, ApiError> {
        self.connection.find(name).await
    }

    pub async fn token(&self, name: &str) -> Result<Option<EnrollmentToken>, ApiError> {
        let token: Option<EnrollmentToken> = self.connection.find(name).await?;
        Ok(token.filter(|token| token.metadata.deletion_timestamp.is_none()))
    }

    /// Whether the group's password Secret exists. Its contents are not asked for: what is wrong with them the group's
    /// condition says, and a note repeats that.
    pub async fn password_secret(
        &mut self,
        group: &Group,
    ) -> Result<Result<(), Refusal>, ApiError> {
        let Some(rules) = &group.passwords else {
            return Ok(Ok(()));
        };
        let secrets: Api<Secret> =
            Api::namespaced(self.connection.client.clone(), &group.namespace);
        let found = secrets
            .get_metadata_opt(&rules.secret)
            .await
            .map_err(|e| ApiError::new("look for the Secret", &rules.secret, e));
        match found {
            Ok(None) => return Ok(Err(passwords_missing(&group.namespace, &rules.secret))),
            Ok(Some(_)) => {}
            Err(error) if error.outcome() == Outcome::Forbidden => self.blind_spots.push(format!(
                "whether the password Secret {} exists: you may not read it",
                rules.secret
            )),
            Err(error) => return Err(error),
        }
        Ok(Ok(()))
    }

    /// What the operator says about the group's passwords, where they are not in order.
    pub fn password_complaint(&self) -> Option<&str> {
        let conditions = self
            .group
            .status
            .iter()
            .flat_map(|status| &status.conditions);
        conditions
            .filter(|condition| condition.type_ == "Ready")
            .find(|ready| ready.reason == Reason::PasswordsUnavailable.as_str())
            .map(|ready| ready.message.as_str())
    }

    pub async fn claim(
        &self,
        certificate: &Certificate,
    ) -> Result<Option<BootstrapClaim>, ApiError> {
        self.connection
            .find(&certificate.content_digest().to_string())
            .await
    }

    /// The devices on whose record a certificate is.
    pub fn owners(&self, certificate: &Certificate) -> Vec<&DeviceIdentity> {
        let wanted = certificate.fingerprint();
        let owns = |device: &&DeviceIdentity| crate::policy::proof::has_on_record(device, &wanted);
        self.holders.iter().filter(owns).collect()
    }

    /// The devices on whose record a key is.
    pub fn key_holders(&self, key: Fingerprint) -> Vec<&DeviceIdentity> {
        let wanted = text(key);
        let holds = |device: &&DeviceIdentity| {
            let status = device.status.as_ref();
            status.is_some_and(|status| on_record(status).iter().any(|(_, key)| **key == wanted))
        };
        self.holders.iter().filter(holds).collect()
    }

    /// Whether the cluster protects approvals; `None` if the user may not see that.
    pub async fn approval_is_protected(&mut self) -> Result<Option<bool>, ApiError> {
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(self.connection.client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> =
            Api::all(self.connection.client.clone());
        let found = match (look(&policies).await, look(&bindings).await) {
            (Ok(Some(policy)), Ok(Some(binding))) => {
                Ok(Some(approval_policy::protects(&policy, &binding)))
            }
            (Ok(_), Ok(_)) => Ok(Some(false)),
            (Err(error), _) | (_, Err(error)) => match error.outcome() {
                Outcome::Forbidden => Ok(None),
                _ => Err(error),
            },
        };
        if let Ok(None) = found {
            self.blind_spots.push(format!(
                "the admission policy {} that protects approvals: you may not read it",
                approval_policy::NAME
            ));
        }
        found
    }
}

async fn look<K>(api: &Api<K>) -> Result<Option<K>, ApiError>
where
    K: Clone + Debug + serde::de::DeserializeOwned,
{
    api.get_opt(approval_policy::NAME)
        .await
        .map_err(|e| ApiError::new("read the admission policy", approval_policy::NAME, e))
}

fn text(fingerprint: Fingerprint) -> String {
    fingerprint.to_string()
}

/// Certificate and key of everything on a record.
fn on_record(status: &DeviceIdentityStatus) -> Vec<(&String, &String)> {
    let newest = status
        .certificate
        .iter()
        .map(|newest| (&newest.fingerprint, &newest.key_fingerprint));
    let older = status
        .previous
        .iter()
        .map(|past| (&past.fingerprint, &past.key_fingerprint));
    newest.chain(older).collect()
}
