//! Controller and EST server as two processes of two users, as the Helm chart runs them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{Connection, PASSWORD, World, eventually, operator::free_port};

/// The users of the chart's containers, and the group that they share.
pub const CONTROLLER_UID: u32 = 65532;
/// See [`CONTROLLER_UID`].
pub const EST_UID: u32 = 65533;

/// A running pair. It ends with its owner.
pub struct Sidecar {
    /// Where EST is served.
    pub est_port: u16,
    /// The controller.
    pub controller: Process,
    /// The EST server.
    pub est: Process,
    /// The registrar's socket.
    pub socket: PathBuf,
    /// The controller's credentials.
    pub kubeconfig: PathBuf,
    _dir: TempDir,
}

/// A process of a user of its own.
pub struct Process {
    metrics_port: u16,
    uid: u32,
    arguments: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
    log: PathBuf,
    child: Child,
}

impl Sidecar {
    /// Starts both for a world and waits until they are ready; with further arguments for the controller.
    pub(super) async fn start(world: &World, kubeconfig: &str, further: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        // As an emptyDir with an fsGroup: both may enter, and the controller makes what it needs.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let file = path("kubeconfig");
        fs::write(&file, kubeconfig).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
        chown(&file, Some(CONTROLLER_UID), Some(CONTROLLER_UID)).unwrap();

        let socket = path("registrar/socket");
        let at_socket = format!("--registrar-socket={}", socket.display());
        let (est_port, metrics, est_metrics) = (free_port(), free_port(), free_port());
        let mut controller = vec![
            "controller".to_string(),
            at_socket.clone(),
            format!("--est-uid={EST_UID}"),
            format!("--watch-namespace={}", world.namespace),
            format!("--key-namespace={}", world.keys),
            format!("--metrics-listen=127.0.0.1:{metrics}"),
            "--log-level=info,devicecert=debug".to_string(),
            format!("--est-authority={}/root", world.namespace),
            "--est-dns-name=localhost,127.0.0.1".to_string(),
            // A controller that was killed is back at once, and need not wait for its own Lease to run out.
            "--leader-election=false".to_string(),
        ];
        controller.extend(further.iter().map(|argument| argument.to_string()));
        let est = vec![
            "est".to_string(),
            at_socket,
            format!("--controller-uid={CONTROLLER_UID}"),
            format!("--est-listen=127.0.0.1:{est_port}"),
            format!("--metrics-listen=127.0.0.1:{est_metrics}"),
            "--log-level=info,devicecert=debug".to_string(),
        ];
        let credentials = vec![("KUBECONFIG", file.clone())];
        let sidecar = Self {
            est_port,
            controller: Process::start(
                CONTROLLER_UID,
                metrics,
                controller,
                credentials,
                path("c.log"),
            ),
            est: Process::start(EST_UID, est_metrics, est, Vec::new(), path("e.log")),
            socket,
            kubeconfig: file,
            _dir: dir,
        };
        sidecar.controller.until_ready().await;
        sidecar.est.until_ready().await;
        sidecar
    }
}

impl Process {
    fn start(
        uid: u32,
        metrics_port: u16,
        arguments: Vec<String>,
        environment: Vec<(&'static str, PathBuf)>,
        log: PathBuf,
    ) -> Self {
        let child = spawn(uid, &arguments, &environment, &log);
        Self {
            metrics_port,
            uid,
            arguments,
            environment,
            log,
            child,
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without a chance to tidy up.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after [`Self::kill`], and does not wait for anything.
    pub fn restart(&mut self) {
        self.child = spawn(self.uid, &self.arguments, &self.environment, &self.log);
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Status and text of `/metrics`, `/healthz` or `/readyz`.
    pub async fn get(&self, path: &str) -> Result<(u16, String), String> {
        let mut connection = Connection::plain(self.metrics_port).await?;
        let reply = connection.get(path).await?;
        Ok((reply.status, reply.body))
    }

    /// Waits until it says that it is ready.
    pub async fn until_ready(&self) {
        let what = format!("{} is ready", self.arguments[0]);
        eventually(what, Duration::from_secs(60), async || {
            match self.get("/readyz").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}\n{}", self.log())),
            }
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- the log of {} ---\n{log}", self.arguments[0]);
            return;
        }
        for never in [PASSWORD, "PRIVATE KEY", "panicked", "is forbidden"] {
            let line = log.lines().find(|line| line.contains(never));
            assert_eq!(line, None, "the log has {never:?}");
        }
    }
}

fn spawn(
    uid: u32,
    arguments: &[String],
    environment: &[(&'static str, PathBuf)],
    log: &Path,
) -> Child {
    let file = fs::OpenOptions::new().create(true).append(true).open(log);
    let file = file.unwrap();
    Command::new("setpriv")
        .args(["--reuid", &uid.to_string(), "--regid", &uid.to_string()])
        // The group of the socket: the chart's fsGroup.
        .args(["--groups", &CONTROLLER_UID.to_string()])
        .args(["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"])
        .args([
            "--pdeathsig",
            "KILL",
            env!("CARGO_BIN_EXE_devicecert-operator"),
        ])
        .args(arguments)
        .env_clear()
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap()
}
