//! Certificates from elsewhere: each claims one device, ever.

use std::fs;

use devicecert::api::{BootstrapClaim, DeviceIdentity};
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::{Scene, scene};
use crate::harness::{Device, claim_name, fingerprint, run_in, split_pem, twin};

/// A manufacturer with a root, and certificates that it signs with openssl.
struct Maker {
    dir: tempfile::TempDir,
}

impl Maker {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem \
            -subj '/O=Maker/CN=Maker Root' -days 3650 -addext keyUsage=critical,keyCertSign 2>/dev/null";
        run_in(dir.path(), script).unwrap();
        Self { dir }
    }

    fn root(&self) -> String {
        fs::read_to_string(self.dir.path().join("root.pem")).unwrap()
    }

    /// A certificate (DER) and its key. `version` is what tells openssl to leave extensions away.
    fn certify(&self, subject: &str, options: &str) -> (Vec<u8>, KeyPair) {
        let script = format!(
            "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out k.pem 2>/dev/null
             openssl req -new -key k.pem -subj '{subject}' -out r.pem
             openssl x509 -req -in r.pem -CA root.pem -CAkey root.key -CAcreateserial -days 3650 {options} -out c.pem 2>/dev/null"
        );
        run_in(self.dir.path(), &script).unwrap();
        let read = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap();
        (
            split_pem(&read("c.pem")).remove(0),
            KeyPair::from_pem(&read("k.pem")).unwrap(),
        )
    }
}

async fn with_bootstrap(maker: &Maker, more: Value) -> Scene {
    let mut bootstrap = json!({ "trustAnchors": maker.root(), "registration": "Open" });
    crate::harness::merge(&mut bootstrap, more);
    scene(
        json!({}),
        json!({ "authentication": { "bootstrap": bootstrap } }),
    )
    .await
}

#[tokio::test]
async fn a_makers_certificate_claims_the_id_in_its_name_even_as_a_version_1_certificate() {
    let maker = Maker::new();
    let scene = with_bootstrap(&maker, json!({})).await;
    for (id, options) in [("SN-0001", "-extfile /dev/null"), ("SN-0002", "")] {
        let (certificate, key) = maker.certify(&format!("/O=Maker/CN={id}"), options);
        let client = scene.anonymous.certificate(&certificate, &key);
        let device = Device::new(id);
        let issued = client.enroll("", &device.csr()).await.certificate();
        device.owns(&issued);
        let claim: BootstrapClaim = scene.world.get(&claim_name(&certificate)).await;
        assert_eq!(claim.spec.registration_id, id.to_lowercase());
        // After a reset the device begins again with the same certificate and another key.
        let again = Device::new(id);
        again.owns(&client.enroll("", &again.csr()).await.certificate());
        // For another name it is worth nothing.
        let other = client.enroll("", &Device::new("SN-0009").csr()).await;
        other.refuses(403, "IdNotAllowed", &[id, "SN-0009"]);
    }
}

#[tokio::test]
async fn a_certificate_that_may_claim_any_id_claims_one() {
    let maker = Maker::new();
    let scene = with_bootstrap(
        &maker,
        json!({ "mapping": { "expression": "csr.commonName" } }),
    )
    .await;
    let (certificate, key) = maker.certify("/O=Maker/CN=batch 7", "");
    let client = scene.anonymous.certificate(&certificate, &key);
    let csrs: Vec<String> = (0..6)
        .map(|n| Device::new(&format!("edge-{n}")).csr())
        .collect();
    let replies = futures::future::join_all(csrs.iter().map(|csr| client.enroll("", csr))).await;
    assert_eq!(
        replies.iter().filter(|reply| reply.status == 200).count(),
        1
    );
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        reply.refuses(
            403,
            "BootstrapPinned",
            &["belongs to the registration ID edge-"],
        );
    }
    // Another certificate of the same maker cannot take a living device over.
    let taken = replies
        .iter()
        .position(|reply| reply.status == 200)
        .unwrap();
    let (second, second_key) = maker.certify("/O=Maker/CN=batch 8", "");
    let thief = scene.anonymous.certificate(&second, &second_key);
    let reply = thief
        .enroll("", &Device::new(&format!("edge-{taken}")).csr())
        .await;
    reply.refuses(403, "SameKeyRequired", &["bootstrap certificate"]);
    // And was not used up by the attempt.
    let own = Device::new("edge-x");
    own.owns(&thief.enroll("", &own.csr()).await.certificate());
    // Nor is it another certificate with its signature written in the other way.
    let thief = scene.anonymous.certificate(&twin(&second), &second_key);
    thief
        .enroll("", &Device::new("edge-y").csr())
        .await
        .refuses(403, "BootstrapPinned", &["edge-x"]);
}

#[tokio::test]
async fn strangers_denied_ones_and_our_own_certificates_open_nothing() {
    let (maker, stranger) = (Maker::new(), Maker::new());
    let (denied, denied_key) = maker.certify("/CN=SN-1", "");
    let more = json!({ "denied": [fingerprint(&denied)], "mapping": { "expression": "csr.commonName" }, "authorityRefs": [{ "name": "ca" }] });
    let scene = with_bootstrap(&maker, more).await;
    let device = Device::new("victim");
    scene
        .anonymous
        .certificate(&denied, &denied_key)
        .enroll("", &device.csr())
        .await
        .refuses(403, "BootstrapDenied", &[]);
    scene
        .anonymous
        .certificate(&twin(&denied), &denied_key)
        .enroll("", &device.csr())
        .await
        .refuses(403, "BootstrapDenied", &[]);
    let (strange, strange_key) = stranger.certify("/CN=SN-1", "");
    let client = scene.anonymous.certificate(&strange, &strange_key);
    client
        .enroll("", &device.csr())
        .await
        .refuses(403, "UnknownCertificate", &["not trusted"]);
    // Not even beside a good password.
    client
        .user("u", crate::harness::PASSWORD)
        .enroll("", &device.csr())
        .await
        .refuses(403, "UnknownCertificate", &[]);
    // The authority that signs for the group is listed, and still what it gave to one device opens no other.
    scene
        .world
        .create(crate::harness::device("own", "g", json!({})))
        .await;
    let own = Device::new("own");
    let certificate = scene.user.enroll("", &own.csr()).await.certificate();
    let client = scene.anonymous.certificate(&certificate, &own.key);
    client
        .enroll("", &device.csr())
        .await
        .refuses(403, "SubjectMismatch", &[]);
    assert!(
        scene
            .world
            .api::<DeviceIdentity>()
            .get_opt("victim")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_list_of_fingerprints_names_the_device_of_each_certificate() {
    let maker = Maker::new();
    let (certificate, key) = maker.certify("/serialNumber=77/CN=whatever", "");
    let list = json!([{ "sha256": fingerprint(&certificate), "registrationId": "pump-77" }]);
    let scene = with_bootstrap(&maker, json!({ "mapping": { "fingerprints": list } })).await;
    let device = Device::new("pump-77");
    let client = scene.anonymous.certificate(&certificate, &key);
    device.owns(&client.enroll("", &device.csr()).await.certificate());
    let (unlisted, unlisted_key) = maker.certify("/CN=pump-78", "");
    let reply = scene
        .anonymous
        .certificate(&unlisted, &unlisted_key)
        .enroll("", &Device::new("pump-78").csr())
        .await;
    reply.refuses(403, "IdNotAllowed", &["not on the group's list"]);
}
