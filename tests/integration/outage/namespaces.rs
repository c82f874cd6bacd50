//! Namespaces in the arguments that do not exist.

use std::process::{Command, Stdio};

use crate::harness::{CONVERGES, World, eventually};

/// Starts the operator as the administrator, who may see which namespaces there are.
fn started(world: &World, arguments: &[&str]) -> std::process::Child {
    Command::new(env!("CARGO_BIN_EXE_devicecert-operator"))
        .args(["run", "--metrics-listen", "127.0.0.1:0"])
        .args(arguments)
        .env("KUBECONFIG", &world.cluster.kubeconfig)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_start_for_namespaces_that_do_not_exist_ends_with_what_to_do() {
    let world = World::new().await;
    let (here, keys) = (world.namespace.as_str(), world.keys.as_str());
    for (arguments, words) in [
        (
            ["--watch-namespace", here, "--key-namespace", "nowhere"],
            "there is no namespace nowhere, which --key-namespace names: create it (kubectl create namespace nowhere)",
        ),
        (
            ["--watch-namespace", "nowhere", "--key-namespace", keys],
            "there is no namespace nowhere, which --watch-namespace names: create it",
        ),
    ] {
        let mut process = started(&world, &arguments);
        let ended = eventually("the operator ends", CONVERGES, async || {
            process
                .try_wait()
                .unwrap()
                .ok_or_else(|| "it runs".to_string())
        })
        .await;
        assert!(!ended.success());
        let said = process.wait_with_output().unwrap().stderr;
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(words), "{said}");
    }
}
