//! Which processors are whose. In the field clients have machines of their own; here they at least have processors of their own,
//! so that no latency is that of a client that keeps the server from running.

use std::{fs, process::Command};

use crate::Failure;

/// Lists of processors, as `taskset -c` takes them.
pub struct Processors {
    /// All that this process may use.
    pub all: String,
    /// How many these are.
    pub count: usize,
    /// The server's: the first half, or all if there is only one.
    pub server: String,
    /// The clients': the others.
    pub clients: String,
}

impl Processors {
    /// Those that this process was given.
    pub fn of_this_process() -> Result<Self, Failure> {
        let status = fs::read_to_string("/proc/self/status")?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .ok_or("no Cpus_allowed_list")?;
        let mut processors = Vec::new();
        for range in list.trim().split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            processors.extend(first.parse::<usize>()?..=last.parse()?);
        }
        let (server, clients) = match processors.split_at(processors.len() / 2) {
            ([], all) => (all, all),
            halves => halves,
        };
        Ok(Self {
            all: join(&processors),
            count: processors.len(),
            server: join(server),
            clients: join(clients),
        })
    }

    /// Confines this process to those of the clients. To be called before it has any other thread.
    pub fn be_client(&self) -> Result<(), Failure> {
        let own = std::process::id().to_string();
        let done = Command::new("taskset")
            .args(["-p", "-c", &self.clients, &own])
            .output()?;
        if done.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&done.stderr).into())
        }
    }
}

/// A program that will run on these.
pub fn command_on(list: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", list]).arg(program);
    command
}

fn join(processors: &[usize]) -> String {
    let texts: Vec<String> = processors.iter().map(ToString::to_string).collect();
    texts.join(",")
}
