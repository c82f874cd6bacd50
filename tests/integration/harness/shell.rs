//! Programs that the tests run: openssl, kubectl, promtool, strongSwan, curl.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// A program of the project's own tools: kubectl, helm, promtool.
pub fn tool(name: &str) -> PathBuf {
    tools().join(name)
}

/// The folder of the tools; `hack/setup.sh` makes what is missing.
pub(super) fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| match env::var_os("DEVICECERT_TOOLS") {
        Some(folder) => folder.into(),
        None => {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/hack/setup.sh");
            let exports = run(script, ["--print-env", "--with-controller-manager"]);
            let folder = exports
                .lines()
                .find_map(|line| line.strip_prefix("export DEVICECERT_TOOLS="));
            folder.expect("hack/setup.sh names its folder").into()
        }
    })
}

/// Runs a program that must succeed, and returns what it printed.
pub fn run<S: AsRef<std::ffi::OsStr>>(
    program: impl AsRef<std::ffi::OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    succeed(&mut command).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Runs a shell script in a folder. The error holds all that the script printed.
pub fn run_in(folder: &Path, script: &str) -> Result<String, String> {
    let mut command = Command::new("timeout");
    command.args(["120", "bash", "-euo", "pipefail", "-c", script]);
    command.current_dir(folder);
    succeed(&mut command)
}

pub(super) fn succeed(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?} cannot be started: {e}"));
    let [out, err] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    match output.status.success() {
        true => Ok(out),
        false => Err(format!("{command:?}: {}\n{out}{err}", output.status)),
    }
}
