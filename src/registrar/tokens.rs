//! One-time tokens: read, and consumed before anything is signed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;

use super::{Rejection, local::LocalRegistrar};
use crate::{
    api::{EnrollmentToken, EnrollmentTokenStatus, TokenConsumption},
    cluster::{self, ApiError, patch_status},
    pki::Fingerprint,
    policy::{Device, Reason, Refusal, Token, TokenUse},
};

impl LocalRegistrar {
    fn tokens(&self, namespace: &str) -> Api<EnrollmentToken> {
        Api::namespaced(self.client().clone(), namespace)
    }

    async fn token_object(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<EnrollmentToken>, Rejection> {
        let token = self.tokens(namespace).get_opt(name).await;
        Ok(token
            .map_err(|e| ApiError::new("read EnrollmentToken", name, e))?
            .filter(|token| token.metadata.deletion_timestamp.is_none()))
    }

    /// A token as it is now; `None` if there is none.
    pub(super) async fn read_token(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Token>, Rejection> {
        let object = self.token_object(namespace, name).await?;
        Ok(object.map(|object| Token::compile(&object)).transpose()?)
    }

    /// Ties a token to a device and a key, under the version of the token that was judged: of two replicas at once only one
    /// succeeds, and the other has to judge anew.
    pub(super) async fn consume(
        &self,
        token: &Token,
        device: &Device,
        newest: Option<(&str, jiff::Timestamp)>,
        key: Fingerprint,
    ) -> Result<Token, Rejection> {
        let gone = || {
            Refusal::new(
                Reason::WrongToken,
                "the token was deleted just now: ask for another",
            )
        };
        let object = self
            .token_object(&device.namespace, &token.name)
            .await?
            .ok_or_else(gone)?;
        let now = cluster::now();
        let current = Token::compile(&object)?;
        if current.judge(&device.id, newest, now)? == TokenUse::Again {
            return Ok(current);
        }
        let consumed = TokenConsumption {
            at: Time(now),
            registration_id: device.id.as_str().into(),
            key_fingerprint: key.to_string(),
        };
        let old = object.status.clone().unwrap_or_default();
        let new = EnrollmentTokenStatus {
            consumed: Some(consumed),
        };
        let written = patch_status(&self.tokens(&device.namespace), &object, &old, &new).await?;
        Ok(Token::compile(written.as_ref().unwrap_or(&object))?)
    }
}
