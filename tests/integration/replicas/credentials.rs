//! Credentials that are good once, tried at every replica at once, and a replica that dies right after it used one up.

use devicecert::{
    api::{BootstrapClaim, EnrollmentToken},
    policy::TokenText,
};
use futures::future::join_all;
use serde_json::json;

use super::{leader_and_standby, world};
use crate::harness::{Cluster, Device, Est, World, claim_name, fingerprint, twin};

async fn token(world: &World, name: &str, scope: serde_json::Value) -> String {
    let text = TokenText::new(name, &[9; 32]);
    let mut spec = json!({
        "groupRef": { "name": "g" }, "expiresAt": "2099-01-01T00:00:00Z", "tokenHash": text.hash().to_string(),
    });
    crate::harness::merge(&mut spec, scope);
    let object = json!({
        "apiVersion": "devicecert.dev/v1alpha1", "kind": "EnrollmentToken", "metadata": { "name": name }, "spec": spec,
    });
    world.create(object).await;
    text.reveal().to_owned()
}

#[tokio::test]
async fn a_token_is_good_once_though_both_replicas_are_asked_at_the_same_moment() {
    let tokens = json!({ "authentication": { "tokens": {} } });
    let world = world(Cluster::shared(), tokens).await;
    let (leader, standby) = leader_and_standby(&world).await;
    let ways = [
        Est::of(&world, &leader).await,
        Est::of(&world, &standby).await,
    ];
    for round in 0..4 {
        let name = format!("t{round}");
        let pattern = format!("r{round}-.*");
        let text = token(&world, &name, json!({ "registrationIdPattern": pattern })).await;
        let devices: Vec<Device> = (0..6)
            .map(|n| Device::new(&format!("r{round}-{n}")))
            .collect();
        let asking = devices
            .iter()
            .zip(ways.iter().cycle())
            .map(async |(device, way)| way.user("", &text).enroll("", &device.csr()).await);
        let replies = join_all(asking).await;
        let granted: Vec<_> = replies
            .iter()
            .zip(&devices)
            .filter(|(reply, _)| reply.status == 200)
            .collect();
        assert_eq!(granted.len(), 1, "{replies:?}");
        let consumed: EnrollmentToken = world.get(&name).await;
        assert_eq!(
            consumed.status.unwrap().consumed.unwrap().registration_id,
            granted[0].1.id
        );
    }
}

#[tokio::test]
async fn a_device_finishes_at_the_other_replica_when_the_first_dies_after_the_token_was_consumed() {
    let tokens = json!({ "authentication": { "tokens": {} } });
    let world = world(Cluster::shared(), tokens).await;
    let (mut leader, standby) = leader_and_standby(&world).await;
    let text = token(&world, "t", json!({ "registrationIdPattern": ".*" })).await;
    // What such a death leaves behind: the device is registered and the token consumed, and no certificate is on record. The
    // writes stand in this order, so a replica that is killed between them can leave nothing else.
    let device = Device::new("survivor");
    world
        .create(crate::harness::device("survivor", "g", json!({})))
        .await;
    leader.kill();
    let key = fingerprint(&rcgen::PublicKeyData::subject_public_key_info(&device.key));
    let now = jiff::Timestamp::now().to_string();
    let consumed =
        json!({ "consumed": { "at": now, "registrationId": "survivor", "keyFingerprint": key } });
    world.patch_status::<EnrollmentToken>("t", consumed).await;
    let way = Est::of(&world, &standby).await.user("", &text);
    way.enroll("", &Device::new("somebody-else").csr())
        .await
        .refuses(403, "TokenConsumed", &[]);
    let certificate = way.enroll("", &device.csr()).await.certificate();
    device.owns(&certificate);
    assert_eq!(world.record("survivor").await, [fingerprint(&certificate)]);
}

#[tokio::test]
async fn killed_at_any_moment_of_an_enrolment_the_token_still_brings_one_device_in() {
    let tokens = json!({ "authentication": { "tokens": {} } });
    let world = world(Cluster::shared(), tokens).await;
    let (mut leader, standby) = leader_and_standby(&world).await;
    let (doomed, other) = (
        Est::of(&world, &leader).await,
        Est::of(&world, &standby).await,
    );
    let text = token(&world, "t", json!({ "registrationId": "phoenix" })).await;
    let device = Device::new("phoenix");
    let csr = device.csr();
    let way = doomed.user("", &text);
    let dying = way.try_enroll("", &csr);
    let killing = async { leader.kill() };
    let (first, ()) = tokio::join!(dying, killing);
    let certificate = match first {
        Ok(reply) if reply.status == 200 => reply.certificate(),
        _ => other.user("", &text).enroll("", &csr).await.certificate(),
    };
    device.owns(&certificate);
    assert!(
        world
            .record("phoenix")
            .await
            .contains(&fingerprint(&certificate))
    );
}

#[tokio::test]
async fn a_bootstrap_certificate_claims_one_device_though_both_replicas_are_asked() {
    let dir = tempfile::tempdir().unwrap();
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -subj /CN=Maker -days 99 2>/dev/null
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -subj /CN=batch -out r.pem 2>/dev/null
        openssl x509 -req -in r.pem -CA root.pem -CAkey root.key -CAcreateserial -days 99 -out c.pem 2>/dev/null
        cat root.pem";
    let root = crate::harness::run_in(dir.path(), script).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let bootstrap = json!({ "trustAnchors": root, "registration": "Open", "mapping": { "expression": "csr.commonName" } });
    let world = world(
        Cluster::shared(),
        json!({ "authentication": { "bootstrap": bootstrap } }),
    )
    .await;
    let (leader, standby) = leader_and_standby(&world).await;
    let certificate = crate::harness::split_pem(&read("c.pem")).remove(0);
    let key = rcgen::KeyPair::from_pem(&read("k.pem")).unwrap();
    // Each gets it with its signature written in another way.
    let ways = [
        Est::of(&world, &leader)
            .await
            .certificate(&certificate, &key),
        Est::of(&world, &standby)
            .await
            .certificate(&twin(&certificate), &key),
    ];
    let devices: Vec<Device> = (0..6).map(|n| Device::new(&format!("b-{n}"))).collect();
    let asking = devices.iter().zip(ways.iter().cycle());
    let replies =
        join_all(asking.map(async |(device, way)| way.enroll("", &device.csr()).await)).await;
    let granted: Vec<_> = replies
        .iter()
        .zip(&devices)
        .filter(|(reply, _)| reply.status == 200)
        .collect();
    assert_eq!(granted.len(), 1, "{replies:?}");
    let claim: BootstrapClaim = world.get(&claim_name(&certificate)).await;
    assert_eq!(claim.spec.registration_id, granted[0].1.id);
}
