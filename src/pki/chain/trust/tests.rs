//! Chains as manufacturers make them, and as attackers do.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

use super::*;
use crate::pki::fixtures::{Ca, now, openssl};

/// A certificate, and what makes others below it.
struct Made {
    certificate: Certificate,
    parameters: CertificateParams,
    key: KeyPair,
}

/// Valid from 1975 to 4096 unless it is bent.
fn made(name: &str, issuer: Option<&Made>, bend: impl FnOnce(&mut CertificateParams)) -> Made {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.use_authority_key_identifier_extension = true;
    bend(&mut parameters);
    let der = match issuer {
        Some(issuer) => {
            let issuer = rcgen::Issuer::from_params(&issuer.parameters, &issuer.key);
            parameters.signed_by(&key, &issuer).unwrap()
        }
        None => parameters.self_signed(&key).unwrap(),
    };
    Made {
        certificate: Certificate::from_der(der.der()).unwrap(),
        parameters,
        key,
    }
}

fn authority(parameters: &mut CertificateParams) {
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
}

fn root() -> Made {
    made("Root", None, authority)
}

fn device(issuer: &Made) -> Certificate {
    made("device", Some(issuer), |_| {}).certificate
}

fn check(
    leaf: &Certificate,
    presented: &[&Made],
    anchors: &[&Made],
) -> Result<Certificate, String> {
    let list =
        |of: &[&Made]| -> Vec<_> { of.iter().map(|made| made.certificate.clone()).collect() };
    verify(leaf, &list(presented), &list(anchors), now()).map_err(|error| error.to_string())
}

/// The complaint about a leaf below an intermediate, both below a trusted root, one of which is bent.
fn complaint(
    bend_intermediate: impl FnOnce(&mut CertificateParams),
    bend_leaf: impl FnOnce(&mut CertificateParams),
) -> String {
    let root = root();
    let intermediate = made("Middle", Some(&root), |parameters| {
        authority(parameters);
        bend_intermediate(parameters);
    });
    let leaf = made("device", Some(&intermediate), bend_leaf);
    check(&leaf.certificate, &[&intermediate], &[&root]).unwrap_err()
}

#[test]
fn the_anchor_is_found_whatever_the_order_and_repetitions() {
    let root = root();
    let upper = made("Upper", Some(&root), authority);
    let lower = made("Lower", Some(&upper), authority);
    let leaf = device(&lower);
    let stranger = made("Stranger", None, authority);
    let expected = Ok(root.certificate.clone());
    assert_eq!(
        check(&leaf, &[&lower, &upper], &[&stranger, &root]),
        expected
    );
    let messy = [&root, &upper, &stranger, &lower, &upper, &root, &lower];
    assert_eq!(check(&leaf, &messy, &[&root]), expected);
    let with_leaf = [
        leaf.clone(),
        upper.certificate.clone(),
        lower.certificate.clone(),
    ];
    let anchors = [root.certificate.clone()];
    assert_eq!(
        verify(&leaf, &with_leaf, &anchors, now()),
        Ok(root.certificate)
    );
    assert_eq!(
        check(&leaf, &[], &[&lower]),
        Ok(lower.certificate.clone()),
        "an intermediate may be the anchor"
    );
}

#[test]
fn an_unknown_issuer_is_named() {
    let (root, stranger) = (root(), made("Stranger", None, authority));
    let middle = made("Middle", Some(&root), authority);
    let leaf = device(&middle);
    let expected = |subject: &str, issuer: &str| {
        Err(format!(
            "the certificate CN={subject} was issued by CN={issuer}, which is neither trusted here nor among the presented \
             certificates: present the whole chain, or have that authority added to the trust anchors"
        ))
    };
    assert_eq!(check(&leaf, &[], &[&root]), expected("device", "Middle"));
    assert_eq!(
        check(&leaf, &[&middle], &[&stranger]),
        expected("Middle", "Root")
    );
    assert_eq!(
        check(&leaf, &[&middle, &root], &[&stranger]),
        expected("Root", "Root")
    );
    assert_eq!(check(&leaf, &[&middle], &[]), expected("Middle", "Root"));
}

