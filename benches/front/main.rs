//! Measures EST without Kubernetes: CPU for each enrolment beside its primitives, latency at half load, and what idle
//! connections cost. Runs by `cargo bench --bench front`; takes two minutes. The server is a process of its own, so that its
//! CPU and its memory are not mixed with those of its clients.
//!
//! The machine may be shared and figures drift; trust the ratios. 5,000 connections need as many open files: `ulimit -n`.

mod bars;
mod client;
mod load;
mod primitives;
mod process;
mod processors;
mod registrar;
mod server;

use std::{error::Error, process::ExitCode, time::Duration};

use bars::{Bars, median};
use client::Device;
use load::{Latencies, Load, Way};
use primitives::Primitives;
use process::Server;
use processors::Processors;

/// That of the operator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What stops the bench, in words.
type Failure = Box<dyn Error + Send + Sync>;

/// Connections that do nothing.
const IDLE: usize = 5000;
/// Enrolments or renewals in one measurement of CPU.
const REQUESTS: usize = 1000;
/// How often each is measured, in turns with OpenSSL.
const ROUNDS: usize = 3;
/// How many connections are many.
const MANY: usize = 32;
/// How long an open loop runs.
const HALF_LOAD: Duration = Duration::from_secs(5);
/// The path whose certificate comes ready-made, and that of real renewals.
const CANNED: &str = "/.well-known/est/canned/simplereenroll";
const RENEWAL: &str = "/.well-known/est/field/simplereenroll";

fn main() -> ExitCode {
    // Fails only if a provider is installed already, which is then this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().collect();
    let given = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    let outcome = if given("--serve") {
        runtime().and_then(|runtime| runtime.block_on(server::serve()))
    } else if given("--bench") {
        bench()
    } else {
        println!("run this with: cargo bench --bench front");
        Ok(())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

fn bench() -> Result<(), Failure> {
    let processors = Processors::of_this_process()?;
    processors.be_client()?;
    println!(
        "server on processors {}, clients on {}",
        processors.server, processors.clients
    );
    runtime()?.block_on(measure(&processors))
}

async fn measure(processors: &Processors) -> Result<(), Failure> {
    let server = Server::start(&processors.server)?;
    let device = Device::new(&server)?;
    let ways = [
        ("full handshake, 1 connection", Way::Handshake, 1),
        ("full handshake, 32 connections", Way::Handshake, MANY),
        ("kept open, 1 connection", Way::Kept, 1),
        ("kept open, 32 connections", Way::Kept, MANY),
    ];
    let loads = ways.map(|(name, way, connections)| {
        let load = Load {
            device: device.clone(),
            path: RENEWAL,
            way,
            connections,
        };
        (name, load)
    });
    let mut bars = Bars::default();
    loads[0].1.closed(200).await?;
    cpu(&server, processors, &loads, &mut bars).await?;
    parts(&server, &device).await?;
    for (name, load) in &loads {
        half_load(name, load, &mut bars).await?;
    }
    idle(&server, &loads[3].1, &mut bars).await?;
    bars.finish();
    Ok(())
}

/// CPU of the server for each renewal, against its primitives.
async fn cpu(
    server: &Server,
    processors: &Processors,
    loads: &[(&str, Load)],
    bars: &mut Bars,
) -> Result<(), Failure> {
    let mut spent = vec![Vec::new(); loads.len()];
    let mut ratios = vec![Vec::new(); loads.len()];
    for _ in 0..ROUNDS {
        for (place, (_, load)) in loads.iter().enumerate() {
            let primitives = Primitives::measure(processors)?;
            let cpu = cpu_each(server, load).await?;
            let sum = match load.way {
                Way::Handshake => primitives.handshake() + primitives.renewal(),
                Way::Kept => primitives.renewal(),
            };
            spent[place].push(cpu);
            ratios[place].push(cpu / sum);
        }
    }
    let Primitives {
        sign,
        verify,
        agree,
    } = Primitives::measure(processors)?;
    println!(
        "openssl speed: P-256 sign {sign:.1} µs, verify {verify:.1} µs, X25519 {agree:.1} µs; \
         a renewal needs sign + 2 verify, a full handshake sign + verify + 2 X25519 more"
    );
    for (((name, _), spent), ratios) in loads.iter().zip(spent).zip(ratios) {
        println!("{name}: {:.0} µs CPU each", median(spent));
        bars.at_most(&format!("{name}: CPU / primitives"), median(ratios), 2.0);
    }
    Ok(())
}

/// Where that CPU goes: without the registrar, by TLS 1.2, and resumed.
async fn parts(server: &Server, device: &Device) -> Result<(), Failure> {
    for (name, device, path, way) in [
        (
            "full handshake, ready-made",
            device.clone(),
            CANNED,
            Way::Handshake,
        ),
        ("kept open, ready-made", device.clone(), CANNED, Way::Kept),
        (
            "full handshake TLS 1.2",
            device.tls12()?,
            RENEWAL,
            Way::Handshake,
        ),
        (
            "resumed handshake",
            device.resuming()?,
            RENEWAL,
            Way::Handshake,
        ),
    ] {
        let load = Load {
            device,
            path,
            way,
            connections: 1,
        };
        println!("{name}: {:.0} µs CPU each", cpu_each(server, &load).await?);
    }
    Ok(())
}

async fn cpu_each(server: &Server, load: &Load) -> Result<f64, Failure> {
    let before = server.cpu()?;
    load.closed(REQUESTS).await?;
    let spent = server.cpu()? - before;
    Ok(spent.as_secs_f64() * 1e6 / REQUESTS as f64)
}

/// The latencies at half of what the server can do.
async fn half_load(name: &str, load: &Load, bars: &mut Bars) -> Result<(), Failure> {
    let most = load.closed(2 * REQUESTS).await?;
    let latencies = load.open(most / 2.0, HALF_LOAD).await?;
    println!("{name}: at most {most:.0}/s; at half of that {latencies}");
    // With a queue that never empties, all latencies are alike, and their ratio looks good.
    let alone = load.connections as f64 * 1e6 / most;
    let spread = match latencies.quantile(0.5) {
        median if median > 5.0 * alone => f64::INFINITY,
        _ => latencies.spread(),
    };
    bars.at_most(
        &format!("{name}: p99 / median at half load (inf: it could not keep up)"),
        spread,
        5.0,
    );
    Ok(())
}

/// What connections cost that do nothing, and whether others feel them.
async fn idle(server: &Server, load: &Load, bars: &mut Bars) -> Result<(), Failure> {
    let rate = load.closed(2 * REQUESTS).await? / 2.0;
    let quiet = load.open(rate, HALF_LOAD).await?;
    let before = server.resident()?;
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut connection = load.device.connect().await?;
        connection.enrol(CANNED).await?;
        idle.push(connection);
    }
    // Whoever puts something away only after a while has done so by then.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let each = (server.resident()? - before) as f64 / IDLE as f64;
    let crowded = load.open(rate, HALF_LOAD).await?;
    for connection in &mut idle[..100] {
        connection.enrol(CANNED).await?;
    }
    drop(idle);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let again = load.open(rate, HALF_LOAD).await?;
    println!("before: {quiet}\nbeside {IDLE} idle connections: {crowded}\nafter: {again}");
    bars.at_most(&format!("{IDLE} idle connections: KiB each"), each, 30.0);
    let p99 = |latencies: &Latencies| latencies.quantile(0.99);
    let without = (p99(&quiet) + p99(&again)) / 2.0;
    bars.at_most(
        &format!("p99 beside {IDLE} idle connections / without"),
        p99(&crowded) / without,
        2.0,
    );
    Ok(())
}
