//! From the bytes of a CSR to what policy grants: no panic, and no grant beyond the group's rules.
//!
//! Mutated requests would all fail at their signature, so the input is also taken as the subject and the attributes of a request
//! that is signed here with a fixed key.
#![no_main]

use std::sync::LazyLock;

use devicecert::api::{self, EnrollmentGroup};
use devicecert::pki::{
    Certificate, CertificateTemplate, Csr, Issuer, KeyAlgorithm, KeyUsage, Name, PrivateKey, Role,
    Serial, SubjectAltNames, Validity, assemble,
};
use devicecert::policy::{
    Asked, Authority, Device, Group, KeyHolder, Principal, Purpose, RegistrationId, Situation,
    authorize,
};
use jiff::Timestamp;

const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);
const ID: &str = "dev1";

struct Scene {
    key: PrivateKey,
    group: Group,
    authority: Authority,
    device: Device,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let mut group = EnrollmentGroup::new("g", api::EnrollmentGroupSpec::default());
    group.metadata.namespace = Some("ns".into());
    group.spec = serde_json::from_value(serde_json::json!({
        "authorityRef": { "name": "ca" },
        "allowedNames": { "dnsNames": ["${registrationId}.example.com"] },
        "authentication": { "passwords": { "secretRef": { "name": "users" }, "registration": "Open" } },
    }))
    .unwrap();
    Scene {
        key: PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(),
        group: Group::compile(&group).unwrap(),
        authority: Authority {
            namespace: "ns".into(),
            name: "ca".into(),
            certificate: Some(root()),
            hindrance: None,
            terminating: false,
        },
        device: Device::unregistered("ns", "g", RegistrationId::parse(ID).unwrap()),
    }
});

fn root() -> Certificate {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let template = CertificateTemplate {
        serial: Serial::from_random([7; 16]),
        subject: Name::parse("CN=Root").unwrap(),
        key: key.public().clone(),
        validity: Validity::starting(NOW, "20y".parse().unwrap(), None)
            .unwrap()
            .0,
        sans: SubjectAltNames::default(),
        key_usages: vec![KeyUsage::KeyCertSign],
        extended_key_usages: vec![],
        role: Role::Authority { path_length: None },
    };
    assemble(&template, Issuer::SelfSigned(key.signer())).unwrap()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    if let Some(request) = signed(bytes) {
        check(&request);
    }
});

fn check(request: &[u8]) {
    let Ok(csr) = Csr::from_pem_or_der(request) else {
        return;
    };
    let scene = &*SCENE;
    let granted = authorize(&Situation {
        principal: &Principal::Password { user: "u".into() },
        asked: Asked::Csr(&csr),
        group: &scene.group,
        authority: &scene.authority,
        device: &scene.device,
        key_holder: &KeyHolder::Nobody,
        bound_to_channel: false,
        purpose: Purpose::New,
        now: NOW,
    });
    let Ok(grant) = granted else {
        return;
    };
    let template = grant.template(Serial::from_random([1; 16]));
    assert!(!csr.asks_for_ca());
    assert_eq!(template.role, Role::Leaf);
    assert!(!template.key_usages.contains(&KeyUsage::KeyCertSign));
    assert_eq!(&template.key, csr.key());
    assert_eq!(template.subject.common_name().as_deref(), Some(ID));
    let own = format!("{ID}.example.com");
    assert!(template.sans.dns.iter().all(|name| *name == own));
    assert!(
        template.sans.ip.is_empty()
            && template.sans.uri.is_empty()
            && template.sans.other.is_empty()
    );
}

/// A request whose subject is the first element of `bytes`, and whose attributes are the rest.
fn signed(bytes: &[u8]) -> Option<Vec<u8>> {
    let subject = element(bytes)?;
    let key = &SCENE.key;
    let attributes = tlv(0xa0, &bytes[subject..]);
    let info = [&[2, 1, 0], &bytes[..subject], &key.spki_der(), &attributes].concat();
    let info = tlv(0x30, &info);
    let signature = [&[0], &key.signer().sign(&info).ok()?[..]].concat();
    // ecdsa-with-SHA256
    let algorithm = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    Some(tlv(
        0x30,
        &[&info[..], &algorithm, &tlv(3, &signature)].concat(),
    ))
}

/// How many bytes the first element has, its head included.
fn element(bytes: &[u8]) -> Option<usize> {
    let (head, length) = match *bytes.get(1)? {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(*bytes.get(2)?)),
        _ => return None,
    };
    (head + length <= bytes.len()).then_some(head + length)
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        ..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        0x100..0x1_0000 => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        _ => vec![
            tag,
            0x83,
            (length >> 16) as u8,
            (length >> 8) as u8,
            length as u8,
        ],
    };
    [&head[..], content].concat()
}
