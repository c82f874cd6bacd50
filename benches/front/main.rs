//! Measures the EST front end alone, without Kubernetes: CPU for each enrolment beside its primitives, and what idle
//! connections cost. Runs by `cargo bench --bench front`; takes a minute. The server is a process of its own, so that its
//! CPU and its memory are not mixed with those of its clients.
//!
//! The machine may be shared and figures drift; trust the ratios. 5,000 connections need as many open files: `ulimit -n`.

mod client;
mod process;
mod server;

use std::{error::Error, process::ExitCode, time::Duration};

use client::{Connection, Device};
use process::{Server, primitives};

/// What stops the bench, in words.
type Failure = Box<dyn Error + Send + Sync>;

/// Connections that do nothing.
const IDLE: usize = 5000;
/// Enrolments or renewals in one measurement.
const ROUNDS: usize = 1000;
/// Paths whose certificate comes ready-made, or is signed after the CSR's signature was verified.
const CANNED: &str = "/.well-known/est/canned/simplereenroll";
const SIGNED: &str = "/.well-known/est/signed/simplereenroll";

fn main() -> ExitCode {
    // Fails only if a provider is installed already, which is then this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = runtime.map_err(Failure::from).and_then(|runtime| {
        if arguments.iter().any(|argument| argument == "--serve") {
            runtime.block_on(server::serve())
        } else if arguments.iter().any(|argument| argument == "--bench") {
            runtime.block_on(measure())
        } else {
            println!("run this with: cargo bench --bench front");
            Ok(())
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<(), Failure> {
    let server = Server::start()?;
    let device = Device::new(&server)?;
    warm_up(&device).await?;

    let [sign, verify, agree] = primitives()?;
    println!(
        "primitives by openssl speed: P-256 sign {sign:.0} µs, verify {verify:.0} µs, X25519 {agree:.0} µs"
    );
    // A handshake: one key made, one agreement, one signature, and the client's to verify.
    let handshake = 2.0 * agree + sign + verify;
    for (what, path, sum) in [
        ("ready-made certificate", CANNED, handshake),
        ("verified and signed", SIGNED, handshake + sign + verify),
    ] {
        for (version, device) in [("1.3", device.clone()), ("1.2", device.tls12()?)] {
            let spent = full_handshakes(&server, &device, path).await?;
            println!(
                "full handshake TLS {version}, {what}: {spent:.0} µs CPU, {:.2} of {sum:.0} µs",
                spent / sum
            );
        }
    }
    let spent = full_handshakes(&server, &device.resuming()?, CANNED).await?;
    println!("resumed handshake, ready-made certificate: {spent:.0} µs CPU");
    for (what, path) in [("ready-made", CANNED), ("verified and signed", SIGNED)] {
        let mut connection = device.connect().await?;
        let before = server.cpu()?;
        for _ in 0..ROUNDS {
            connection.enrol(path).await?;
        }
        let spent = micros(server.cpu()? - before) / ROUNDS as f64;
        println!("renewal on an open connection, {what}: {spent:.0} µs CPU");
    }

    let quiet = latencies(&device).await?;
    let before = server.resident()?;
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut connection = device.connect().await?;
        connection.enrol(CANNED).await?;
        idle.push(connection);
    }
    // Whoever puts something away only after a while has done so by then.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let each = (server.resident()? - before) as f64 / IDLE as f64;
    println!("{IDLE} idle connections, each after a request: {each:.1} KiB each");
    let crowded = latencies(&device).await?;
    println!(
        "renewals beside them: median {:.0} µs -> {:.0} µs, p99 {:.0} µs -> {:.0} µs ({:.2})",
        quiet.0,
        crowded.0,
        quiet.1,
        crowded.1,
        crowded.1 / quiet.1
    );
    for connection in &mut idle[..100] {
        connection.enrol(CANNED).await?;
    }
    Ok(())
}

async fn warm_up(device: &Device) -> Result<(), Failure> {
    for _ in 0..200 {
        device.connect().await?.enrol(SIGNED).await?;
    }
    Ok(())
}

/// The server's CPU for a connection with one enrolment, in µs.
async fn full_handshakes(server: &Server, device: &Device, path: &str) -> Result<f64, Failure> {
    let before = server.cpu()?;
    for _ in 0..ROUNDS {
        device.connect().await?.enrol(path).await?;
    }
    Ok(micros(server.cpu()? - before) / ROUNDS as f64)
}

/// Median and p99 of renewals that come at some distance from each other, in µs.
async fn latencies(device: &Device) -> Result<(f64, f64), Failure> {
    let mut connections: Vec<Connection> = Vec::new();
    for _ in 0..4 {
        connections.push(device.connect().await?);
    }
    let mut times = Vec::new();
    for round in 0..4 * ROUNDS {
        let began = std::time::Instant::now();
        connections[round % 4].enrol(SIGNED).await?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok((
        micros(times[times.len() / 2]),
        micros(times[times.len() * 99 / 100]),
    ))
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
