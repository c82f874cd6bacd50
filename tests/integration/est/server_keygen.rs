//! Keys that the server makes: off by default, under TLS alone, or encrypted for the key in TLS.

use base64::prelude::{BASE64_STANDARD, Engine};
use devicecert::api::DeviceIdentity;
use serde_json::json;

use super::{open, scene};
use crate::harness::{Device, Facts, fingerprint, run_in};

/// The two parts of a multipart answer, decoded.
fn parts(reply: &crate::harness::Reply) -> Vec<(String, Vec<u8>)> {
    assert_eq!(reply.status, 200, "{}", reply.body);
    let kind = reply.header("Content-Type").unwrap();
    let boundary = kind.split_once("boundary=").unwrap().1.trim_matches('"');
    assert!(kind.starts_with("multipart/mixed"), "{kind}");
    let delimiter = format!("--{boundary}");
    let sections = reply.body.split(&delimiter).skip(1);
    let sections = sections.filter(|section| !section.starts_with("--"));
    sections
        .map(|section| {
            let (head, body) = section.trim_start().split_once("\r\n\r\n").unwrap();
            let compact: String = body.split_whitespace().collect();
            (head.to_string(), BASE64_STANDARD.decode(compact).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn a_key_is_made_only_where_the_group_says_so_and_fits_its_certificate() {
    let scene = scene(open(), json!({})).await;
    let csr = Device::new("tiny-1").csr();
    scene
        .user
        .keygen("", &csr)
        .await
        .refuses(403, "ServerKeygenDisabled", &["simpleenroll"]);
    let made = json!({ "profile": { "serverKeygen": "Enabled" }, "authentication": { "passwords": { "secretRef": { "name": "users" }, "registration": "Open", "existing": "Any" } } });
    let label = scene.world.served_group("made", made).await;
    let reply = scene.user.keygen(&label, &csr).await;
    let parts = parts(&reply);
    assert!(
        parts[0].0.contains("application/pkcs8") && parts[1].0.contains("smime-type=certs-only"),
        "{parts:?}"
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key.der"), &parts[0].1).unwrap();
    std::fs::write(dir.path().join("certs.p7"), &parts[1].1).unwrap();
    let script = "openssl pkey -inform DER -in key.der -pubout -out a.pem
        openssl pkcs7 -inform DER -in certs.p7 -print_certs -out c.pem
        openssl x509 -in c.pem -pubkey -noout > b.pem
        cmp a.pem b.pem; cat c.pem";
    let pem = run_in(dir.path(), script).unwrap();
    let facts = Facts::of_pem(&pem);
    assert_eq!(facts.subject, "CN=tiny-1");
    assert_eq!(
        scene.world.record("tiny-1").await,
        [fingerprint(&facts.der)]
    );
    // Asked again it is another key: the first one is kept nowhere.
    let again = self::parts(&scene.user.keygen(&label, &csr).await);
    assert_ne!(again[0].1, parts[0].1);
    let device: DeviceIdentity = scene.world.get("tiny-1").await;
    assert!(
        !serde_json::to_string(&device)
            .unwrap()
            .contains("PRIVATE KEY")
    );
}

/// A CSR for CN=ID with one attribute more, made by hand since openssl has no name for it.
fn csr_with_attribute(dir: &std::path::Path, id: &str, oid: &str, key_id: &str) -> String {
    let script = format!(
        "python3 - <<'END'
import subprocess, base64, os
def tlv(tag, body):
    n = len(body)
    length = bytes([n]) if n < 128 else bytes([0x80 | len(n.to_bytes((n.bit_length() + 7) // 8, 'big'))]) + n.to_bytes((n.bit_length() + 7) // 8, 'big')
    return bytes([tag]) + length + body
def oid(text):
    arcs = [int(a) for a in text.split('.')]
    out = [arcs[0] * 40 + arcs[1]]
    body = bytes(out)
    for arc in arcs[2:]:
        digits = [arc & 0x7f]
        arc >>= 7
        while arc:
            digits.append(0x80 | (arc & 0x7f)); arc >>= 7
        body += bytes(reversed(digits))
    return tlv(6, body)
subprocess.run('openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.pem 2>/dev/null; openssl pkey -in new.pem -pubout -outform DER -out new.spki', shell=True, check=True)
spki = open('new.spki', 'rb').read()
name = tlv(0x30, tlv(0x31, tlv(0x30, oid('2.5.4.3') + tlv(12, b'{id}'))))
attribute = tlv(0x30, oid('{oid}') + tlv(0x31, tlv(4, bytes.fromhex('{key_id}'))))
info = tlv(0x30, tlv(2, b'\\0') + name + spki + tlv(0xa0, attribute))
open('info.der', 'wb').write(info)
subprocess.run('openssl dgst -sha256 -sign new.pem -out sig.der info.der', shell=True, check=True)
sig = open('sig.der', 'rb').read()
csr = tlv(0x30, info + tlv(0x30, oid('1.2.840.10045.4.3.2')) + tlv(3, b'\\0' + sig))
print(base64.b64encode(csr).decode(), end='')
END"
    );
    run_in(dir, &script).unwrap()
}

const ASYMMETRIC: &str = "1.2.840.113549.1.9.16.2.54";
const SYMMETRIC: &str = "1.2.840.113549.1.9.16.2.37";

#[tokio::test]
async fn a_key_is_encrypted_for_the_certificate_in_tls_or_not_made_at_all() {
    let made = json!({ "profile": { "serverKeygen": "Enabled" } });
    let scene = scene(open(), made).await;
    let device = Device::new("tiny-1");
    let certificate = scene.user.enroll("", &device.csr()).await.certificate();
    let client = scene.anonymous.certificate(&certificate, &device.key);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("own.der"), &certificate).unwrap();
    std::fs::write(dir.path().join("own.key"), device.key.serialize_pem()).unwrap();
    let id = "openssl x509 -inform DER -in own.der -out own.pem
        openssl x509 -in own.pem -noout -ext subjectKeyIdentifier | tail -1 | tr -d ' :\\n'";
    let id = run_in(dir.path(), id).unwrap().to_lowercase();
    let csr = csr_with_attribute(dir.path(), "tiny-1", ASYMMETRIC, &id);
    let parts = parts(&client.keygen("", &csr).await);
    assert!(
        parts[0].0.contains("smime-type=server-generated-key"),
        "{}",
        parts[0].0
    );
    std::fs::write(dir.path().join("enveloped.p7"), &parts[0].1).unwrap();
    std::fs::write(dir.path().join("certs.p7"), &parts[1].1).unwrap();
    std::fs::write(dir.path().join("root.pem"), scene.world.root_pem().await).unwrap();
    let script = "openssl cms -decrypt -inform DER -in enveloped.p7 -recip own.pem -inkey own.key -out inner.der
        # What is encrypted is a SignedData as such (RFC 5652 section 6.1); openssl reads it with a ContentInfo around it.
        python3 -c \"
def tlv(tag, body):
    n = len(body)
    size = n.to_bytes((n.bit_length() + 7) // 8, 'big')
    return bytes([tag]) + (bytes([n]) if n < 128 else bytes([128 + len(size)]) + size) + body
inner = open('inner.der', 'rb').read()
open('signed.p7', 'wb').write(tlv(0x30, bytes.fromhex('06092a864886f70d010702') + tlv(0xa0, inner)))\"
        openssl cms -verify -inform DER -in signed.p7 -CAfile root.pem -purpose any -binary -out package.der 2>/dev/null
        openssl asn1parse -inform DER -in package.der | grep -c OCTET
        openssl pkcs7 -inform DER -in certs.p7 -print_certs -out c.pem
        # A package is a SEQUENCE of keys: what is inside is PKCS#8.
        python3 -c \"d=open('package.der','rb').read(); i=2 if d[1]<128 else 2+(d[1]&127); open('key.der','wb').write(d[i:])\"
        openssl pkey -inform DER -in key.der -pubout -out a.pem
        openssl x509 -in c.pem -pubkey -noout > b.pem
        cmp a.pem b.pem";
    run_in(dir.path(), script).unwrap();
    for (oid, id) in [(ASYMMETRIC, "00112233"), (SYMMETRIC, "00112233")] {
        let csr = csr_with_attribute(dir.path(), "tiny-1", oid, id);
        client.keygen("", &csr).await.refuses(
            400,
            "UnknownDecryptKey",
            &["subject key identifier"],
        );
    }
    assert_eq!(scene.world.record("tiny-1").await.len(), 2);
}

#[tokio::test]
async fn no_key_is_made_for_a_device_that_gets_no_certificate() {
    let made = json!({ "profile": { "serverKeygen": "Enabled" } });
    let scene = scene(open(), made).await;
    let device = Device::new("tiny-1");
    self::parts(&scene.user.keygen("", &device.csr()).await);
    let suspended = json!({ "spec": { "state": "Suspended" } });
    scene
        .world
        .patch::<DeviceIdentity>("tiny-1", suspended)
        .await;
    scene
        .user
        .keygen("", &device.csr())
        .await
        .refuses(403, "Suspended", &[]);
    assert_eq!(scene.world.record("tiny-1").await.len(), 1);
}

#[tokio::test]
async fn no_key_is_made_for_a_device_that_has_had_its_certificates() {
    let scene = scene(open(), json!({})).await;
    let slow = json!({
        "profile": { "serverKeygen": "Enabled", "keyAlgorithm": "RSA-4096" },
        "limits": { "certificatesPerHour": 1 },
        "authentication": { "passwords": { "secretRef": { "name": "users" }, "registration": "Open", "existing": "Any" } },
    });
    let slow = scene.world.served_group("slow", slow).await;
    let csr = Device::new("tiny-1").csr();
    parts(&scene.user.keygen(&slow, &csr).await);
    let start = std::time::Instant::now();
    for _ in 0..40 {
        let refused = scene.user.keygen(&slow, &csr).await;
        refused.refuses(429, "RenewedTooOften", &["certificatesPerHour"]);
    }
    // As many keys of that size take several times as long.
    let time = start.elapsed();
    assert!(time.as_secs() < 6, "{time:?}");
}
