//! The server: the real front end, and behind it a registrar without Kubernetes.

use std::{io::Read, sync::Arc, time::Duration};

use devicecert::{
    est::{Counters, Limits, serve_counted},
    pki::{KeyAlgorithm, PrivateKey},
    registrar::ServerIdentity,
};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    Failure,
    registrar::{Bare, encode},
};

/// Serves until stdin ends. Prints the port, the root, and the key and the certificate of the device.
pub async fn serve() -> Result<(), Failure> {
    // As the operator logs by default; a line for each request is part of what a request costs.
    tracing_subscriber::fmt()
        .with_env_filter("info")
        .with_writer(std::io::stderr)
        .init();
    let (registrar, issued) = Bare::new()?;
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    let identity = ServerIdentity {
        chain: vec![
            registrar.server_certificate(&key)?.der().to_vec(),
            registrar.root().der().to_vec(),
        ],
        key: key.to_pkcs8_der(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "{} {} {} {}",
        listener.local_addr()?.port(),
        encode(registrar.root().der()),
        encode(&issued.key),
        encode(&issued.certificate),
    );
    let limits = Limits {
        max_connections_per_source: 0,
        idle_timeout: Duration::from_secs(3600),
        ..Limits::default()
    };
    let (_keep, identity) = watch::channel(Some(Arc::new(identity)));
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let counters = Arc::new(Counters::default());
    // A task among others, as in the operator; on the main thread, every connection would wake one thread more.
    let serving = serve_counted(
        listener,
        identity,
        Arc::new(registrar),
        limits,
        counters,
        async {
            let _ = end.await;
        },
    );
    Ok(tokio::spawn(serving).await??)
}
