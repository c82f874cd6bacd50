//! Registration authorities, and devices that are certificate authorities.

use devicecert::api::{DeviceIdentity, DeviceState};
use serde_json::{Value, json};

use super::{Scene, open, scene};
use crate::harness::{Device, Facts, authority, group, merge, run_in};

/// A group that lists ra-1, with `more` said of it, and the label of the group in which it gets its certificate.
async fn with_authority(more: Value) -> (Scene, String) {
    let mut listed = json!({ "authorityRef": { "name": "ca" }, "subject": "CN=ra-1" });
    merge(&mut listed, more);
    let listed = json!({ "authentication": { "registrationAuthorities": [listed] } });
    let scene = scene(json!({}), listed).await;
    let users =
        json!({ "passwords": { "secretRef": { "name": "users" }, "registration": "Open" } });
    let ras = json!({ "authentication": users, "profile": { "registrationAuthority": true } });
    let label = scene.world.served_group("ras", ras).await;
    (scene, label)
}

#[tokio::test]
async fn a_listed_registration_authority_enrols_others_in_its_groups_only() {
    let (scene, ras) = with_authority(json!({})).await;
    let closed = scene.world.served_group("closed", json!({})).await;
    let (ra, other_ra) = (Device::new("ra-1"), Device::new("ra-2"));
    let certificate = scene.user.enroll(&ras, &ra.csr()).await.certificate();
    let client = scene.anonymous.certificate(&certificate, &ra.key);
    let device = Device::new("meter-1");
    device.owns(&client.enroll("", &device.csr()).await.certificate());
    let recorded: DeviceIdentity = scene.world.get("meter-1").await;
    assert!(
        recorded
            .status
            .unwrap()
            .certificate
            .unwrap()
            .requester
            .starts_with("RegistrationAuthority/")
    );
    // Not in a group that does not list it, and not when it is not listed itself.
    client
        .enroll(&closed, &Device::new("meter-2").csr())
        .await
        .refuses(
            403,
            "RegistrationAuthorityNotListed",
            &["registrationAuthorities"],
        );
    let unlisted = scene.user.enroll(&ras, &other_ra.csr()).await.certificate();
    let stranger = scene.anonymous.certificate(&unlisted, &other_ra.key);
    stranger
        .enroll("", &Device::new("meter-3").csr())
        .await
        .refuses(403, "RegistrationAuthorityNotListed", &[]);
    // A device of the group itself is none, whatever its name.
    scene
        .world
        .create(crate::harness::device("plain", "g", json!({})))
        .await;
    let plain = Device::new("plain");
    let certificate = scene.user.enroll("", &plain.csr()).await.certificate();
    let client_of_plain = scene.anonymous.certificate(&certificate, &plain.key);
    client_of_plain
        .enroll("", &Device::new("meter-4").csr())
        .await
        .refuses(403, "SubjectMismatch", &[]);
    // It renews itself in its own group, and stops when it is suspended.
    ra.owns(&client.reenroll(&ras, &ra.csr()).await.certificate());
    scene
        .world
        .patch::<DeviceIdentity>(
            "ra-1",
            json!({ "spec": { "state": DeviceState::Suspended } }),
        )
        .await;
    client
        .enroll("", &Device::new("meter-5").csr())
        .await
        .refuses(403, "Suspended", &["ra-1"]);
}

#[tokio::test]
async fn a_registration_authority_has_so_many_certificates_for_others_within_an_hour() {
    let (scene, ras) = with_authority(json!({ "certificatesPerHour": 2 })).await;
    let ra = Device::new("ra-1");
    let certificate = scene.user.enroll(&ras, &ra.csr()).await.certificate();
    let client = scene.anonymous.certificate(&certificate, &ra.key);
    let meters: Vec<_> = (0..5)
        .map(|n| Device::new(&format!("meter-{n}")).csr())
        .collect();
    // All at once, as whoever stole it would.
    let replies = futures::future::join_all(meters.iter().map(|csr| client.enroll("", csr))).await;
    let granted = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(granted, 2, "{replies:?}");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert!([429, 503].contains(&reply.status), "{reply:?}");
    }
    let late = client.enroll("", &Device::new("meter-9").csr()).await;
    let words = [
        "registration authority CN=ra-1",
        "registrationAuthorities[].certificatesPerHour",
    ];
    late.refuses(429, "RenewedTooOften", &words);
    assert!(late.header("Retry-After").is_some());
}

