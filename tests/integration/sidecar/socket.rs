//! The socket between two real processes, and others who try it.

use std::{
    fs,
    io::{ErrorKind, Read},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::Command,
    time::Duration,
};

use super::{Scene, scene};
use crate::harness::{CONTROLLER_UID, Device, EST_UID};

/// Connects as a user, sends bytes (as a Python literal) and prints what comes back until the end.
fn speak(scene: &Scene, uid: u32, bytes: &str) -> Result<Vec<u8>, String> {
    let script = format!(
        "import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect({:?})
try:
    s.sendall({bytes})
    while got := s.recv(65536): sys.stdout.buffer.write(got)
except (ConnectionResetError, BrokenPipeError): pass",
        scene.sidecar.socket.display()
    );
    let (uid, group) = (uid.to_string(), CONTROLLER_UID.to_string());
    let output = Command::new("setpriv")
        .args(["--reuid", &uid, "--regid", &uid, "--groups", &group])
        .args(["/usr/bin/python3", "-c", &script])
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

async fn still_works(scene: &Scene) {
    let device = Device::new("d1");
    let certificate = scene.user.enroll("", &device.csr()).await.certificate();
    device.owns(&certificate);
}

#[tokio::test]
async fn only_the_est_user_is_let_in() {
    let scene = scene().await;
    let directory = scene.sidecar.socket.parent().unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(directory), mode(&scene.sidecar.socket)),
        (0o750, 0o660)
    );
    // In the group, so that the file modes do not stop it: the controller must.
    let heard = speak(&scene, 65534, "b'\\0' * 64").unwrap();
    assert_eq!(heard, b"", "a stranger hears nothing, not even a welcome");
    let heard = speak(&scene, EST_UID, "b'\\0' * 64").unwrap();
    assert_ne!(heard, b"", "the look itself works");
    // Root passes all file modes, and is a stranger too.
    let mut root = UnixStream::connect(&scene.sidecar.socket).unwrap();
    root.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut heard = Vec::new();
    match root.read_to_end(&mut heard) {
        Ok(_) => assert_eq!(heard, b""),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert!(scene.sidecar.controller.log().contains("turned away"));
    still_works(&scene).await;
}

#[tokio::test]
async fn nonsense_from_the_est_user_does_no_harm() {
    let scene = scene().await;
    for bytes in [
        "b'\\xff' * 100000",
        "(128 * 1024 + 1).to_bytes(4, 'big') + b'x' * 200000",
        "b'\\0\\0\\0\\x0a\\x01\\x63' + b'\\0' * 8",
        "b'\\0\\0\\0\\x0b\\x01\\x03' + b'\\0' * 9",
        "b'GET / HTTP/1.1\\r\\n\\r\\n'",
    ] {
        speak(&scene, EST_UID, bytes).unwrap();
        still_works(&scene).await;
    }
}

#[tokio::test]
async fn another_version_is_told_so() {
    let scene = scene().await;
    let heard = speak(
        &scene,
        EST_UID,
        "b'\\0\\0\\0\\x0a\\x02\\x01' + b'\\0' * 7 + b'\\x05'",
    )
    .unwrap();
    let text = String::from_utf8_lossy(&heard);
    assert!(
        text.contains("version 1") && text.contains("version 2"),
        "{text:?}"
    );
    still_works(&scene).await;
}
