//! What somebody who has broken into the EST server would find there.

use std::{fs, process::Command};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};

use super::{
    Scene, scene,
    search::{Needle, in_memory},
};
use crate::harness::{Device, EST_UID};

/// The private key of a Secret, PKCS#8 DER, and a line from the middle of its PEM.
fn key_of(secret: &Secret) -> Option<(Vec<u8>, String)> {
    let data = secret.data.as_ref()?;
    data.values().find_map(|value| {
        let pem = std::str::from_utf8(&value.0).ok()?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok()?;
        let at = pem.find("PRIVATE KEY-----\n")?;
        let line = pem[at..].lines().nth(2)?.to_owned();
        Some((key.secret_pkcs8_der().to_vec(), line))
    })
}

/// What the EST server must not hold, and what it must.
async fn needles(scene: &Scene) -> (Vec<Needle>, Vec<Needle>) {
    let (mut forbidden, mut own) = (Vec::new(), Vec::new());
    for secret in scene
        .world
        .key_secrets()
        .list(&Default::default())
        .await
        .unwrap()
    {
        let Some((key, line)) = key_of(&secret) else {
            continue;
        };
        let name = secret.name_any();
        if name == "devicecert-est-server" {
            own.extend(Needle::of_key("the TLS key", &key));
        } else {
            forbidden.extend(Needle::of_key(&name, &key));
            forbidden.push(Needle::new(format!("{name} (PEM)"), line));
        }
    }
    assert_eq!(forbidden.len(), 6, "two CA keys");
    let hash = scene.htpasswd.trim().split_once(':').unwrap().1;
    forbidden.push(Needle::new("the password's hash", hash));
    forbidden.push(Needle::new("the Kubernetes token", token(scene)));
    (forbidden, own)
}

fn token(scene: &Scene) -> String {
    let text = fs::read_to_string(&scene.sidecar.kubeconfig).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"]["token"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn no_ca_key_no_password_file_and_no_token_is_in_the_est_process() {
    let scene = scene().await;
    let device = Device::new("d1");
    let certificate = scene.user.enroll("", &device.csr()).await.certificate();
    let own = scene.anonymous.certificate(&certificate, &device.key);
    own.reenroll("", &device.csr()).await.certificate();
    let (forbidden, of_est) = needles(&scene).await;
    let (est, controller) = (scene.sidecar.est.pid(), scene.sidecar.controller.pid());

    let none: [&str; 0] = [];
    assert_eq!(in_memory(est, &forbidden), none);
    for place in ["environ", "cmdline"] {
        let bytes = fs::read(format!("/proc/{est}/{place}")).unwrap();
        for needle in &forbidden {
            assert!(!needle.is_in(&bytes), "{} in {place}", needle.name);
        }
    }
    let environment = fs::read(format!("/proc/{est}/environ")).unwrap();
    assert!(environment.is_empty(), "it needs no environment");

    // The same search finds what is there: the EST server's own key, and all of the above in the controller.
    assert!(
        !in_memory(est, &of_est).is_empty(),
        "the TLS key is not found where it is"
    );
    let found = in_memory(controller, &forbidden);
    for must in ["the password's hash", "the Kubernetes token", ".ca.1"] {
        assert!(
            found.iter().any(|name| name.contains(must)),
            "{must} in {found:?}"
        );
    }
}

#[tokio::test]
async fn the_est_process_has_no_file_with_a_secret_open_and_can_read_none() {
    let scene = scene().await;
    let device = Device::new("d1");
    scene.user.enroll("", &device.csr()).await.certificate();
    let (forbidden, of_est) = needles(&scene).await;
    let (est, controller) = (scene.sidecar.est.pid(), scene.sidecar.controller.pid());

    for entry in fs::read_dir(format!("/proc/{est}/fd")).unwrap() {
        let link = entry.unwrap().path();
        let Ok(target) = fs::read_link(&link) else {
            continue;
        };
        assert_ne!(target, scene.sidecar.kubeconfig);
        if fs::metadata(&link).is_ok_and(|facts| facts.is_file()) {
            let bytes = fs::read(&link).unwrap();
            for needle in forbidden.iter().chain(&of_est) {
                assert!(
                    !needle.is_in(&bytes),
                    "{} in {}",
                    needle.name,
                    target.display()
                );
            }
        }
    }
    // As the user of the EST server: not the controller's credentials, environment and memory.
    let kubeconfig = scene.sidecar.kubeconfig.display().to_string();
    for file in [
        kubeconfig,
        format!("/proc/{controller}/environ"),
        format!("/proc/{controller}/mem"),
        format!("/proc/{controller}/maps"),
    ] {
        assert!(!readable_by_est(&file), "{file}");
    }
    assert!(
        readable_by_est(&format!("/proc/{controller}/cmdline")),
        "the look itself works"
    );
    // Nothing that the program needs to run is secret, and there is nothing else.
    let arguments = fs::read_to_string(format!("/proc/{est}/cmdline")).unwrap();
    assert!(!arguments.contains("kubeconfig"), "{arguments}");
}

fn readable_by_est(file: &str) -> bool {
    let uid = EST_UID.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid, "--regid", &uid, "--groups", "65532"]);
    command.args(["head", "-c", "1", file]);
    command.output().unwrap().status.success()
}
