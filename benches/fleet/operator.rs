//! The operator as a process of its own: started, asked for its metrics, and weighed through /proc.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{
    Failure,
    args::{Args, patience},
    cluster::{EST_GROUP, KEYS, pause},
};

/// The kernel counts processor time in hundredths of a second, on all machines that Rust supports.
const TICK: Duration = Duration::from_millis(10);

/// A running operator. Dropping it kills it.
pub struct Operator {
    process: Child,
    metrics: SocketAddr,
    /// Where it serves EST.
    pub est: SocketAddr,
}

/// What the operator has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Writes to the API server, without Events and the status of groups.
    pub writes: f64,
}

impl Operator {
    /// Starts it for one namespace.
    pub fn start(args: &Args, namespace: &str) -> Result<Self, Failure> {
        let (metrics, est) = (free_address()?, free_address()?);
        let folder = args
            .out
            .parent()
            .ok_or("--out must name a file in a folder")?;
        fs::create_dir_all(folder)?;
        let log = fs::File::create(folder.join(format!("operator-{namespace}.log")))?;
        let process = Command::new(&args.operator)
            .arg("run")
            .args(["--watch-namespace", namespace, "--key-namespace", KEYS])
            .arg(format!("--metrics-listen={metrics}"))
            .arg(format!("--est-listen={est}"))
            .arg(format!("--est-authority={namespace}/root"))
            .arg("--est-dns-name=localhost")
            .arg(format!("--est-default={namespace}/{EST_GROUP}"))
            .arg(format!("--concurrency={}", args.concurrency))
            .env("KUBECONFIG", &args.kubeconfig)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", args.operator.display()))?;
        Ok(Self {
            process,
            metrics,
            est,
        })
    }

    /// Waits until it says that it is ready.
    pub async fn await_ready(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + patience(0);
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Err(
                    format!("the operator ended ({status}); its log is beside the JSON").into(),
                );
            }
            match self.get("/readyz").await {
                Ok((StatusCode::OK, _)) => return Ok(()),
                answer if Instant::now() > deadline => {
                    return Err(format!("the operator does not become ready: {answer:?}").into());
                }
                _ => pause(50).await,
            }
        }
    }

    /// Waits until it has nothing left to write, Events included.
    pub async fn quiet(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + patience(0);
        let mut before = (f64::NAN, Duration::MAX);
        loop {
            let now = (
                self.count("devicecert_api_writes_total", |_| true).await?,
                self.cpu()?,
            );
            if now.0 == before.0 && now.1.saturating_sub(before.1) <= 3 * TICK {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err("the operator does not come to rest".into());
            }
            before = now;
            pause(500).await;
        }
    }

    /// Waits until it uses no processor time any more, then says what it has used. Events may still be waiting.
    pub async fn idle_usage(&self) -> Result<Usage, Failure> {
        let deadline = Instant::now() + patience(0);
        let mut cpu = self.cpu()?;
        loop {
            pause(200).await;
            let now = self.cpu()?;
            if now.saturating_sub(cpu) <= 2 * TICK {
                return Ok(Usage {
                    cpu: now,
                    writes: self.writes().await?,
                });
            }
            if Instant::now() > deadline {
                return Err("the operator does not become idle".into());
            }
            cpu = now;
        }
    }

    /// How often it has written to the API server, without Events and the status of groups.
    pub async fn writes(&self) -> Result<f64, Failure> {
        let counts = |labels: &str| {
            !["\"events\"", "\"enrollmentgroups/status\""]
                .iter()
                .any(|no| labels.contains(no))
        };
        self.count("devicecert_api_writes_total", counts).await
    }

    /// How long a scrape of its metrics takes.
    pub async fn scrape_time(&self) -> Result<Duration, Failure> {
        let began = Instant::now();
        self.get("/metrics").await?;
        Ok(began.elapsed())
    }

    /// Memory that it has in RAM, in bytes.
    pub fn resident(&self) -> Result<f64, Failure> {
        self.status_field("VmRSS:")
    }

    /// The most memory that it ever had in RAM, in bytes.
    pub fn most_resident(&self) -> Result<f64, Failure> {
        self.status_field("VmHWM:")
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<(), Failure> {
        if let Some(status) = self.process.try_wait()? {
            return Err(format!("the operator ended by itself ({status})").into());
        }
        Ok(())
    }

    fn cpu(&self) -> Result<Duration, Failure> {
        processor_time(&self.process.id().to_string())
    }

    fn status_field(&self, name: &str) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes: f64 = line
            .unwrap_or_default()
            .trim()
            .trim_end_matches(" kB")
            .parse()?;
        Ok(kibibytes * 1024.0)
    }

    async fn count(&self, family: &str, counts: impl Fn(&str) -> bool) -> Result<f64, Failure> {
        let (_, text) = self.get("/metrics").await?;
        let samples = text
            .lines()
            .filter_map(|line| line.strip_prefix(family)?.split_once("} "));
        let values = samples
            .filter(|(labels, _)| counts(labels))
            .map(|(_, value)| value.parse::<f64>());
        Ok(values.sum::<Result<f64, _>>()?)
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, String), Failure> {
        let stream = TokioIo::new(TcpStream::connect(self.metrics).await?);
        let (mut sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        let request = Request::get(path)
            .header("Host", "localhost")
            .body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.into())?))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended already; there is nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The processor time, user and system, of a process: a number, or `self`.
pub fn processor_time(process: &str) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The program's name, in parentheses, may hold anything; utime and stime are the 12th and 13th field after it.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks = fields.skip(11).take(2).map(str::parse::<u32>);
    Ok(TICK * ticks.sum::<Result<u32, _>>()?)
}

fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
