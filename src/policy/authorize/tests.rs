//! The decision from every side: who asks, in which state, for what.

use proptest::prelude::*;

use super::*;
use crate::{
    api::{self, Existing, Passwords, Registration},
    pki::{
        Certificate, Fingerprint, KeyAlgorithm, PrivateKey, SubjectAltNames,
        fixtures::{Ca, now, openssl, openssl_csr},
    },
    policy::{Recorded, Recording, record, renewal_time},
};

/// What a test changes in a scene.
type Bend = fn(&mut Scene);

/// A group, its authority and a device, to be bent by each test.
struct Scene {
    group: api::EnrollmentGroup,
    ca: Ca,
    device: Device,
    authority: Authority,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        let ca = Ca::root("CN=Root");
        let mut group = api::EnrollmentGroup::new("g", Default::default());
        group.metadata.namespace = Some("ns".into());
        group.spec =
            serde_json::from_value(serde_json::json!({ "authorityRef": { "name": "ca" } }))
                .unwrap();
        group.spec.allowed_names.dns_names = vec!["${registrationId}.example.com".into()];
        group.spec.authentication.passwords = Some(Passwords {
            secret_ref: api::LocalRef {
                name: "users".into(),
            },
            registration: Registration::Open,
            existing: Existing::SameKey,
            users: Vec::new(),
        });
        let authority = Authority {
            namespace: "ns".into(),
            name: "ca".into(),
            certificate: Some(ca.certificate.clone()),
            hindrance: None,
            terminating: false,
        };
        let device = Device::unregistered("ns", "g", RegistrationId::parse("dev1").unwrap());
        Self {
            group,
            ca,
            device,
            authority,
            now: now(),
        }
    }

    fn compiled(&self) -> Group {
        Group::compile(&self.group).unwrap()
    }

    fn ask(&self, principal: &Principal, asked: Asked<'_>) -> Result<Grant, Refusal> {
        authorize(&Situation {
            principal,
            asked,
            group: &self.compiled(),
            authority: &self.authority,
            device: &self.device,
            key_holder: &KeyHolder::Nobody,
            bound_to_channel: false,
            purpose: Purpose::New,
            now: self.now,
        })
    }

    fn refusal(&self, principal: &Principal, asked: Asked<'_>) -> Reason {
        self.ask(principal, asked).unwrap_err().reason
    }

    /// Signs a grant and puts it on the device's record, as the registrar does.
    fn enroll(&mut self, principal: &Principal, csr: &Csr) -> Certificate {
        let grant = self.ask(principal, Asked::Csr(csr)).unwrap();
        let certificate = crate::pki::assemble(
            &grant.template(crate::pki::fixtures::serial()),
            self.ca.issuer(),
        )
        .unwrap();
        let recording = Recording {
            device: &self.device,
            principal,
            grant: &grant,
            certificate: &certificate,
            renewal_time: renewal_time(certificate.validity(), self.compiled().threshold, "uid"),
            generation: Some(1),
            now: self.now,
        };
        let mut object = api::DeviceIdentity::new(&self.device.name, Default::default());
        object.metadata.namespace = Some("ns".into());
        object.spec.group_ref.name = "g".into();
        object.spec.registration_id = Some(self.device.id.as_str().into());
        object.spec.state = self.device.state;
        object.status = Some(record(&self.status(), &recording));
        self.device = Device::compile(&object).unwrap();
        certificate
    }

    fn status(&self) -> api::DeviceIdentityStatus {
        // What matters of earlier certificates here is only that they are still valid.
        let previous = self
            .device
            .current
            .iter()
            .map(|old| (old.fingerprint, old.key_fingerprint, old.validity.not_after));
        let previous =
            previous
                .chain(self.device.previous.iter().copied())
                .map(|(fingerprint, key, end)| api::PreviousCertificate {
                    serial_number: "01".into(),
                    not_after: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(end),
                    fingerprint: fingerprint.to_string(),
                    key_fingerprint: key.to_string(),
                    issuer_fingerprint: "00".repeat(32),
                });
        api::DeviceIdentityStatus {
            previous: previous.collect(),
            approved_request: self.device.approved_request.as_ref().map(|request| {
                api::ApprovedRequest {
                    key_fingerprint: request.key.to_string(),
                    subject_alt_names: request.names.clone(),
                }
            }),
            ..Default::default()
        }
    }
}

