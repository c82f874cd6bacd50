//! A front end that was broken into: what it can ask for with what it has seen.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    process::Command,
};

use base64::prelude::{BASE64_STANDARD, Engine};
use devicecert::api::{DeviceIdentity, EnrollmentGroup};
use serde_json::json;

use super::{Scene, scene};
use crate::harness::{CONTROLLER_UID, Device, EST_UID};

fn bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend((bytes.len() as u32).to_be_bytes());
    to.extend(bytes);
}

/// The kinds of answers to an enrolment.
const ENROLLED: u8 = 4;
const REJECTED: u8 = 5;

/// The frame of an enrolment with a certificate of which nobody has the key.
fn frame(id: u64, label: Option<&str>, csr: &str, certificate: &[u8]) -> Vec<u8> {
    let mut rest = vec![1, 3];
    rest.extend(id.to_be_bytes());
    match label {
        None => rest.push(0),
        Some(label) => {
            rest.push(1);
            bytes(&mut rest, label.as_bytes());
        }
    }
    rest.push(1);
    let csr: String = csr.split_whitespace().collect();
    bytes(&mut rest, &BASE64_STANDARD.decode(csr).unwrap());
    rest.push(0);
    rest.extend(1u32.to_be_bytes());
    bytes(&mut rest, certificate);
    rest.extend([0, 0]);
    bytes(&mut rest, &[192, 0, 2, 1]);
    let mut frame = Vec::new();
    bytes(&mut frame, &rest);
    frame
}

/// Sends frames at once, and returns the kind and the text of each answer.
fn rogue(scene: &Scene, frames: &[Vec<u8>]) -> Vec<(u8, String)> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("frames");
    fs::write(&file, frames.concat()).unwrap();
    chown(&file, Some(EST_UID), None).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let script = format!(
        "import socket, sys, threading
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect({:?})
data = open({:?}, 'rb').read()
threading.Thread(target=lambda: s.sendall(data), daemon=True).start()
def get(n):
    b = b''
    while len(b) < n:
        got = s.recv(n - len(b))
        if not got: sys.exit(0)
        b += got
    return b
left = {}
while left:
    n = int.from_bytes(get(4), 'big')
    f = get(n)
    sys.stdout.buffer.write(n.to_bytes(4, 'big') + f)
    if any(f[2:10]): left -= 1",
        scene.sidecar.socket.display(),
        file.display(),
        frames.len()
    );
    let (uid, group) = (EST_UID.to_string(), CONTROLLER_UID.to_string());
    let output = Command::new("setpriv")
        .args(["--reuid", &uid, "--regid", &uid, "--groups", &group])
        .args(["/usr/bin/python3", "-c", &script])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut rest = &output.stdout[..];
    let mut answers = Vec::new();
    while rest.len() >= 4 {
        let n = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let frame = &rest[4..4 + n];
        if frame[2..10].iter().any(|b| *b != 0) {
            answers.push((frame[1], String::from_utf8_lossy(&frame[10..]).into_owned()));
        }
        rest = &rest[4 + n..];
    }
    answers
}

#[tokio::test]
async fn with_a_certificate_that_it_has_seen_it_gets_that_device_and_no_more_than_the_hour_has() {
    let scene = scene().await;
    let limits = json!({ "spec": { "limits": { "certificatesPerHour": 6 } } });
    let _: EnrollmentGroup = scene.world.patch("g", limits).await;
    let (device, other) = (Device::new("d1"), Device::new("d2"));
    let seen = scene.user.enroll("", &device.csr()).await.certificate();
    let ask = |id, label, csr: &str| frame(id, label, csr, &seen);
    let foreign = format!("{}.g", scene.world.keys);
    let strange = [
        ask(1, None, &other.csr()),
        ask(2, Some(foreign.as_str()), &device.csr()),
    ];
    let answers = rogue(&scene, &strange);
    let refused = |reason: &str| {
        answers
            .iter()
            .any(|(kind, words)| *kind == REJECTED && words.contains(reason))
    };
    assert!(
        refused("SubjectMismatch") && refused("UnknownLabel"),
        "{answers:?}"
    );
    let many: Vec<_> = (1..=100)
        .map(|id| ask(id, None, &Device::new("d1").csr()))
        .collect();
    let mut answers = rogue(&scene, &many);
    // Those that got in one another's way may have left a part of the hour: it goes to the few that come after them.
    for few in many[..6].chunks(3) {
        answers.extend(rogue(&scene, few));
    }
    let granted = answers.iter().filter(|(kind, _)| *kind == ENROLLED).count();
    assert_eq!((answers.len(), granted), (106, 5));
    let device: DeviceIdentity = scene.world.get("d1").await;
    assert_eq!(device.status.unwrap().previous.len(), 5);
}
