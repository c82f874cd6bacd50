//! The EST server's own certificate: issued by the operator, kept in a Secret that all replicas share, renewed in time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::watch;

use super::Context;
use crate::{
    cluster::{self, ApiError, Outcome},
    pki::{
        Certificate, KeyAlgorithm, Lifespan, PrivateKey, SubjectAltNames, parse_pem_chain,
        pem_chain,
    },
    policy::{GroupKey, Reason, Refusal},
    registrar::{Rejection, ServerIdentity, ServerPair, authority_chain},
};

/// The Secret in the operator's namespace.
const SECRET: &str = "devicecert-est-server";
/// How long to wait after a first failure, which is usually that the authority is being made at this moment; each further
/// one doubles it.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// The longest wait after a failure.
const RETRY: Duration = Duration::from_secs(3);
/// How often the leader looks at the Secret without cause.
const LOOK: Duration = Duration::from_secs(60);
/// How often the other replicas look whether the leader has renewed it.
const FOLLOW: Duration = Duration::from_secs(5);

/// What the EST server's certificate is to say, from the operator's configuration.
#[derive(Clone, Debug)]
pub struct EstServer {
    /// The CertificateAuthority that issues it.
    pub authority: GroupKey,
    /// The names under which devices reach the server.
    pub names: SubjectAltNames,
    /// How long it lives.
    pub validity: Lifespan,
}