fn password() -> Principal {
    Principal::Password { user: "u".into() }
}

fn by(certificate: &Certificate) -> Principal {
    Principal::Device {
        certificate: Box::new(certificate.clone()),
        standing: Standing::Valid,
    }
}

fn csr(subject: &str) -> Csr {
    csr_with(subject, &[])
}

/// A CSR with a fresh key, and these further arguments of `openssl req`.
fn csr_with(subject: &str, arguments: &[&str]) -> Csr {
    Csr::from_der(&openssl_csr(subject, arguments)).unwrap()
}

fn csr_of(key: &PrivateKey, subject: &str) -> Csr {
    csr_for(key, subject, &[])
}

fn csr_for(key: &PrivateKey, subject: &str, arguments: &[&str]) -> Csr {
    let request = [
        "req",
        "-new",
        "-outform",
        "DER",
        "-key",
        "/dev/stdin",
        "-subj",
        subject,
    ];
    let request = [&request[..], arguments].concat();
    Csr::from_der(&openssl(&request, key.to_pkcs8_pem().as_bytes())).unwrap()
}

#[test]
fn a_password_enrols_a_device_under_the_profiles_name_only() {
    let scene = Scene::new();
    let grant = scene
        .ask(&password(), Asked::Csr(&csr("/O=Wishes/CN=dev1")))
        .unwrap();
    assert_eq!(grant.subject().to_string(), "CN=dev1");
    assert_eq!(
        grant.requested_subject().unwrap().to_string(),
        "CN=dev1,O=Wishes"
    );
    assert_eq!(grant.issuer(), scene.ca.certificate.fingerprint());
}

#[test]
fn nobody_gets_the_name_of_another() {
    let mut scene = Scene::new();
    assert_eq!(
        scene.refusal(&password(), Asked::Csr(&csr("/CN=dev2"))),
        Reason::SubjectMismatch
    );
    let own = scene.enroll(&password(), &csr("/CN=dev1"));
    assert_eq!(
        scene.refusal(&by(&own), Asked::Csr(&csr("/CN=dev2"))),
        Reason::SubjectMismatch
    );
    assert_eq!(
        scene.refusal(&by(&own), Asked::Csr(&csr("/O=Admins/CN=dev1"))),
        Reason::SubjectMismatch
    );
    let foreign = csr_with(
        "/CN=dev1",
        &["-addext", "subjectAltName=DNS:dev2.example.com"],
    );
    assert_eq!(
        scene.refusal(&password(), Asked::Csr(&foreign)),
        Reason::NameNotAllowed
    );
    assert_eq!(
        scene.refusal(&by(&own), Asked::Csr(&foreign)),
        Reason::SubjectMismatch
    );
    assert_eq!(
        Scene::new().refusal(&password(), Asked::Csr(&foreign)),
        Reason::NameNotAllowed
    );
}

#[test]
fn a_renewal_keeps_subject_and_names_and_may_repeat_either_subject() {
    let mut scene = Scene::new();
    let first = csr_with(
        "/O=Own/CN=dev1",
        &["-addext", "subjectAltName=DNS:dev1.example.com"],
    );
    let certificate = scene.enroll(&password(), &first);
    for subject in ["/O=Own/CN=dev1", "/CN=dev1"] {
        let grant = scene
            .ask(&by(&certificate), Asked::Csr(&csr(subject)))
            .unwrap();
        assert_eq!(grant.subject(), certificate.subject());
        assert_eq!(grant.names(), certificate.sans());
    }
    // The profile's change is for new devices; a renewal keeps what is recorded.
    scene.group.spec.profile.subject = "O=New,CN=${registrationId}".into();
    let grant = scene
        .ask(&by(&certificate), Asked::Csr(&csr("/CN=dev1")))
        .unwrap();
    assert_eq!(grant.subject(), certificate.subject());
    // Names that the group no longer allows are not renewed.
    scene.group.spec.allowed_names.dns_names.clear();
    assert_eq!(
        scene.refusal(&by(&certificate), Asked::Csr(&csr("/CN=dev1"))),
        Reason::NameNotAllowed
    );
}