#[test]
fn a_namesake_of_the_anchor_has_signed_nothing() {
    // Without key identifiers only the signature tells.
    let bare = |parameters: &mut CertificateParams| {
        authority(parameters);
        parameters.use_authority_key_identifier_extension = false;
    };
    let (real, namesake) = (made("Root", None, bare), made("Root", None, bare));
    let leaf = made("device", Some(&namesake), |parameters| {
        parameters.use_authority_key_identifier_extension = false;
    });
    let found = check(&leaf.certificate, &[], &[&real]).unwrap_err();
    assert!(
        found.starts_with("the signature in the certificate CN=device is not accepted"),
        "{found}"
    );
    assert_eq!(
        check(&leaf.certificate, &[], &[&real, &namesake]),
        Ok(namesake.certificate.clone())
    );
}

#[test]
fn an_authority_and_an_anchor_are_no_devices() {
    let root = root();
    let middle = made("Middle", Some(&root), authority);
    assert!(
        check(&middle.certificate, &[], &[&root])
            .unwrap_err()
            .contains("use the certificate of a device")
    );
    assert!(
        check(&root.certificate, &[], &[&root])
            .unwrap_err()
            .contains("is itself a trust anchor")
    );
}

#[test]
fn a_leaf_signs_nothing() {
    let root = root();
    let leaf = made("device", Some(&root), |_| {});
    let below = made("forged", Some(&leaf), |_| {});
    let found = check(&below.certificate, &[&leaf], &[&root]).unwrap_err();
    assert!(
        found.starts_with("CN=device is no certificate authority"),
        "{found}"
    );
    let found = complaint(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign], |_| {});
    assert!(
        found.starts_with("CN=Middle is no certificate authority"),
        "{found}"
    );
    let found = complaint(|p| p.is_ca = IsCa::ExplicitNoCa, |_| {});
    assert!(
        found.starts_with("CN=Middle is no certificate authority"),
        "{found}"
    );
    let odd = made("Odd", None, |_| {});
    let found = check(&device(&odd), &[], &[&odd]).unwrap_err();
    assert!(
        found.starts_with("CN=Odd is no certificate authority"),
        "{found}"
    );
}

#[test]
fn every_certificate_of_the_path_must_be_valid_now() {
    let (past, future) = (
        rcgen::date_time_ymd(2025, 12, 31),
        rcgen::date_time_ymd(2026, 1, 2),
    );
    let expired = "expired at 2025-12-31T00:00:00Z: use a newer one";
    let early = "is not valid before 2026-01-02T00:00:00Z: wait, or correct the clock";
    assert_eq!(
        complaint(|p| p.not_after = past, |_| {}),
        format!("the certificate CN=Middle {expired}")
    );
    assert_eq!(
        complaint(|_| {}, |p| p.not_after = past),
        format!("the certificate CN=device {expired}")
    );
    assert_eq!(
        complaint(|p| p.not_before = future, |_| {}),
        format!("the certificate CN=Middle {early}")
    );
    assert_eq!(
        complaint(|_| {}, |p| p.not_before = future),
        format!("the certificate CN=device {early}")
    );
    let root = made("Root", None, |parameters| {
        authority(parameters);
        parameters.not_after = past;
    });
    assert_eq!(
        check(&device(&root), &[], &[&root]),
        Err(format!("the certificate CN=Root {expired}"))
    );
}

#[test]
fn a_certificate_without_end_is_valid() {
    let ca = Ca::root("CN=Root");
    let mut template = ca.leaf_template("CN=device", ca.key.public());
    template.validity = ca.certificate.validity();
    template.validity.not_after = crate::pki::validity::LATEST;
    let mut root = crate::pki::fixtures::authority("CN=Root", ca.key.public(), template.validity);
    root.role = crate::pki::Role::Authority {
        path_length: Some(0),
    };
    let root =
        crate::pki::assemble(&root, crate::pki::Issuer::SelfSigned(ca.key.signer())).unwrap();
    let issuer = crate::pki::Issuer::Authority {
        certificate: &root,
        key: ca.key.signer(),
    };
    let leaf = crate::pki::assemble(&template, issuer).unwrap();
    let anchors = [root.clone()];
    assert_eq!(
        verify(
            &leaf,
            &[],
            &anchors,
            "9990-01-01T00:00:00Z".parse().unwrap()
        ),
        Ok(root)
    );
}

