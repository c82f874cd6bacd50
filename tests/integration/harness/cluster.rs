//! A real API server, started once for all tests of a run, or by a test that wants to stop it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::OnceLock,
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::shell::{run, succeed, tool, tools};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/cluster");
const CRDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");

/// A cluster with the CRDs installed.
pub struct Cluster {
    dir: PathBuf,
    /// The administrator's.
    pub kubeconfig: PathBuf,
}

impl Cluster {
    /// The one that tests share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| match env::var_os("DEVICECERT_TEST_KUBECONFIG") {
            Some(kubeconfig) => Self {
                dir: PathBuf::new(),
                kubeconfig: kubeconfig.into(),
            }
            .with_crds()
            .with_approval_policy(),
            None => Self::start("shared").with_approval_policy(),
        })
    }

    /// One of a test's own. It ends with this process, however that ends.
    pub fn start(name: &str) -> Self {
        let pid = process::id().to_string();
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster-{name}-{pid}"));
        let kubeconfig = dir.join("kubeconfig");
        let cluster = Self { dir, kubeconfig };
        cluster.script(
            &["--controller-manager", "--with-parent", &pid, "--purge"],
            "up",
        );
        cluster.with_crds()
    }

    /// Stops the API server; its data stay.
    pub fn stop_apiserver(&self) {
        self.script(&[], "stop-apiserver");
    }

    /// Starts it again, on the same port.
    pub fn start_apiserver(&self) {
        self.script(&[], "start-apiserver");
    }

    /// An administrator's client. It belongs to the async runtime that makes it.
    pub async fn client(&self) -> Client {
        // Fails only if it is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let file = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .unwrap();
        Client::try_from(config).unwrap()
    }

    /// Runs kubectl as the administrator, with a manifest on its standard input. The error is what it complained.
    pub fn kubectl(&self, arguments: &[&str], manifest: &str) -> Result<String, String> {
        let input = tempfile::NamedTempFile::new().unwrap();
        fs::write(&input, manifest).unwrap();
        let mut command = Command::new(tool("kubectl"));
        command
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(input.reopen().unwrap());
        succeed(&mut command)
    }

    fn with_crds(self) -> Self {
        let apply = ["apply", "--server-side", "--force-conflicts"];
        let strict = ["--warnings-as-errors", "--validate=strict", "-f", CRDS];
        let wait = [
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "-f",
            CRDS,
        ];
        for arguments in [
            &[apply.as_slice(), strict.as_slice()].concat()[..],
            &wait[..],
        ] {
            self.kubectl(arguments, "").unwrap();
        }
        self
    }

    /// With the chart's admission policy that protects approvals.
    pub fn with_approval_policy(self) -> Self {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/devicecert-operator");
        let show = "--show-only=templates/approvalpolicy.yaml";
        let manifest = run(tool("helm"), ["template", "operator", chart, show]);
        self.kubectl(&["apply", "-f", "-"], &manifest).unwrap();
        self
    }

    fn script(&self, options: &[&str], command: &str) {
        let dir = self.dir.to_str().unwrap();
        assert!(!dir.is_empty(), "a test may stop only a cluster of its own");
        tools();
        run(SCRIPT, [&[command, dir], options].concat());
    }
}
