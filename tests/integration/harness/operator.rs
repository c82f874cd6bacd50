//! The operator as a process: started, killed, started again, and its log read for what must never be in there.

use std::{
    fs::{self, File, OpenOptions},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use tempfile::TempDir;

use super::{Connection, Metrics, PASSWORD, World, eventually};

/// A running operator. It ends with its owner.
pub struct Operator {
    /// Where EST is served.
    pub est_port: u16,
    /// Where metrics and health are served.
    pub metrics_port: u16,
    arguments: Vec<String>,
    kubeconfig: PathBuf,
    log: PathBuf,
    forgiven: Vec<&'static str>,
    process: Child,
    _dir: TempDir,
}

impl Operator {
    /// Starts it for a world, with further arguments.
    pub(super) fn start(world: &World, kubeconfig: &str, further: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (file, log) = (dir.path().join("kubeconfig"), dir.path().join("log"));
        fs::write(&file, kubeconfig).unwrap();
        let (est_port, metrics_port) = (free_port(), free_port());
        let mut arguments: Vec<String> = [
            "run",
            "--watch-namespace",
            &world.namespace,
            "--key-namespace",
            &world.keys,
            "--log-level",
            "info,devicecert=debug",
            "--est-listen",
            &format!("127.0.0.1:{est_port}"),
            "--metrics-listen",
            &format!("127.0.0.1:{metrics_port}"),
        ]
        .map(str::to_owned)
        .into();
        // After a kill, a leader is followed only once its Lease has run out: that is what `replicas` is about.
        if !further
            .iter()
            .any(|argument| argument.starts_with("--leader-election"))
        {
            arguments.push("--leader-election=false".into());
        }
        arguments.extend(further.iter().map(|argument| argument.to_string()));
        let process = spawn(&arguments, &file, &log);
        Self {
            est_port,
            metrics_port,
            arguments,
            kubeconfig: file,
            log,
            forgiven: Vec::new(),
            process,
            _dir: dir,
        }
    }

    /// Ends it without a chance to tidy up.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(&mut self) {
        self.signal("TERM");
        eventually(
            "the operator ends",
            Duration::from_secs(30),
            async || match self.process.try_wait().unwrap() {
                Some(status) if status.success() => Ok(()),
                other => Err(format!("{other:?}")),
            },
        )
        .await;
    }

    /// Sends it a signal: `STOP`, `CONT`, `HUP`, …
    pub fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Lets its log have these words, which are else a failure of any test.
    pub fn forgive(&mut self, words: &'static str) {
        self.forgiven.push(words);
    }

    /// Starts it again after [`Self::kill`], with the same arguments.
    pub async fn restart(&mut self) {
        self.process = spawn(&self.arguments, &self.kubeconfig, &self.log);
        self.until_ready().await;
    }

    /// Status and text of `/metrics`, `/healthz` or `/readyz`.
    pub async fn get(&self, path: &str) -> Result<(u16, String), String> {
        let mut connection = Connection::plain(self.metrics_port).await?;
        let reply = connection.get(path).await?;
        Ok((reply.status, reply.body))
    }

    /// What `/metrics` says now.
    pub async fn metrics(&self) -> Metrics {
        let (status, text) = self.get("/metrics").await.unwrap();
        assert_eq!(status, 200, "{text}");
        Metrics(text)
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it says that it is ready.
    pub async fn until_ready(&self) {
        eventually(
            "the operator is ready",
            Duration::from_secs(60),
            async || match self.get("/readyz").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}\n{}", self.log())),
            },
        )
        .await;
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let log = self.log();
        if std::thread::panicking() {
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the end of the operator's log ---");
            for line in &lines[lines.len().saturating_sub(150)..] {
                eprintln!("{line}");
            }
            return;
        }
        for never in [PASSWORD, "PRIVATE KEY", "panicked", "is forbidden"] {
            if self.forgiven.contains(&never) {
                continue;
            }
            let line = log.lines().find(|line| line.contains(never));
            assert_eq!(line, None, "the operator's log has {never:?}");
        }
    }
}

/// A port below those from which the kernel numbers outgoing connections, which nobody listens on.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another run of the tests at the same time begins elsewhere.
    let base = 10_000 + (std::process::id() % 90) as u16 * 100;
    (0..1000)
        .map(|_| base + NEXT.fetch_add(1, Ordering::Relaxed) % 1000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

fn spawn(arguments: &[String], kubeconfig: &PathBuf, log: &PathBuf) -> Child {
    let log: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    // However this thread ends, the operator ends with it.
    Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            env!("CARGO_BIN_EXE_devicecert-operator"),
        ])
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}