#[test]
fn unknown_critical_extensions_and_name_constraints_are_refused() {
    let unknown = |critical: bool| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(critical);
        vec![extension]
    };
    let expected = |subject: &str| {
        format!(
            "the certificate CN={subject} has the critical extension 1.2.3.4, which is not understood here: use a certificate \
             without it"
        )
    };
    assert_eq!(
        complaint(|p| p.custom_extensions = unknown(true), |_| {}),
        expected("Middle")
    );
    assert_eq!(
        complaint(|_| {}, |p| p.custom_extensions = unknown(true)),
        expected("device")
    );
    let root = root();
    let leaf = made("device", Some(&root), |p| {
        p.custom_extensions = unknown(false)
    });
    assert_eq!(
        check(&leaf.certificate, &[], &[&root]),
        Ok(root.certificate.clone())
    );
    let constrained = |parameters: &mut CertificateParams| {
        authority(parameters);
        parameters.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.com".into())],
            excluded_subtrees: vec![],
        });
    };
    let expected =
        "has name constraints, which are not understood here: trust an authority without them";
    assert_eq!(
        complaint(constrained, |_| {}),
        format!("the authority CN=Middle {expected}")
    );
    let root = made("Root", None, constrained);
    assert_eq!(
        check(&device(&root), &[], &[&root]),
        Err(format!("the authority CN=Root {expected}"))
    );
}

#[test]
fn purposes_must_include_tls_clients() {
    let server = |p: &mut CertificateParams| {
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
    };
    let expected = "may not be used by TLS clients: use one with the extended key usage clientAuth, or without any";
    assert_eq!(
        complaint(|_| {}, server),
        format!("the certificate CN=device {expected}")
    );
    assert_eq!(
        complaint(server, |_| {}),
        format!("the certificate CN=Middle {expected}")
    );
    for purpose in [
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::Any,
    ] {
        let root = root();
        let leaf = made("device", Some(&root), |p| {
            p.extended_key_usages = vec![purpose]
        });
        assert_eq!(
            check(&leaf.certificate, &[], &[&root]),
            Ok(root.certificate.clone())
        );
    }
}

#[test]
fn path_lengths_are_kept() {
    let limited = |allowed| {
        move |parameters: &mut CertificateParams| {
            authority(parameters);
            parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(allowed));
        }
    };
    let root = made("Root", None, limited(1));
    let one = made("One", Some(&root), authority);
    let two = made("Two", Some(&one), authority);
    assert_eq!(
        check(&device(&one), &[&one], &[&root]),
        Ok(root.certificate.clone())
    );
    assert_eq!(
        check(&device(&two), &[&one, &two], &[&root]),
        Err(
            "CN=Root allows only 1 authorities between itself and a device, and there are more: have the certificate issued by \
             another authority"
                .to_owned()
        )
    );
    // A self-issued certificate, such as one that introduces a new key, does not count.
    let renewed = made("One", Some(&one), authority);
    assert_eq!(
        check(&device(&renewed), &[&one, &renewed], &[&root]),
        Ok(root.certificate.clone())
    );
}

#[test]
fn the_path_and_the_work_have_limits() {
    let mut chain = vec![root()];
    for depth in 1..=MAX_LINKS {
        let next = made(&format!("{depth}"), chain.last(), authority);
        chain.push(next);
    }
    let presented: Vec<_> = chain[1..].iter().collect();
    let anchors = [&chain[0]];
    assert!(check(&device(&chain[MAX_LINKS - 1]), &presented, &anchors).is_ok());
    assert_eq!(
        check(&device(&chain[MAX_LINKS]), &presented, &anchors),
        Err("the chain of certificates has more than 8 links: present a shorter one".to_owned())
    );

    // Authorities of one name that certify each other: n! paths, none of which ends.
    let bare = |parameters: &mut CertificateParams| {
        authority(parameters);
        parameters.use_authority_key_identifier_extension = false;
    };
    let first = made("Maze", None, bare);
    let maze: Vec<_> = (0..MAX_PRESENTED)
        .map(|_| made("Maze", Some(&first), bare))
        .collect();
    let presented: Vec<_> = maze.iter().collect();
    let leaf = made("device", Some(&first), |p| {
        p.use_authority_key_identifier_extension = false
    });
    assert_eq!(
        check(&leaf.certificate, &presented, &anchors)
            .unwrap_err()
            .split(':')
            .next(),
        Some("the signature in the certificate CN=device is not accepted")
    );
    let mut same_key = Vec::new();
    for serial in 0..MAX_PRESENTED {
        let mut parameters = first.parameters.clone();
        parameters.serial_number = Some((serial as u64 + 1).into());
        let issuer = rcgen::Issuer::from_params(&first.parameters, &first.key);
        let der = parameters.signed_by(&first.key, &issuer).unwrap();
        same_key.push(Certificate::from_der(der.der()).unwrap());
    }
    let anchor = chain[0].certificate.clone();
    assert_eq!(
        verify(
            &leaf.certificate,
            &same_key,
            std::slice::from_ref(&anchor),
            now()
        ),
        Err(ChainError::TooMuchWork)
    );
    same_key.push(first.certificate.clone());
    assert_eq!(
        verify(&leaf.certificate, &same_key, &[anchor], now()),
        Err(ChainError::TooMany {
            count: MAX_PRESENTED + 1
        })
    );
}

