//! Clients as they are: strongSwan's pki, curl and openssl, unchanged.

use std::fs;

use devicecert::api::DeviceIdentity;
use serde_json::json;

use super::{open, scene};
use crate::harness::{Facts, PASSWORD, run_in, split_pem};

#[tokio::test]
async fn strongswan_fetches_the_authorities_enrols_and_renews() {
    let scene = scene(open(), json!({})).await;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("root.pem"), scene.world.root_pem().await).unwrap();
    let url = format!("https://localhost:{}", scene.operator.est_port);
    let script = format!(
        "set -e
         pki --estca --url {url} --cacert root.pem --caout ca.pem --outform pem --force
         openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout d.key -subj /CN=swan -outform der -out d.p10
         pki --est --url {url} --in d.p10 --cacert root.pem --userpass u:{PASSWORD} --outform pem > first.pem
         openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout n.key -subj /CN=swan -outform der -out n.p10
         openssl pkey -in d.key -outform der -out d.der
         pki --est --url {url} --in n.p10 --cacert root.pem --cert first.pem --key d.der --outform pem > second.pem"
    );
    run_in(dir.path(), &script).unwrap();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let (first, second) = (
        Facts::of_pem(&read("first.pem")),
        Facts::of_pem(&read("second.pem")),
    );
    assert_ne!(first.key, second.key);
    assert_eq!(first.subject_der, second.subject_der);
    assert_eq!(
        scene.world.record("swan").await,
        [second.fingerprint(), first.fingerprint()]
    );
    let device: DeviceIdentity = scene.world.until("swan", "True").await;
    assert_eq!(
        device.status.unwrap().certificate.unwrap().serial_number,
        second.serial
    );
    let ca = scene.anonymous.authorities("factory").await.certificates();
    let pem: String = ca
        .iter()
        .map(|der| {
            devicecert::pki::Certificate::from_der(der)
                .unwrap()
                .to_pem()
        })
        .collect();
    second.verify(&scene.world.root_pem().await, &pem).unwrap();
}

#[tokio::test]
async fn curl_and_openssl_enrol_and_renew_under_every_way_to_write_the_path() {
    let scene = scene(open(), json!({})).await;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("root.pem"), scene.world.root_pem().await).unwrap();
    let base = format!(
        "https://localhost:{}/.well-known/est",
        scene.operator.est_port
    );
    let full = format!("{base}/{}.g", scene.world.namespace);
    let script = format!(
        "set -e
         openssl req -new -newkey rsa:2048 -nodes -keyout d.key -subj /O=Example/CN=curl-1 -out d.pem
         openssl req -in d.pem -outform der | openssl base64 -e > d.b64
         ask() {{ curl -sSf --cacert root.pem -H 'Content-Type: application/pkcs10' \"$@\" | openssl base64 -d -A | openssl pkcs7 -inform der -print_certs; }}
         ask -u u:{PASSWORD} --data-binary @d.b64 {base}/simpleenroll > first.pem
         ask --cert first.pem --key d.key --data-binary @d.b64 {base}/factory/simplereenroll > second.pem
         ask --cert second.pem --key d.key -H 'Transfer-Encoding: chunked' --data-binary @d.pem {full}/simpleenroll > third.pem
         curl -sSf --cacert root.pem {full}/cacerts | openssl base64 -d -A | openssl pkcs7 -inform der -print_certs > ca.pem
         openssl verify -x509_strict -CAfile root.pem -untrusted ca.pem third.pem"
    );
    run_in(dir.path(), &script).unwrap();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let newest = ["third.pem", "second.pem", "first.pem"]
        .map(|name| Facts::of_pem(&read(name)).fingerprint());
    assert_eq!(scene.world.record("curl-1").await, newest);
    let roots = split_pem(&read("ca.pem"));
    assert_eq!(roots.len(), 2, "the intermediate and the root");
}

#[tokio::test]
async fn a_request_in_the_spec_is_signed_into_the_status() {
    let scene = scene(open(), json!({})).await;
    let device = crate::harness::Device::new("by-request");
    let object = crate::harness::device("by-request", "g", json!({ "request": device.csr_pem() }));
    scene.world.create(object).await;
    let found: DeviceIdentity = scene.world.until("by-request", "True").await;
    let pem = found.status.unwrap().certificate.unwrap().pem.unwrap();
    device.owns(&split_pem(&pem)[0]);
    // Its owner renews it by the object, not over EST.
    let client = scene
        .anonymous
        .certificate(&split_pem(&pem)[0], &device.key);
    client
        .reenroll("", &device.csr())
        .await
        .refuses(403, "WrongOrigin", &["the operator itself"]);
}

#[tokio::test]
async fn strongswan_stops_at_a_wrong_password_and_enrols_an_rsa_key_with_the_right_one() {
    let scene = scene(open(), json!({})).await;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("root.pem"), scene.world.root_pem().await).unwrap();
    let url = format!("https://127.0.0.1:{}", scene.operator.est_port);
    let enrol = |password: &str| {
        let script = format!(
            "pki --gen --type rsa --size 2048 > d.der
             pki --req --in d.der --dn 'CN=swan-rsa' > d.p10
             pki --est --url {url} --in d.p10 --cacert root.pem --userpass u:{password} --outform pem"
        );
        run_in(dir.path(), &script)
    };
    let said = enrol("wrong").unwrap_err();
    assert!(said.contains("401"), "{said}");
    let api = scene.world.api::<DeviceIdentity>();
    assert!(api.get_opt("swan-rsa").await.unwrap().is_none());
    let facts = Facts::of_pem(&enrol(PASSWORD).unwrap());
    assert_eq!(scene.world.record("swan-rsa").await, [facts.fingerprint()]);
}

#[tokio::test]
async fn curl_answers_the_challenge_over_both_versions_of_tls() {
    let names = json!({ "allowedNames": { "dnsNames": ["${registrationId}.example.com"] } });
    let scene = scene(open(), names).await;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("root.pem"), scene.world.root_pem().await).unwrap();
    let base = format!(
        "https://127.0.0.1:{}/.well-known/est",
        scene.operator.est_port
    );
    for (version, id) in [("--tls-max 1.2", "curl-12"), ("--tlsv1.3", "curl-13")] {
        let script = format!(
            "ask() {{ curl -sSf {version} --cacert root.pem -H 'Content-Type: application/pkcs10' --data-binary @d.pem \"$@\" |
                openssl base64 -d -A | openssl pkcs7 -inform der -print_certs; }}
             openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout d.key -subj /CN={id} \
                -addext subjectAltName=DNS:{id}.example.com -out d.pem
             ask --anyauth -u u:{PASSWORD} {base}/simpleenroll > first.pem
             ask --cert first.pem --key d.key {base}/simplereenroll > second.pem"
        );
        run_in(dir.path(), &script).unwrap();
        let [first, second] = ["first.pem", "second.pem"]
            .map(|name| Facts::of_pem(&fs::read_to_string(dir.path().join(name)).unwrap()));
        assert_eq!(first.names, [format!("DNS:{id}.example.com")]);
        assert_eq!((&second.names, &second.key), (&first.names, &first.key));
        let record = scene.world.record(id).await;
        assert_eq!(record, [second.fingerprint(), first.fingerprint()]);
    }
}