#[test]
fn a_certificate_that_is_not_on_the_record_is_nobody() {
    let mut scene = Scene::new();
    let stranger = scene.ca.leaf("CN=dev1");
    assert_eq!(
        scene.refusal(&by(&stranger), Asked::Csr(&csr("/CN=dev1"))),
        Reason::UnknownCertificate
    );
    scene.enroll(&password(), &csr("/CN=dev1"));
    assert_eq!(
        scene.refusal(&by(&stranger), Asked::Csr(&csr("/CN=dev1"))),
        Reason::UnknownCertificate
    );
}

#[test]
fn every_live_certificate_on_the_record_renews_and_no_expired_one() {
    let mut scene = Scene::new();
    let identity = scene.enroll(&password(), &csr("/CN=dev1"));
    let device = scene.enroll(&by(&identity), &csr("/CN=dev1"));
    assert!(
        scene
            .ask(&by(&identity), Asked::Csr(&csr("/CN=dev1")))
            .is_ok()
    );
    assert!(
        scene
            .ask(&by(&device), Asked::Csr(&csr("/CN=dev1")))
            .is_ok()
    );
    scene.now = device.validity().not_after;
    assert_eq!(
        scene.refusal(&by(&device), Asked::Csr(&csr("/CN=dev1"))),
        Reason::UnknownCertificate
    );
}

#[test]
fn a_stopped_device_or_group_gives_nothing_to_anybody() {
    let stop: [(Bend, Reason); 5] = [
        (
            |s| s.device.state = DeviceState::Suspended,
            Reason::Suspended,
        ),
        (|s| s.device.state = DeviceState::Revoked, Reason::Revoked),
        (
            |s| s.group.spec.provisioning_status = ProvisioningStatus::Disabled,
            Reason::GroupDisabled,
        ),
        (
            |s| s.authority.hindrance = Some(Refusal::new(Reason::Suspended, "x")),
            Reason::Suspended,
        ),
        (
            |s| s.authority.certificate = None,
            Reason::AuthorityNotReady,
        ),
    ];
    for (stop, reason) in stop {
        let mut scene = Scene::new();
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let request = csr_of(&key, "/CN=dev1");
        let own = scene.enroll(&password(), &request);
        stop(&mut scene);
        assert_eq!(scene.refusal(&password(), Asked::Csr(&request)), reason);
        assert_eq!(scene.refusal(&by(&own), Asked::Csr(&request)), reason);
        scene.device.origin = Origin::Secret("s".into());
        assert_eq!(
            scene.refusal(&Principal::Operator, Asked::OwnKey(key.public())),
            reason
        );
    }
}

#[test]
fn what_is_being_deleted_renews_but_takes_nobody_new() {
    for delete in [
        |s: &mut Scene| s.authority.terminating = true,
        |s: &mut Scene| {
            s.group.metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
        },
    ] {
        let mut scene = Scene::new();
        delete(&mut scene);
        assert_eq!(
            scene.refusal(&password(), Asked::Csr(&csr("/CN=dev1"))),
            Reason::InUse
        );
        let mut scene = Scene::new();
        let own = scene.enroll(&password(), &csr("/CN=dev1"));
        delete(&mut scene);
        assert!(scene.ask(&by(&own), Asked::Csr(&csr("/CN=dev1"))).is_ok());
    }
}

#[test]
fn what_a_password_may_do_to_a_live_certificate_is_the_groups_choice() {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let same = csr_of(&key, "/CN=dev1");
    let cases = [
        (Existing::Any, "u", None, None),
        (
            Existing::Never,
            "u",
            Some(Reason::CertificateExists),
            Some(Reason::CertificateExists),
        ),
        (Existing::SameKey, "u", None, None),
        (
            Existing::SameKey,
            "other",
            None,
            Some(Reason::SameKeyRequired),
        ),
    ];
    for (existing, user, with_same_key, with_new_key) in cases {
        let mut scene = Scene::new();
        scene
            .group
            .spec
            .authentication
            .passwords
            .as_mut()
            .unwrap()
            .existing = existing;
        scene.enroll(&password(), &same);
        let user = Principal::Password { user: user.into() };
        let reason = |csr: &Csr| {
            scene
                .ask(&user, Asked::Csr(csr))
                .err()
                .map(|refusal| refusal.reason)
        };
        assert_eq!(reason(&same), with_same_key, "{existing:?} same key");
        assert_eq!(
            reason(&csr("/CN=dev1")),
            with_new_key,
            "{existing:?} new key"
        );
    }
}

