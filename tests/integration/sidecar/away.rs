//! The controller dies and comes back; the EST server stays.

use super::{Scene, scene};
use crate::harness::{CONVERGES, Device, eventually};

/// Waits until the EST server knows that the controller is away.
async fn until_missed(scene: &Scene) {
    until_shown(scene, "devicecert_est_controller_connected 0").await;
}

/// Waits until the metrics of the EST server have this line.
async fn until_shown(scene: &Scene, line: &str) {
    eventually(line, CONVERGES, async || {
        let (_, text) = scene.sidecar.est.get("/metrics").await?;
        match text.lines().any(|shown| shown == line) {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await;
}

#[tokio::test]
async fn without_the_controller_est_answers_in_words_and_afterwards_goes_on_by_itself() {
    let mut scene = scene().await;
    let device = Device::new("d1");
    scene.user.enroll("", &device.csr()).await.certificate();
    let authorities = scene.anonymous.authorities("").await.certificates();
    let shown = scene.anonymous.connect().await.unwrap().server_certificate;

    scene.sidecar.controller.kill();
    until_missed(&scene).await;
    let refused = scene.user.enroll("", &device.csr()).await;
    refused.refuses(503, "NotReady", &["controller", "try again"]);
    assert!(
        refused
            .header("Retry-After")
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 0
    );
    // A device behind a label that nobody has asked for is told to come back, too.
    let label = format!("{}.g", scene.world.namespace);
    let unknown = scene.anonymous.authorities(&label).await;
    unknown.refuses(503, "NotReady", &[]);
    assert_eq!(
        scene.anonymous.authorities("").await.certificates(),
        authorities
    );
    let still = scene.anonymous.connect().await.unwrap().server_certificate;
    assert_eq!(still, shown);
    assert_eq!(scene.sidecar.est.get("/readyz").await.unwrap().0, 200);

    scene.sidecar.controller.restart();
    let again = eventually("enrolment works again", CONVERGES, async || {
        let reply = scene.user.enroll("", &device.csr()).await;
        match reply.status {
            200 => Ok(reply),
            503 => {
                // While it starts, the last good copy is still there.
                assert_eq!(scene.anonymous.authorities("").await.status, 200);
                Err(reply.body)
            }
            other => panic!("{other}: {}", reply.body),
        }
    })
    .await;
    device.owns(&again.certificate());
}

#[tokio::test]
async fn what_is_served_without_a_label_is_known_before_anybody_asks_for_it() {
    let mut scene = scene().await;
    // The EST server asks by itself, until the authority is ready.
    until_shown(&scene, "devicecert_est_authorities_kept 1").await;
    scene.sidecar.controller.kill();
    until_missed(&scene).await;
    let authorities = scene.anonymous.authorities("").await;
    assert_eq!(authorities.status, 200, "{}", authorities.body);
}

#[tokio::test]
async fn the_est_server_may_be_killed_and_started_again() {
    let mut scene = scene().await;
    let device = Device::new("d1");
    scene.sidecar.est.kill();
    scene.sidecar.est.restart();
    scene.sidecar.est.until_ready().await;
    let certificate = scene.user.enroll("", &device.csr()).await.certificate();
    device.owns(&certificate);
}
