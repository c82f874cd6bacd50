//! Facts about the machine, without which figures mean nothing.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{Failure, cluster::Cluster};

/// Processor, memory, kernel, load, and the versions of what is measured.
pub async fn facts(cluster: &Cluster) -> Result<Value, Failure> {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'));
        line.map(|(_, value)| value.trim().to_string())
    };
    let line = |file: &str| {
        fs::read_to_string(file)
            .map(|text| text.trim().to_string())
            .ok()
    };
    Ok(json!({
        "time": devicecert::cluster::now().to_string(),
        "processor": field("/proc/cpuinfo", "model name"),
        "processors": std::thread::available_parallelism()?.get(),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": line("/proc/sys/kernel/osrelease"),
        "load": line("/proc/loadavg"),
        "kubernetes": cluster.client.apiserver_version().await?.git_version,
        "openssl": said("openssl", &["version"]),
        "commit": said("git", &["describe", "--always", "--dirty"]),
    }))
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
}
