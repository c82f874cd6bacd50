//! How soon a deleted Secret is there again.

use std::time::Instant;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::DeleteParams,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use tokio::time::timeout;

use crate::{
    Failure,
    args::{Args, patience},
    cluster::{BENCH, Cluster, names},
    operator::Operator,
    progress,
    report::{self, Report},
    sightings::Sight,
};

/// Deletes Secrets, one after the other: the time from the call until a watch shows the new one.
pub async fn measure(
    args: &Args,
    cluster: &Cluster,
    operator: &Operator,
    report: &mut Report,
) -> Result<(), Failure> {
    let names = names('s', 0, args.restores);
    progress(&format!("{} Secrets deleted", names.len()));
    cluster
        .create_devices(BENCH, &names, args.writers())
        .await?;
    let ready = |_: &str, sight: &Sight| sight.ready;
    cluster
        .sightings
        .wait_for("issuance", &names, patience(names.len()), ready)
        .await?;
    operator.quiet().await?;

    let secrets: Api<PartialObjectMeta<Secret>> = cluster.api(BENCH);
    let mut changes = watcher(secrets.clone(), watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .boxed();
    for name in names.iter().map(|device| format!("{device}-tls")) {
        let old = secrets.get_metadata(&name).await?.uid();
        let began = Instant::now();
        let real: Api<Secret> = cluster.api(BENCH);
        real.delete(&name, &DeleteParams::default()).await?;
        let restored = async {
            while let Some(secret) = changes.try_next().await? {
                if secret.name_any() == name && secret.uid() != old {
                    return Ok(began.elapsed());
                }
            }
            Err(Failure::from("the watch of Secrets ended"))
        };
        let took = timeout(patience(0), restored)
            .await
            .map_err(|_| format!("the Secret {name} is not restored"))??;
        report.add(&report::REPAIR_LATENCY, took.as_secs_f64() * 1e3);
    }
    Ok(())
}