/// Files that `openssl x509 -req` turns into certificates of version 1.
struct VersionOne(TempDir);

impl VersionOne {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// A certificate, signed by an earlier one or by itself. `bits` makes an RSA key of that size.
    fn make(&self, name: &str, issuer: &str, more: &[&str], bits: Option<&str>) -> Certificate {
        let key = self.path(&format!("{name}.key"));
        let kind = bits.map_or(
            ["ec".to_owned(), "ec_paramgen_curve:P-256".to_owned()],
            |bits| ["rsa".to_owned(), format!("rsa_keygen_bits:{bits}")],
        );
        let subject = format!("/CN={name}");
        let request = openssl(
            &[
                "req", "-new", "-nodes", "-keyout", &key, "-subj", &subject, "-newkey", &kind[0],
                "-pkeyopt", &kind[1],
            ],
            b"",
        );
        let certificate = self.path(&format!("{name}.pem"));
        let (ca, ca_key) = (
            self.path(&format!("{issuer}.pem")),
            self.path(&format!("{issuer}.key")),
        );
        let signer: &[&str] = match name == issuer {
            true => &["-signkey", &key],
            false => &["-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"],
        };
        let basics = ["x509", "-req", "-days", "3650", "-out", &certificate];
        openssl(&[&basics[..], signer, more].concat(), &request);
        Certificate::from_pem(&std::fs::read_to_string(certificate).unwrap()).unwrap()
    }
}

/// OpenSSL begins with the present second.
fn tomorrow() -> Timestamp {
    Timestamp::now() + jiff::SignedDuration::from_hours(24)
}

#[test]
fn certificates_of_version_one_are_devices_and_roots_but_nothing_between() {
    let files = VersionOne::new();
    let root = files.make("root", "root", &[], None);
    let middle = files.make("middle", "root", &[], None);
    let leaf = files.make("leaf", "root", &[], None);
    let below = files.make("below", "middle", &[], None);
    assert_eq!((root.version(), leaf.version()), (1, 1));
    let now = tomorrow();
    let anchors = [root.clone()];
    assert_eq!(verify(&leaf, &[], &anchors, now), Ok(root.clone()));
    assert_eq!(
        verify(&leaf, std::slice::from_ref(&root), &anchors, now),
        Ok(root.clone())
    );
    let not_an_authority = |name: &str| {
        Err(ChainError::NotAnAuthority {
            subject: Name::parse(name).unwrap(),
        })
    };
    assert_eq!(
        verify(&below, std::slice::from_ref(&middle), &anchors, now),
        not_an_authority("CN=middle")
    );
    assert_eq!(
        verify(&below, &[], &[middle], now),
        not_an_authority("CN=middle"),
        "only a root is clear without CA:TRUE"
    );
    let subject = Name::parse("CN=root").unwrap();
    assert_eq!(
        verify(&root, &[], &anchors, now),
        Err(ChainError::LeafIsAnchor { subject })
    );
}

#[test]
fn weak_signatures_and_keys_are_refused_in_words() {
    let files = VersionOne::new();
    let root = files.make("root", "root", &["-sha1"], None);
    let anchors = [root.clone()];
    let leaf = files.make("leaf", "root", &["-sha1"], None);
    let now = tomorrow();
    assert_eq!(
        verify(&leaf, &[], &anchors, now).unwrap_err().to_string(),
        "the signature in the certificate CN=leaf is not accepted: the signature uses SHA-1 with ECDSA, which can be forged: \
         sign with SHA-256 or better"
    );
    let weak = files.make("weak", "root", &[], Some("1024"));
    assert_eq!(
        verify(&weak, &[], &anchors, now).unwrap_err().to_string(),
        "the key of the certificate CN=weak is not acceptable: RSA key has 1024 bits: use at least 2048"
    );
    // The anchor's own signature proves nothing, so SHA-1 does not matter there.
    let good = files.make("good", "root", &[], Some("2048"));
    assert_eq!(verify(&good, &[], &anchors, now), Ok(root));
}
