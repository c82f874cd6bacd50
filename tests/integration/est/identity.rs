//! Who a certificate speaks for: its own device, as long as it is on record, and nobody else.

use std::time::Duration;

use devicecert::api::DeviceIdentity;
use serde_json::json;

use super::{open, scene};
use crate::harness::{CONVERGES, Device, Facts, eventually, fingerprint};

#[tokio::test]
async fn a_device_is_on_record_before_it_has_its_certificate() {
    let scene = scene(open(), json!({})).await;
    for number in 0..5 {
        let device = Device::new(&format!("early-{number}"));
        let certificate = scene.user.enroll("", &device.csr()).await.certificate();
        // The answer is here, so the record must be there already: no waiting.
        assert_eq!(
            scene.world.record(&device.id).await,
            [fingerprint(&certificate)]
        );
        device.owns(&certificate);
    }
}

#[tokio::test]
async fn a_certificate_never_speaks_for_another_device() {
    let scene = scene(open(), json!({})).await;
    let (own, other) = (Device::new("own"), Device::new("other"));
    let certificate = scene.user.enroll("", &own.csr()).await.certificate();
    scene.user.enroll("", &other.csr()).await.certificate();
    let client = scene.anonymous.certificate(&certificate, &own.key);
    for reply in [
        client.reenroll("", &other.csr()).await,
        client.enroll("", &other.csr()).await,
    ] {
        reply.refuses(403, "SubjectMismatch", &["CN=other", "CN=own"]);
    }
    // Not even beside the right password.
    let both = client.user("u", crate::harness::PASSWORD);
    both.enroll("", &other.csr())
        .await
        .refuses(403, "SubjectMismatch", &[]);
    assert_eq!(scene.world.record("other").await.len(), 1);
}

#[tokio::test]
async fn a_certificate_that_is_on_no_record_is_refused_even_beside_a_good_password() {
    let scene = scene(open(), json!({})).await;
    let device = Device::new("self-made");
    let client = scene.user.certificate(&device.self_signed(), &device.key);
    client
        .enroll("", &device.csr())
        .await
        .refuses(403, "UnknownCertificate", &["record"]);
    assert!(
        scene
            .world
            .api::<DeviceIdentity>()
            .get_opt("self-made")
            .await
            .unwrap()
            .is_none()
    );
    // The same name and key as a device that is known: still not its certificate.
    scene.user.enroll("", &device.csr()).await.certificate();
    client
        .enroll("", &device.csr())
        .await
        .refuses(403, "UnknownCertificate", &[]);
}

#[tokio::test]
async fn a_certificate_is_good_only_in_its_own_group() {
    let scene = scene(open(), json!({})).await;
    let elsewhere = scene.world.served_group("elsewhere", json!({})).await;
    let device = Device::new("d");
    let client = scene.enrolled(&device).await;
    client
        .reenroll(&elsewhere, &device.csr())
        .await
        .refuses(403, "WrongGroup", &["/g"]);
}

