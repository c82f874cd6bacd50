//! Whether the namespaces in the arguments exist. A watch of one that does not shows nothing, and says nothing.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use super::RunError;

/// Ends the start if the namespace of the CA keys is missing, or all that are watched. One of several may have been deleted by
/// its owner, which is no reason to stop serving the others: the log says so.
///
/// Who may not ask is not kept from starting, nor does an API server that is away.
pub(super) async fn check(client: &Client, watched: &[String], keys: &str) -> Result<(), RunError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let is_missing = async |name: &str| matches!(namespaces.get_opt(name).await, Ok(None));
    let missing = |name: &str, flag| RunError::Namespace {
        name: name.into(),
        flag,
    };
    if is_missing(keys).await {
        return Err(missing(keys, "--key-namespace"));
    }
    let mut gone = Vec::new();
    for name in watched {
        if is_missing(name).await {
            gone.push(missing(name, "--watch-namespace"));
        }
    }
    let are_all = gone.len() == watched.len();
    for error in gone {
        if are_all {
            return Err(error);
        }
        tracing::error!("{error}");
    }
    Ok(())
}
