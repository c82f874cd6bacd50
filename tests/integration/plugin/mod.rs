//! `kubectl devicecert` as people use it: the real binary against the real API server and the real EST server.

mod approval;
mod edge_config;
mod explain;
mod status;
mod token;

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use crate::harness::World;

/// What a run of the plugin came to.
#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Run {
    /// What was printed; the run must have succeeded.
    #[track_caller]
    fn printed(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        &self.out
    }

    /// Checks that the run failed, and that its complaint has these words.
    #[track_caller]
    fn complains(&self, words: &[&str]) {
        assert_eq!(self.code, 1, "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in: {}", self.err);
        }
    }
}

/// Runs the plugin as the administrator, in the namespace of a world, without a terminal.
fn plugin(world: &World, arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-devicecert"))
        .args(["--namespace", &world.namespace])
        .args(arguments)
        .env("KUBECONFIG", &world.cluster.kubeconfig)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// Runs the plugin with a standard output that nobody reads any more: its exit code, and what it complained of.
fn with_nobody_reading(world: &World, arguments: &[&str]) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-devicecert"))
        .args(["--namespace", &world.namespace])
        .args(arguments)
        .env("KUBECONFIG", &world.cluster.kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), complaint)
}

/// Runs the plugin as if somebody sat at a terminal and typed this answer. What it prints comes back with an echo of that.
fn at_a_terminal(world: &World, arguments: &[&str], answer: &str) -> Run {
    let command = [
        env!("CARGO_BIN_EXE_kubectl-devicecert"),
        "--namespace",
        &world.namespace,
    ];
    let command = [&command, arguments].concat().join(" ");
    let mut script = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("KUBECONFIG", &world.cluster.kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(script.stdin.as_mut().unwrap(), "{answer}").unwrap();
    let output = script.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    Run {
        code: output.status.code().unwrap(),
        // A terminal has one stream.
        err: out.clone(),
        out,
    }
}

/// A file with this text, for as long as the folder lives.
fn file(dir: &tempfile::TempDir, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
