//! The API server is away while devices enrol.

use std::{collections::HashMap, sync::OnceLock, time::Duration};

use devicecert::api::DeviceIdentity;
use serde_json::json;

use crate::harness::{
    CONVERGES, Cluster, Device, Est, PASSWORD, World, device, eventually, fingerprint, htpasswd,
    password_secret,
};

#[tokio::test]
async fn nothing_is_given_out_unrecorded_and_everything_converges() {
    static OWN: OnceLock<Cluster> = OnceLock::new();
    let cluster = OWN.get_or_init(|| Cluster::start("outage"));
    let world = World::within(cluster).await;
    world
        .create(password_secret("users", &htpasswd(&[("u", PASSWORD)])))
        .await;
    let passwords =
        json!({ "secretRef": { "name": "users" }, "registration": "Open", "existing": "Any" });
    world
        .pki(json!({ "authentication": { "passwords": passwords } }))
        .await;
    let group = format!("{}/g", world.namespace);
    let mut operator = world.operator_with_est(&["--est-default", &group]).await;
    // An API server that is starting refuses everybody until it knows the roles.
    operator.forgive("is forbidden");
    world.until_pki().await;
    let est = Est::of(&world, &operator).await;
    let user = est.user("u", PASSWORD);
    let kept = Device::new("kept");
    let certificate = user.enroll("", &kept.csr()).await.certificate();
    world
        .create(device("inside", "g", json!({ "secretName": "inside-tls" })))
        .await;
    world.until::<DeviceIdentity>("inside", "True").await;

    cluster.stop_apiserver();
    let mut received: HashMap<String, Vec<String>> = HashMap::new();
    let renewing = est.certificate(&certificate, &kept.key);
    for number in 0..6 {
        let device = Device::new(&format!("outage-{number}"));
        let (csr, renewal) = (device.csr(), kept.csr());
        let (first, again) = tokio::join!(user.enroll("", &csr), renewing.reenroll("", &renewal));
        for reply in [first, again] {
            reply.refuses(503, "ApiUnavailable", &["does not answer"]);
            let seconds: u64 = reply.header("Retry-After").unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds));
        }
    }
    assert_eq!(
        est.authorities("").await.certificates().len(),
        2,
        "what devices trust is still told"
    );
    assert_eq!(operator.get("/readyz").await.unwrap().0, 200);

    // Devices go on trying while it comes back.
    let trying = (0..6).map(async |number| {
        let device = Device::new(&format!("outage-{number}"));
        eventually("the device enrols", Duration::from_secs(120), async || {
            let reply = user.try_enroll("", &device.csr()).await?;
            match reply.status {
                200 => Ok((device.id.clone(), fingerprint(&reply.certificate()))),
                _ => Err(reply.body),
            }
        })
        .await
    });
    let starting = tokio::task::spawn_blocking(|| cluster.start_apiserver());
    let (started, enrolled) = tokio::join!(starting, futures::future::join_all(trying));
    started.unwrap();
    for (id, fingerprint) in enrolled {
        received.entry(id).or_default().push(fingerprint);
    }
    for (id, fingerprints) in received {
        let record = world.record(&id).await;
        assert!(
            fingerprints.iter().all(|known| record.contains(known)),
            "{id}: {record:?}"
        );
        world.until::<DeviceIdentity>(&id, "True").await;
    }
    renewing.reenroll("", &kept.csr()).await.certificate();
    world
        .delete::<k8s_openapi::api::core::v1::Secret>("inside-tls")
        .await;
    eventually(
        "the watches are back, and a Secret is restored",
        CONVERGES,
        async || {
            let secret = world
                .api::<k8s_openapi::api::core::v1::Secret>()
                .get_opt("inside-tls")
                .await
                .unwrap();
            secret.map(|_| ()).ok_or("not there")
        },
    )
    .await;
}
