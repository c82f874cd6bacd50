//! What a device costs in memory: an operator of its own, weighed empty, with devices, and started again among them.

use std::time::Instant;

use crate::{
    Failure,
    args::{Args, patience},
    cluster::{Cluster, MEMORY, names},
    operator::Operator,
    progress,
    report::{self, Report},
    sightings::Sight,
};

/// Up to so many devices get certificates; issuing more takes longer than anyone waits for a bench.
const MOST_ISSUED: usize = 5000;

/// Weighs.
pub async fn measure(args: &Args, cluster: &Cluster, report: &mut Report) -> Result<(), Failure> {
    let names = names('m', 0, args.devices);
    progress(&format!("memory of {} devices, pending", names.len()));
    cluster.create_namespace(MEMORY).await?;
    let mut operator = Operator::start(args, MEMORY)?;
    cluster.create_authorities(MEMORY).await?;
    cluster.create_groups(MEMORY).await?;
    cluster.disable(MEMORY).await?;
    operator.await_ready().await?;
    operator.quiet().await?;
    let empty = operator.resident()?;
    report.add(&report::MEMORY_EMPTY, empty / 1e6);
    let per_device = |resident: f64| (resident - empty) / names.len() as f64;

    cluster
        .create_devices(MEMORY, &names, args.writers())
        .await?;
    let told = |_: &str, sight: &Sight| (sight.reason == "GroupDisabled").then(Instant::now);
    let patience = patience(names.len());
    cluster
        .sightings
        .wait_for("preparation", &names, patience, told)
        .await?;
    operator.quiet().await?;
    report.add(&report::MEMORY_PENDING, per_device(operator.resident()?));

    if names.len() <= MOST_ISSUED {
        progress("memory of the same devices with certificates");
        cluster.enable(MEMORY).await?;
        let ready = |_: &str, sight: &Sight| sight.ready;
        cluster
            .sightings
            .wait_for("issuance", &names, patience, ready)
            .await?;
        operator.quiet().await?;
        report.add(&report::MEMORY_ISSUED, per_device(operator.resident()?));
    }
    report.add(
        &report::SCRAPE_TIME,
        operator.scrape_time().await?.as_secs_f64() * 1e3,
    );
    operator.stop()?;

    progress("memory after a restart");
    let mut operator = Operator::start(args, MEMORY)?;
    let began = Instant::now();
    operator.await_ready().await?;
    report.add(&report::START_TIME, began.elapsed().as_secs_f64());
    operator.quiet().await?;
    report.add(&report::MEMORY_RESTARTED, per_device(operator.resident()?));
    report.add(&report::MEMORY_MOST, operator.most_resident()? / 1e6);
    operator.stop()
}