#[tokio::test]
async fn a_stopped_device_gets_nothing_by_any_door() {
    let scene = scene(open(), json!({})).await;
    for (id, state, reason) in [("s", "Suspended", "Suspended"), ("r", "Revoked", "Revoked")] {
        let device = Device::new(id);
        let csr = device.csr();
        let certificate = scene.user.enroll("", &csr).await.certificate();
        let client = scene.anonymous.certificate(&certificate, &device.key);
        scene
            .world
            .patch::<DeviceIdentity>(id, json!({ "spec": { "state": state } }))
            .await;
        // At once: neither door, nor the repetition of the request that was answered a moment ago.
        scene
            .user
            .enroll("", &csr)
            .await
            .refuses(403, reason, &[id]);
        scene
            .user
            .enroll("", &device.csr())
            .await
            .refuses(403, reason, &[]);
        client
            .reenroll("", &device.csr())
            .await
            .refuses(403, reason, &[]);
        scene.world.until::<DeviceIdentity>(id, reason).await;
        assert_eq!(scene.world.record(id).await.len(), 1);
    }
    // A suspended device comes back.
    scene
        .world
        .patch::<DeviceIdentity>("s", json!({ "spec": { "state": "Active" } }))
        .await;
    scene
        .user
        .enroll("", &Device::new("s").csr())
        .await
        .certificate();
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_certificate_and_never_the_one_it_shows() {
    let scene = scene(open(), json!({ "profile": { "validity": "90d" } })).await;
    let device = Device::new("again");
    let csr = device.csr();
    let first = scene.user.enroll("", &csr).await.certificate();
    assert_eq!(scene.user.enroll("", &csr).await.certificate(), first);
    // Another user who sends the same bytes is not the same requester.
    let other = scene.anonymous.user("v", crate::harness::PASSWORD);
    assert_ne!(other.enroll("", &csr).await.certificate(), first);

    let renewal = device.csr();
    let client = scene.anonymous.certificate(&first, &device.key);
    let second = client.reenroll("", &renewal).await.certificate();
    assert_eq!(client.reenroll("", &renewal).await.certificate(), second);
    let client = scene.anonymous.certificate(&second, &device.key);
    assert_ne!(client.reenroll("", &renewal).await.certificate(), second);
}

#[tokio::test]
async fn two_certificates_of_one_device_live_and_renew_side_by_side() {
    // Azure IoT Edge: an EST identity first, then with it the device certificate; the same subject, another key.
    let scene = scene(
        json!({ "registration": "Open", "existing": "Never" }),
        json!({}),
    )
    .await;
    let (identity, device) = (Device::new("edge"), Device::new("edge"));
    let est_id = scene.user.enroll("", &identity.csr()).await.certificate();
    let by_id = scene.anonymous.certificate(&est_id, &identity.key);
    let certificate = by_id.enroll("", &device.csr()).await.certificate();
    let by_device = scene.anonymous.certificate(&certificate, &device.key);
    let renewed = by_device.enroll("", &device.csr()).await.certificate();
    let new_id = by_id.enroll("", &identity.csr()).await.certificate();
    device.owns(&renewed);
    identity.owns(&new_id);
    assert_eq!(scene.world.record("edge").await.len(), 4);
}

#[tokio::test]
async fn a_renewal_repeats_subject_and_names() {
    let names = json!({ "allowedNames": { "dnsNames": ["${registrationId}.example.com", "shared.example.com"] } });
    let scene = scene(open(), names).await;
    let device = Device::new("named");
    let first = scene
        .user
        .enroll("", &device.csr_with(&["named.example.com"]))
        .await
        .certificate();
    let client = scene.anonymous.certificate(&first, &device.key);
    let facts = Facts::of(&client.reenroll("", &device.csr()).await.certificate());
    assert_eq!(facts.names, ["DNS:named.example.com"]);
    let more = device.csr_with(&["named.example.com", "shared.example.com"]);
    client
        .reenroll("", &more)
        .await
        .refuses(403, "SubjectMismatch", &["does not have"]);
}

#[tokio::test]
async fn two_first_enrolments_at_once_end_with_one_device_and_nothing_unrecorded() {
    let scene = scene(open(), json!({})).await;
    for round in 0..3 {
        let id = format!("twice-{round}");
        let (a, b) = (Device::new(&id), Device::new(&id));
        let (csr_a, csr_b) = (a.csr(), b.csr());
        let (one, two) = tokio::join!(scene.user.enroll("", &csr_a), scene.user.enroll("", &csr_b));
        let record = scene.world.record(&id).await;
        for reply in [one, two] {
            match reply.status {
                200 => assert!(record.contains(&fingerprint(&reply.certificate()))),
                503 => assert!(reply.header("Retry-After").is_some()),
                other => panic!("{other}: {}", reply.body),
            }
        }
    }
}

#[tokio::test]
async fn an_expired_certificate_does_not_renew_and_the_device_shows_it() {
    let scene = scene(open(), json!({ "profile": { "validity": "60s" } })).await;
    let device = Device::new("shelf");
    let certificate = scene.user.enroll("", &device.csr()).await.certificate();
    scene.world.until::<DeviceIdentity>("shelf", "True").await;
    let deadline = Duration::from_secs(75) + CONVERGES;
    eventually("the device shows as expired", deadline, async || {
        let found: DeviceIdentity = scene.world.get("shelf").await;
        let reason = crate::harness::condition(&found, "Ready").unwrap().reason;
        if reason == "Expired" {
            Ok(())
        } else {
            Err(reason)
        }
    })
    .await;
    let client = scene.anonymous.certificate(&certificate, &device.key);
    client
        .reenroll("", &device.csr())
        .await
        .refuses(403, "CertificateExpired", &["enrol anew"]);
    scene.user.enroll("", &device.csr()).await.certificate();
    scene.world.until::<DeviceIdentity>("shelf", "True").await;
}

#[tokio::test]
async fn of_devices_that_enrol_with_one_key_at_the_same_moment_one_gets_in() {
    let scene = scene(open(), json!({})).await;
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for round in 0..3 {
        let enrolments = (0..8).map(|number| {
            let key = rcgen::KeyPair::from_pem(&key).unwrap();
            let twin = Device {
                id: format!("twin-{round}-{number}"),
                key,
            };
            let user = &scene.user;
            async move { user.enroll("", &twin.csr()).await }
        });
        let replies = futures::future::join_all(enrolments).await;
        let (granted, refused): (Vec<_>, Vec<_>) =
            replies.iter().partition(|reply| reply.status == 200);
        // In the first round one wins; in the others the winner of the first has the key.
        assert_eq!(granted.len(), usize::from(round == 0), "{replies:#?}");
        for reply in refused {
            reply.refuses(403, "KeyInUse", &["make a new key"]);
        }
    }
    // A device that does not exist any more has no key.
    let devices = scene.world.api::<DeviceIdentity>();
    devices
        .delete_collection(&Default::default(), &Default::default())
        .await
        .unwrap();
    let heir = Device {
        id: "heir".into(),
        key: rcgen::KeyPair::from_pem(&key).unwrap(),
    };
    eventually("the key is free", CONVERGES, async || {
        let reply = scene.user.enroll("", &heir.csr()).await;
        match reply.status {
            200 => Ok(()),
            _ => Err(reply.body),
        }
    })
    .await;
}
