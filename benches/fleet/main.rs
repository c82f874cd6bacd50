//! Measures the operator on a local control plane: certificates into Secrets, EST, repair, memory.
//!
//! `hack/bench.sh` starts the control plane and runs this. Whatever can be compared is compared within one run, in turns
//! (A B, B A, A B …), because the machine is shared and absolute figures drift: trust the ratios.

mod args;
mod bare;
mod cluster;
mod crypto;
mod enrolment;
mod est;
mod half_load;
mod issuance;
mod machine;
mod memory;
mod operator;
mod repair;
mod report;
mod sightings;

use std::{error::Error, process::ExitCode};

use clap::Parser;

use args::Args;
use bare::BareClient;
use cluster::{BARE, BENCH, Cluster};
use enrolment::Enrolments;
use issuance::Issuance;
use operator::Operator;
use report::Report;

/// What stops the bench, in words.
type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("this bench needs a control plane of its own: run hack/bench.sh");
        return ExitCode::SUCCESS;
    }
    let args = Args::parse();
    // Fails only if a provider is installed already, which is then this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(&args)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), Failure> {
    let cluster = Cluster::connect(&args.kubeconfig).await?;
    let mut report = Report::new(machine::facts(&cluster).await?);
    let outcome = experiments(args, &cluster, &mut report).await;
    // What was measured before a failure is still worth seeing.
    report.finish(&args.out)?;
    outcome
}

async fn experiments(args: &Args, cluster: &Cluster, report: &mut Report) -> Result<(), Failure> {
    if args.wants_rounds() {
        rounds(args, cluster, report).await?;
    }
    if args.devices > 0 {
        memory::measure(args, cluster, report).await?;
    }
    Ok(())
}

/// The parts that are measured in turns.
async fn rounds(args: &Args, cluster: &Cluster, report: &mut Report) -> Result<(), Failure> {
    for namespace in [BENCH, BARE] {
        cluster.create_namespace(namespace).await?;
    }
    let mut operator = Operator::start(args, BENCH)?;
    cluster.create_authorities(BENCH).await?;
    cluster.create_groups(BENCH).await?;
    operator.await_ready().await?;

    progress("warming up");
    let issuance = Issuance::new(args, cluster, &operator);
    let bare = BareClient::like(&issuance.warm_up().await?, args, cluster);
    let est = Enrolments::new(args, cluster, &operator).await?;
    for round in 0..args.rounds {
        if args.certificates > 0 {
            let bare_goes_first = round % 2 == 1;
            if bare_goes_first {
                bare.round(round, report).await?;
            }
            issuance.round(round, report).await?;
            if !bare_goes_first {
                bare.round(round, report).await?;
            }
            report.compare(
                &report::ISSUANCE_TO_BARE,
                &report::ISSUANCE_RATE,
                &report::BARE_RATE,
            );
            issuance.renewals(round, report).await?;
            issuance.trickle(round, report).await?;
        }
        if args.enrolments > 0 {
            crypto::measure(report).await?;
            est.round(round, report).await?;
        }
    }
    if args.restores > 0 {
        repair::measure(args, cluster, &operator, report).await?;
    }
    operator.stop()
}

/// Says on stderr what is going on, since a run takes minutes.
fn progress(what: &str) {
    eprintln!("bench: {what}");
}