#[tokio::test]
async fn an_edge_ca_comes_from_a_profile_made_for_it_and_from_nowhere_else() {
    let scene = scene(open(), json!({})).await;
    let world = &scene.world;
    world
        .create(authority(
            "edge-root",
            json!({ "issuedBy": { "name": "root" }, "pathLength": 1 }),
        ))
        .await;
    let users = json!({ "passwords": { "secretRef": { "name": "users" }, "registration": "Open", "existing": "Any" } });
    let ids =
        json!({ "commonName": "iotedged workload ca ${device}", "value": "${device}-edge-ca" });
    let profile = json!({ "isCA": true, "subject": "CN=iotedged workload ca ${device}" });
    let edge = json!({ "authentication": users, "registrationId": ids, "profile": profile });
    world.create(group("edge", "edge-root", edge.clone())).await;
    world.create(group("tight", "ca", edge)).await;
    world
        .until::<devicecert::api::EnrollmentGroup>("edge", "True")
        .await;
    let dir = tempfile::tempdir().unwrap();
    let script = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem \
        -subj '/CN=iotedged workload ca edge-1' -addext basicConstraints=critical,CA:TRUE,pathlen:0 \
        -addext keyUsage=critical,keyCertSign 2>/dev/null";
    let csr = run_in(dir.path(), script).unwrap();
    let label = |group: &str| format!("{}.{group}", world.namespace);
    let certificate = scene.user.enroll(&label("edge"), &csr).await.certificate();
    let facts = Facts::of(&certificate);
    assert_eq!(facts.subject, "CN=iotedged workload ca edge-1");
    assert_eq!(facts.ca, Some((true, Some(0))));
    assert_eq!(world.record("edge-1-edge-ca").await.len(), 1);
    // The same root certifies devices, which deserves a warning.
    let warned: devicecert::api::EnrollmentGroup = world.get("edge").await;
    let warning = crate::harness::condition(&warned, "TrustOverlap").unwrap();
    assert_eq!(warning.reason, "UnconstrainedAuthority");
    assert!(
        warning.message.contains("Use a root of its own"),
        "{}",
        warning.message
    );
    // Elsewhere the name is no ID, and an issuer without room refuses.
    let other = run_in(dir.path(), &script.replace("edge-1", "edge-2")).unwrap();
    scene
        .user
        .enroll("", &csr)
        .await
        .refuses(400, "InvalidRegistrationId", &["character ' '"]);
    scene.user.enroll(&label("tight"), &other).await.refuses(
        403,
        "AuthorityNotAllowed",
        &["pathLength 0", "a greater one"],
    );
}

#[tokio::test]
async fn a_ca_that_was_certified_for_a_device_makes_no_bootstrap_certificates() {
    let scene = scene(open(), json!({})).await;
    let world = &scene.world;
    let deep = json!({ "issuedBy": { "name": "root" }, "pathLength": 1 });
    world.create(authority("edge-root", deep)).await;
    let users =
        json!({ "passwords": { "secretRef": { "name": "users" }, "registration": "Open" } });
    let edge = json!({ "authentication": users, "profile": { "isCA": true } });
    world.create(group("edge", "edge-root", edge)).await;
    let bootstrap = json!({ "authorityRefs": [{ "name": "root" }, { "name": "edge-root" }], "registration": "Open" });
    let boot = json!({ "authentication": { "bootstrap": bootstrap } });
    world.create(group("boot", "ca", boot)).await;
    for name in ["edge", "boot"] {
        world
            .until::<devicecert::api::EnrollmentGroup>(name, "True")
            .await;
    }
    let label = |group: &str| format!("{}.{group}", world.namespace);
    let dir = tempfile::tempdir().unwrap();
    let request = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -subj /CN=edge-1 2>/dev/null";
    let csr = run_in(dir.path(), request).unwrap();
    let edge_ca = scene.user.enroll(&label("edge"), &csr).await.certificate();
    assert_eq!(Facts::of(&edge_ca).ca, Some((true, Some(0))));
    std::fs::write(dir.path().join("edge.der"), &edge_ca).unwrap();
    let forge = "openssl x509 -inform DER -in edge.der -out edge.pem
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout v.pem -subj /CN=victim -out v.csr 2>/dev/null
        printf 'extendedKeyUsage=clientAuth' > ext
        openssl x509 -req -in v.csr -CA edge.pem -CAkey k.pem -CAcreateserial -days 1 -extfile ext 2>/dev/null";
    let forged = crate::harness::split_pem(&run_in(dir.path(), forge).unwrap()).remove(0);
    let key = std::fs::read_to_string(dir.path().join("v.pem")).unwrap();
    let key = rcgen::KeyPair::from_pem(&key).unwrap();
    for chain in [vec![forged.clone(), edge_ca], vec![forged]] {
        let client = scene.anonymous.chain(&chain, &key);
        let reply = client
            .enroll(&label("boot"), &Device::new("victim").csr())
            .await;
        reply.refuses(403, "UnknownCertificate", &["not trusted"]);
    }
    assert!(
        world
            .api::<DeviceIdentity>()
            .get_opt("victim")
            .await
            .unwrap()
            .is_none()
    );
}