#[test]
fn the_same_user_may_retry_with_a_new_key_for_ten_minutes_only() {
    let mut scene = Scene::new();
    scene.enroll(&password(), &csr("/CN=dev1"));
    scene.now = now().checked_add(SignedDuration::from_secs(590)).unwrap();
    assert!(scene.ask(&password(), Asked::Csr(&csr("/CN=dev1"))).is_ok());
    scene.now = now().checked_add(SignedDuration::from_secs(610)).unwrap();
    assert_eq!(
        scene.refusal(&password(), Asked::Csr(&csr("/CN=dev1"))),
        Reason::SameKeyRequired
    );
    scene.now = now().checked_sub(SignedDuration::from_hours(24)).unwrap();
    assert_eq!(
        scene.refusal(&password(), Asked::Csr(&csr("/CN=dev1"))),
        Reason::SameKeyRequired,
        "the clock was set back"
    );
    scene.now = scene.device.current.as_ref().unwrap().validity.not_after;
    assert!(
        scene.ask(&password(), Asked::Csr(&csr("/CN=dev1"))).is_ok(),
        "an expired certificate is no obstacle"
    );
}

#[test]
fn authority_certificates_weak_rules_and_foreign_groups_are_refused() {
    let mut scene = Scene::new();
    let ca = csr_with(
        "/CN=dev1",
        &["-addext", "basicConstraints=critical,CA:TRUE"],
    );
    assert_eq!(
        scene.refusal(&password(), Asked::Csr(&ca)),
        Reason::AuthorityNotAllowed
    );
    scene.group.spec.profile.allowed_keys = vec![api::AllowedKey::Ed25519];
    assert_eq!(
        scene.refusal(&password(), Asked::Csr(&csr("/CN=dev1"))),
        Reason::KeyNotAllowed
    );
    let mut scene = Scene::new();
    scene.group.spec.registration_id.pattern = Some("line4-[0-9]+".into());
    assert_eq!(
        scene.refusal(&password(), Asked::Csr(&csr("/CN=dev1"))),
        Reason::RegistrationIdNotAllowed
    );
    let mut scene = Scene::new();
    scene.device.group = "other".into();
    assert_eq!(
        scene.refusal(&password(), Asked::Csr(&csr("/CN=dev1"))),
        Reason::WrongGroup
    );
    let mut scene = Scene::new();
    scene.device.origin = Origin::Request;
    assert_eq!(
        scene.refusal(&password(), Asked::Csr(&csr("/CN=dev1"))),
        Reason::WrongOrigin
    );
}

#[test]
fn a_pattern_binds_the_whole_id() {
    let mut scene = Scene::new();
    scene.group.spec.registration_id.pattern = Some("ev|dev1x".into());
    assert_eq!(
        scene.refusal(&password(), Asked::Csr(&csr("/CN=dev1"))),
        Reason::RegistrationIdNotAllowed
    );
    scene.group.spec.registration_id.pattern = Some("DEV[0-9]".into());
    assert!(scene.ask(&password(), Asked::Csr(&csr("/CN=dev1"))).is_ok());
}

#[test]
fn the_record_of_a_device_is_bounded() {
    let mut scene = Scene::new();
    let mut certificate = scene.enroll(&password(), &csr("/CN=dev1"));
    for _ in 0..MOST_PREVIOUS {
        certificate = scene.enroll(&by(&certificate), &csr("/CN=dev1"));
    }
    assert_eq!(
        scene.refusal(&by(&certificate), Asked::Csr(&csr("/CN=dev1"))),
        Reason::TooManyCertificates
    );
}

