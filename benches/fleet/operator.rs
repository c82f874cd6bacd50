//! The operator as one process of its own, or as two: started, asked for its metrics, and weighed through /proc.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{
    Failure,
    args::{Args, Roles, patience},
    cluster::{EST_GROUP, KEYS, pause},
};

/// The kernel counts processor time in hundredths of a second, on all machines that Rust supports.
const TICK: Duration = Duration::from_millis(10);

/// A running operator. Dropping it kills it.
pub struct Operator {
    processes: Vec<Process>,
    /// Where it serves EST.
    pub est: SocketAddr,
}

/// A process that is killed when it is dropped.
struct Process {
    child: Child,
    metrics: SocketAddr,
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
        let est = free_address()?;
        let folder = args
            .out
            .parent()
            .ok_or("--out must name a file in a folder")?;
        fs::create_dir_all(folder)?;
        let cluster = [
            format!("--watch-namespace={namespace}"),
            format!("--key-namespace={KEYS}"),
            format!("--est-authority={namespace}/root"),
            "--est-dns-name=localhost".into(),
            format!("--est-default={namespace}/{EST_GROUP}"),
            format!("--concurrency={}", args.concurrency),
            // One that starts anew need not wait for the Lease of the one before it.
            "--leader-election=false".into(),
        ];
        let listen = format!("--est-listen={est}");
        let start = |role: &str, arguments: &[&[String]]| {
            let log = fs::File::create(folder.join(format!("{role}-{namespace}.log")))?;
            let metrics = free_address()?;
            let child = Command::new(&args.operator)
                .arg(role)
                .args(arguments.concat())
                .arg(format!("--metrics-listen={metrics}"))
                .env("KUBECONFIG", &args.kubeconfig)
                .stdin(Stdio::null())
                .stderr(log)
                .spawn()
                .map_err(|e| format!("cannot start {}: {e}", args.operator.display()))?;
            Ok::<_, Failure>(Process { child, metrics })
        };
        let processes = match args.roles {
            Roles::One => vec![start("run", &[&cluster, &[listen]])?],
            Roles::Two => {
                // Its folder belongs to nobody else, as the controller demands.
                let socket = args
                    .kubeconfig
                    .with_file_name(format!("registrar-{namespace}"));
                let socket = [format!(
                    "--registrar-socket={}",
                    socket.join("socket").display()
                )];
                vec![
                    start("controller", &[&cluster, &socket])?,
                    start("est", &[&[listen], &socket])?,
                ]
            }
        };
        Ok(Self { processes, est })
    }

    /// Waits until it says that it is ready.
    pub async fn await_ready(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + patience(0);
        loop {
            if let Some(status) = self.ended()? {
                return Err(
                    format!("the operator ended ({status}); its log is beside the JSON").into(),
                );
            }
            let mut answer = Err("nothing was asked".into());
            for process in &self.processes {
                answer = get(process.metrics, "/readyz").await;
                if !matches!(answer, Ok((StatusCode::OK, _))) {
                    break;
                }
            }
            match answer {
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
        match self.ended()? {
            Some(status) => Err(format!("the operator ended by itself ({status})").into()),
            None => Ok(()),
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        for process in &mut self.processes {
            if let Some(status) = process.child.try_wait()? {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    fn cpu(&self) -> Result<Duration, Failure> {
        let times = self.processes.iter();
        times
            .map(|process| processor_time(&process.child.id().to_string()))
            .sum()
    }

    fn status_field(&self, name: &str) -> Result<f64, Failure> {
        let fields = self.processes.iter();
        fields.map(|process| process.status_field(name)).sum()
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

    /// Asks the process that speaks with Kubernetes, which is the first.
    async fn get(&self, path: &str) -> Result<(StatusCode, String), Failure> {
        let first = self.processes.first().ok_or("there is no operator")?;
        get(first.metrics, path).await
    }
}

impl Process {
    fn status_field(&self, name: &str) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes: f64 = line
            .unwrap_or_default()
            .trim()
            .trim_end_matches(" kB")
            .parse()?;
        Ok(kibibytes * 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
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

async fn get(address: SocketAddr, path: &str) -> Result<(StatusCode, String), Failure> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
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
