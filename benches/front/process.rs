//! The server's process: started, and its CPU and memory read from /proc.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine};

use crate::{Failure, processors::command_on};

/// A server that ends with its last owner.
pub struct Server {
    child: Child,
    /// Where it listens, on the loopback address.
    pub port: u16,
    /// Its trust anchor, DER.
    pub root: Vec<u8>,
    /// The device's key, PKCS#8 DER.
    pub key: Vec<u8>,
    /// The device's certificate, DER.
    pub certificate: Vec<u8>,
}

impl Server {
    /// Starts this program a second time, as the server, on these processors. What it logs is written, and thrown away.
    pub fn start(processors: &str) -> Result<Self, Failure> {
        let mut child = command_on(processors, std::env::current_exe()?)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [port, root, key, certificate] = words[..] else {
            return Err("the server did not start".into());
        };
        Ok(Self {
            child,
            port: port.parse()?,
            root: BASE64_STANDARD.decode(root)?,
            key: BASE64_STANDARD.decode(key)?,
            certificate: BASE64_STANDARD.decode(certificate)?,
        })
    }

    /// CPU time so far, of all threads.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            total += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(total))
    }

    /// Memory that is resident and its own, in KiB.
    pub fn resident(&self) -> Result<u64, Failure> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.ok_or("no RssAnon")?.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