#[test]
fn settings_that_cannot_be_understood_give_nothing_out() {
    let broken: [fn(&mut api::EnrollmentGroupSpec); 7] = [
        |s| s.profile.validity = "1x".into(),
        |s| s.profile.validity = "59s".into(),
        |s| s.profile.subject = "CN=${serial}".into(),
        |s| s.profile.subject = "O=system:masters,CN=${registrationId}".into(),
        |s| s.renewal.threshold = "101%".into(),
        |s| s.registration_id.pattern = Some("(".into()),
        |s| s.allowed_names.ip_addresses = vec!["10.0.0.0/99".into()],
    ];
    for spoil in broken {
        let mut scene = Scene::new();
        spoil(&mut scene.group.spec);
        assert_eq!(
            Group::compile(&scene.group).unwrap_err().reason,
            Reason::GroupInvalid
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the certificate on record and the CSR say, a grant names the device and nobody else.
    #[test]
    fn a_grant_always_names_its_own_device(asked in "[a-z]{1,3}[0-9]", id in "[a-z]{1,3}[0-9]") {
        let mut scene = Scene::new();
        scene.device = Device::unregistered("ns", "g", RegistrationId::parse(&id).unwrap());
        if let Ok(grant) = scene.ask(&password(), Asked::Csr(&csr(&format!("/CN={asked}")))) {
            prop_assert_eq!(grant.subject().common_name(), Some(id.clone()));
            prop_assert_eq!(asked, id);
        }
    }
}

#[test]
fn the_back_dating_is_taken_back_when_the_time_of_issue_is_asked() {
    for lifespan in ["60s", "1h", "90d", "20y"] {
        let mut scene = Scene::new();
        scene.group.spec.profile.validity = lifespan.into();
        scene.enroll(&password(), &csr("/CN=dev1"));
        let issued: &Recorded = scene.device.current.as_ref().unwrap();
        assert_eq!(issued.issued_at(), now(), "{lifespan}");
        let _: Fingerprint = issued.fingerprint;
    }
}

/// What a test does to a group before a bootstrap certificate asks.
fn with_bootstrap(scene: &mut Scene, more: serde_json::Value) {
    let mut bootstrap = serde_json::json!({ "authorityRefs": [{ "name": "maker" }] });
    bootstrap
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    scene.group.spec.authentication.bootstrap = Some(serde_json::from_value(bootstrap).unwrap());
}

fn bootstrap(
    certificate: &Certificate,
    claimed: Option<&str>,
    own_name: Option<&str>,
) -> Principal {
    let id = |text: &str| RegistrationId::parse(text).unwrap();
    Principal::Bootstrap {
        certificate: Box::new(certificate.clone()),
        claimed: claimed.map(id),
        own_name: own_name.map(id),
    }
}

#[test]
fn a_bootstrap_certificate_claims_the_mapped_id_and_keeps_to_the_first() {
    let maker = Ca::root("CN=dev1");
    let shown = &maker.certificate;
    let asked = csr("/CN=dev1");
    let cases = [
        (serde_json::json!({}), None, None, None),
        (serde_json::json!({}), Some("dev1"), Some("dev1"), None),
        (
            serde_json::json!({}),
            Some("dev2"),
            None,
            Some(Reason::BootstrapPinned),
        ),
        (
            serde_json::json!({}),
            None,
            Some("dev2"),
            Some(Reason::BootstrapPinned),
        ),
        (
            serde_json::json!({ "denied": [shown.fingerprint().to_string()] }),
            None,
            None,
            Some(Reason::BootstrapDenied),
        ),
        (
            serde_json::json!({ "mapping": { "expression": "certificate.commonName + '-x'" } }),
            None,
            None,
            Some(Reason::IdNotAllowed),
        ),
        (
            serde_json::json!({ "mapping": { "fingerprints": [{ "sha256": shown.fingerprint().to_string(), "registrationId": "DEV1" }] } }),
            None,
            None,
            None,
        ),
    ];
    for (rules, claimed, own_name, expected) in cases {
        let mut scene = Scene::new();
        with_bootstrap(&mut scene, rules.clone());
        let principal = bootstrap(shown, claimed, own_name);
        let found = scene.ask(&principal, Asked::Csr(&asked)).err();
        assert_eq!(found.map(|refusal| refusal.reason), expected, "{rules}");
    }
    // Where the group takes none.
    let scene = Scene::new();
    let reason = scene.refusal(&bootstrap(shown, None, None), Asked::Csr(&asked));
    assert_eq!(reason, Reason::UnknownCertificate);
}

#[test]
fn an_approval_is_for_one_key_and_void_for_any_other() {
    let (approved, other) = (csr("/CN=dev1"), csr("/CN=dev1"));
    let mut scene = Scene::new();
    scene.group.spec.approval = api::Approval::Manual;
    let refusal = |scene: &Scene, csr: &Csr| {
        scene
            .ask(&password(), Asked::Csr(csr))
            .err()
            .map(|refusal| refusal.reason)
    };
    assert_eq!(refusal(&scene, &approved), Some(Reason::PendingApproval));
    for (decision, own, others) in [
        (
            api::ApprovalDecision::Approved,
            None,
            Some(Reason::PendingApproval),
        ),
        (
            api::ApprovalDecision::Denied,
            Some(Reason::Denied),
            Some(Reason::PendingApproval),
        ),
    ] {
        scene.device.approval = Some(crate::policy::Approved {
            decision,
            key: approved.key().fingerprint(),
            reason: None,
        });
        assert_eq!(refusal(&scene, &approved), own);
        assert_eq!(refusal(&scene, &other), others);
    }
    // Nor is it an approval of a key that the server would make for the same requester.
    scene.device.approval = Some(crate::policy::Approved {
        decision: api::ApprovalDecision::Approved,
        key: approved.key().fingerprint(),
        reason: None,
    });
    scene.group.spec.profile.server_keygen = api::ServerKeygen::Enabled;
    let made = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let keygen = Asked::MadeKey {
        csr: &approved,
        key: made.public(),
    };
    assert_eq!(scene.refusal(&password(), keygen), Reason::PendingApproval);
    scene.device.approval.as_mut().unwrap().decision = api::ApprovalDecision::Denied;
    // A denial holds where nobody needs an approval, too.
    scene.group.spec.approval = api::Approval::Automatic;
    assert_eq!(refusal(&scene, &approved), Some(Reason::Denied));
    assert_eq!(refusal(&scene, &other), None);
    scene.group.spec.approval = api::Approval::Manual;
    scene.group.spec.pending = api::Pending::Reject;
    assert_eq!(refusal(&scene, &other), Some(Reason::ApprovalRequired));
}

#[test]
fn an_approval_is_for_the_names_of_its_request_when_the_certificate_has_expired_or_another_is_newer()
 {
    let mut scene = Scene::new();
    scene.group.spec.allowed_names.dns_names = vec!["*.example.com".into()];
    let first = csr("/CN=dev1");
    let older = scene.enroll(&password(), &first);
    scene.group.spec.approval = api::Approval::Manual;
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let asks = |name: &str| {
        let names = format!("subjectAltName=DNS:{name}.example.com");
        csr_for(&key, "/CN=dev1", &["-addext", &names])
    };
    let (harmless, greedy) = (asks("cam1"), asks("admin"));
    let approved = Some(crate::policy::Approved {
        decision: api::ApprovalDecision::Approved,
        key: harmless.key().fingerprint(),
        reason: None,
    });
    scene.device.approval = approved.clone();
    scene
        .group
        .spec
        .authentication
        .passwords
        .as_mut()
        .unwrap()
        .existing = Existing::Any;
    scene.enroll(&password(), &harmless);
    scene.device.approval = approved.clone();
    let refused = Reason::NameNotAllowed;
    assert_eq!(scene.refusal(&password(), Asked::Csr(&greedy)), refused);
    let newest = scene.enroll(&by(&older), &first);
    scene.device.approval = approved.clone();
    assert_eq!(scene.refusal(&password(), Asked::Csr(&greedy)), refused);
    scene.now = newest.validity().not_after;
    assert_eq!(scene.refusal(&password(), Asked::Csr(&greedy)), refused);
    assert!(scene.ask(&password(), Asked::Csr(&harmless)).is_ok());
}

#[test]
fn a_live_key_gets_no_new_names_where_a_person_must_approve() {
    let mut scene = Scene::new();
    scene.group.spec.allowed_names.dns_names = vec!["*.example.com".into()];
    scene.group.spec.profile.change_subject_name = api::ChangeSubjectName::Allowed;
    let key = rcgen::KeyPair::generate().unwrap();
    let asks = |attributes| {
        let mut parameters = rcgen::CertificateParams::default();
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, "dev1");
        let request = parameters.serialize_request_with_attributes(&key, attributes);
        Csr::from_der(request.unwrap().der()).unwrap()
    };
    let names = SubjectAltNames::parse(&["admin.example.com"], &[], &[]).unwrap();
    let names = names.encode().unwrap();
    let length = names.len() as u8;
    let change = rcgen::Attribute {
        // ChangeSubjectName: a SET of one SEQUENCE, with the names alone.
        oid: &[1, 3, 6, 1, 5, 5, 7, 7, 36],
        values: [&[0x31, length + 2, 0x30, length], &names[..]].concat(),
    };
    let (same, other) = (asks(Vec::new()), asks(vec![change]));
    let certificate = scene.enroll(&password(), &same);
    assert!(scene.ask(&by(&certificate), Asked::Csr(&other)).is_ok());
    scene.group.spec.approval = api::Approval::Manual;
    assert!(scene.ask(&by(&certificate), Asked::Csr(&same)).is_ok());
    assert_eq!(
        scene.refusal(&by(&certificate), Asked::Csr(&other)),
        Reason::NameNotAllowed
    );
}

#[test]
fn an_expired_certificate_renews_only_within_the_window_and_only_the_newest() {
    let mut scene = Scene::new();
    let asked = csr("/CN=dev1");
    let first = scene.enroll(&password(), &asked);
    let newest = scene.enroll(&by(&first), &asked);
    let expired = |certificate: &Certificate| Principal::Device {
        certificate: Box::new(certificate.clone()),
        standing: Standing::Expired,
    };
    let hour = SignedDuration::from_hours(1);
    let end = newest.validity().not_after;
    scene.now = end.checked_add(hour).unwrap();
    let reason = |scene: &Scene, certificate: &Certificate| {
        scene
            .ask(&expired(certificate), Asked::Csr(&asked))
            .err()
            .map(|r| r.reason)
    };
    assert_eq!(reason(&scene, &newest), Some(Reason::CertificateExpired));
    scene.group.spec.authentication.recovery_window = Some("2h".into());
    assert_eq!(reason(&scene, &newest), None);
    assert_eq!(reason(&scene, &first), Some(Reason::CertificateExpired));
    scene.now = end.checked_add(hour * 3).unwrap();
    assert_eq!(reason(&scene, &newest), Some(Reason::CertificateExpired));
    // Suspension counts as ever.
    scene.now = end.checked_add(hour).unwrap();
    scene.device.state = DeviceState::Suspended;
    assert_eq!(reason(&scene, &newest), Some(Reason::Suspended));
}

#[test]
fn explain_names_each_rule_and_agrees_with_the_decision() {
    let mut scene = Scene::new();
    scene.group.spec.rules = vec![api::EnrollmentRule {
        expression: "csr.commonName != 'dev1'".into(),
        message: None,
    }];
    scene.device.state = DeviceState::Suspended;
    let (principal, asked) = (password(), csr("/CN=dev1"));
    let group = scene.compiled();
    let situation = Situation {
        principal: &principal,
        asked: Asked::Csr(&asked),
        group: &group,
        authority: &scene.authority,
        device: &scene.device,
        key_holder: &KeyHolder::Server,
        bound_to_channel: false,
        purpose: Purpose::New,
        now: scene.now,
    };
    let told = explain(&situation);
    let failed: Vec<Reason> = told
        .iter()
        .filter_map(|(_, outcome)| outcome.refusal())
        .map(|refusal| refusal.reason)
        .collect();
    assert_eq!(
        failed,
        [Reason::Suspended, Reason::KeyInUse, Reason::RuleViolated]
    );
    assert_eq!(authorize(&situation).unwrap_err().reason, failed[0]);
}

#[test]
fn a_ca_is_certified_only_by_its_own_profile_with_pathlen_and_without_purposes() {
    let asked = csr_with(
        "/CN=dev1",
        &["-addext", "basicConstraints=critical,CA:TRUE"],
    );
    let mut scene = Scene::new();
    assert_eq!(
        scene.refusal(&password(), Asked::Csr(&asked)),
        Reason::AuthorityNotAllowed
    );
    scene.group.spec.profile.is_ca = true;
    let grant = scene.ask(&password(), Asked::Csr(&asked)).unwrap();
    let template = grant.template(crate::pki::fixtures::serial());
    assert_eq!(
        template.role,
        Role::Authority {
            path_length: Some(0)
        }
    );
    assert_eq!(template.extended_key_usages, []);
    assert!(
        template
            .key_usages
            .contains(&crate::pki::KeyUsage::KeyCertSign)
    );
}