impl EstServer {
    /// Keeps the identity fresh for ever; the receivers get each new one.
    pub async fn run(
        self,
        context: Arc<Context>,
        identity: watch::Sender<Option<Arc<ServerIdentity>>>,
    ) {
        context.fleet.wait_until_synced().await;
        let mut known = None;
        let mut retry = FIRST_RETRY;
        loop {
            let wait = match self.obtain(&context).await {
                Ok(None) => FIRST_RETRY * 5,
                Ok(Some(pair)) => {
                    retry = FIRST_RETRY;
                    let fingerprint = pair.chain.first().map(Certificate::fingerprint);
                    let renewal = pair.chain.first().map(renewal_time);
                    if known != fingerprint {
                        known = fingerprint;
                        identity.send_replace(Some(Arc::new(to_identity(&pair))));
                        context.registrar.set_server(Arc::new(pair));
                        tracing::info!(authority = %self.authority, "the EST server has a certificate");
                    }
                    let left = renewal.map(|at| at.duration_since(cluster::now()));
                    let left = left.and_then(|left| Duration::try_from(left).ok());
                    if context.leadership.is_leading() {
                        left.unwrap_or(RETRY).clamp(FIRST_RETRY, LOOK)
                    } else {
                        FOLLOW
                    }
                }
                Err(rejection) => {
                    tracing::warn!(
                        authority = %self.authority, reason = %rejection.reason, message = rejection.message,
                        "the EST server's certificate cannot be issued or renewed now"
                    );
                    let wait = retry;
                    retry = (retry * 2).min(RETRY);
                    wait
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = context.leadership.changed() => {}
            }
        }
    }

    /// The leader renews the certificate in time; the other replicas take what they find. `None`: there is nothing yet.
    async fn obtain(&self, context: &Context) -> Result<Option<ServerPair>, Rejection> {
        match context
            .leadership
            .while_leading(self.refresh(context))
            .await
        {
            Some(result) => result.map(Some),
            None => Ok(find(context.keyring.secrets())
                .await?
                .as_ref()
                .and_then(read)
                .filter(is_usable)),
        }
    }

    /// The pair in the Secret, or a new one if that is missing, due, or not what the configuration asks.
    async fn refresh(&self, context: &Context) -> Result<ServerPair, Rejection> {
        let secrets = context.keyring.secrets();
        let found = find(secrets).await?;
        let existing = found.as_ref().and_then(read);
        if let Some(pair) = existing.filter(|pair| self.is_good(pair, context)) {
            return Ok(pair);
        }
        let key = context.registrar.new_key(KeyAlgorithm::EcdsaP256).await?;
        let chain = context
            .registrar
            .sign_server(&key, &self.names, self.validity, &self.authority)
            .await?;
        let pair = ServerPair { chain, key };
        self.store(secrets, found.as_ref(), &pair).await?;
        Ok(pair)
    }

    fn is_good(&self, pair: &ServerPair, context: &Context) -> bool {
        let Some(leaf) = pair.chain.first() else {
            return false;
        };
        let authority = context
            .fleet
            .authority(&self.authority.namespace, &self.authority.name);
        let issuer =
            authority.and_then(|authority| authority_chain(&authority)?.into_iter().next());
        renewal_time(leaf) > cluster::now()
            && leaf.sans().same_set(&self.names)
            && leaf.key() == pair.key.spki_der()
            && issuer.is_some_and(|issuer| leaf.is_signed_by(&issuer))
    }

    async fn store(
        &self,
        secrets: &Api<Secret>,
        found: Option<&Secret>,
        pair: &ServerPair,
    ) -> Result<(), Rejection> {
        let data = BTreeMap::from([
            (
                "tls.crt".to_string(),
                ByteString(pem_chain(&pair.chain).into_bytes()),
            ),
            (
                "tls.key".to_string(),
                ByteString(pair.key.to_pkcs8_pem().as_bytes().to_vec()),
            ),
        ]);
        let written = match found {
            None => {
                let metadata = ObjectMeta {
                    name: Some(SECRET.into()),
                    ..ObjectMeta::default()
                };
                let secret = Secret {
                    metadata,
                    type_: Some("kubernetes.io/tls".into()),
                    data: Some(data),
                    ..Secret::default()
                };
                secrets.create(&PostParams::default(), &secret).await
            }
            Some(found) => {
                // Under the version that was read: if another replica renewed meanwhile, its certificate is taken.
                let version = &found.metadata.resource_version;
                let body = json!({ "metadata": { "resourceVersion": version }, "data": data });
                secrets
                    .patch(SECRET, &PatchParams::default(), &Patch::Merge(&body))
                    .await
            }
        };
        written.map(|_| ()).map_err(|e| {
            let error = ApiError::new("store Secret", SECRET, e);
            match error.outcome() {
                Outcome::Exists | Outcome::Conflict => Refusal::new(
                    Reason::Conflict,
                    "another replica has just renewed the EST server's certificate",
                )
                .into(),
                _ => error.into(),
            }
        })
    }
}

async fn find(secrets: &Api<Secret>) -> Result<Option<Secret>, ApiError> {
    secrets
        .get_opt(SECRET)
        .await
        .map_err(|e| ApiError::new("read Secret", SECRET, e))
}

/// Whether devices would accept it now, as far as that can be told without the authority.
fn is_usable(pair: &ServerPair) -> bool {
    let valid = |leaf: &Certificate| cluster::now() < leaf.validity().not_after;
    pair.chain
        .first()
        .is_some_and(|leaf| valid(leaf) && leaf.key() == pair.key.spki_der())
}

/// Two thirds of the life.
fn renewal_time(leaf: &Certificate) -> Timestamp {
    let validity = leaf.validity();
    let life = validity.not_after.duration_since(validity.not_before);
    validity
        .not_before
        .checked_add(life * 2 / 3)
        .unwrap_or(validity.not_after)
}

fn read(secret: &Secret) -> Option<ServerPair> {
    let data = secret.data.as_ref()?;
    let text = |field: &str| std::str::from_utf8(&data.get(field)?.0).ok();
    let key = PrivateKey::from_pkcs8_pem(text("tls.key")?).ok()?;
    let chain = parse_pem_chain(text("tls.crt")?).ok()?;
    Some(ServerPair { chain, key })
}

fn to_identity(pair: &ServerPair) -> ServerIdentity {
    ServerIdentity {
        chain: pair
            .chain
            .iter()
            .map(|certificate| certificate.der().to_vec())
            .collect(),
        key: pair.key.to_pkcs8_der(),
    }
}
