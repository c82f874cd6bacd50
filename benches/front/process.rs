//! The server's process: started, and its CPU and memory read from /proc. And what OpenSSL takes for the same primitives.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine};

use crate::Failure;

/// A server that ends with its last owner.
pub struct Server {
    child: Child,
    /// Where it listens, on the loopback address.
    pub port: u16,
    /// Its trust anchor, DER.
    pub root: Vec<u8>,
}

impl Server {
    /// Starts this program a second time, as the server.
    pub fn start() -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let (port, root) = line
            .trim()
            .split_once(' ')
            .ok_or("the server did not start")?;
        Ok(Self {
            child,
            port: port.parse()?,
            root: BASE64_STANDARD.decode(root)?,
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

/// P-256 signature, P-256 verification and X25519 agreement in OpenSSL, in µs.
pub fn primitives() -> Result<[f64; 3], Failure> {
    let output = Command::new("openssl")
        .args(["speed", "-seconds", "1", "ecdsap256", "ecdhx25519"])
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let rate = |what: &str, from_end: usize| -> Result<f64, Failure> {
        let line = text.lines().find(|line| line.contains(what));
        let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
        let word = words
            .len()
            .checked_sub(from_end)
            .and_then(|at| words.get(at));
        Ok(word.ok_or("openssl speed says nothing")?.parse()?)
    };
    Ok([
        1e6 / rate("ecdsa (nistp256)", 2)?,
        1e6 / rate("ecdsa (nistp256)", 1)?,
        1e6 / rate("ecdh (X25519)", 1)?,
    ])
}
