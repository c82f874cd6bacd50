//! What can be made, and what is refused.

use super::*;
use crate::pki::fixtures::{self, Ca, now};
use crate::pki::{KeyAlgorithm, PrivateKey, PublicKeyAlgorithm};

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

/// What is said when a template of this authority, changed by `change`, is signed by it.
fn refusal(ca: &Ca, change: impl Fn(&mut CertificateTemplate)) -> String {
    let mut template = ca.leaf_template("CN=device", key().public());
    change(&mut template);
    assemble(&template, ca.issuer()).unwrap_err().to_string()
}

#[test]
fn a_leaf_says_exactly_what_its_template_says() {
    let root = Ca::root("DC=com,DC=example,O=Example,OU=a,OU=b,CN=Root");
    let key = key();
    let mut template = root.leaf_template("CN=device-1,O=Example", key.public());
    template.sans = SubjectAltNames::parse(
        &["device-1.example.com"],
        &["192.0.2.1", "::1"],
        &["urn:x:1"],
    )
    .unwrap();
    let leaf = assemble(&template, root.issuer()).unwrap();
    assert_eq!(leaf.serial(), &template.serial);
    assert_eq!(leaf.subject(), &template.subject);
    assert_eq!(leaf.issuer(), root.certificate.subject());
    assert_eq!(leaf.validity(), template.validity);
    assert_eq!(leaf.public_key().as_ref(), Ok(key.public()));
    assert_eq!(leaf.sans(), &template.sans);
    assert_eq!(leaf.key_usages(), Some(&[KeyUsage::DigitalSignature][..]));
    assert_eq!(leaf.extended_key_usages(), [ExtendedKeyUsage::ClientAuth]);
    assert_eq!(leaf.subject_key_id(), Some(&key.public().key_id()[..]));
    assert_eq!(leaf.authority_key_id(), root.certificate.subject_key_id());
    assert!(!leaf.is_ca() && leaf.is_signed_by(&root.certificate));
}

#[test]
fn the_bytes_depend_on_the_arguments_alone() {
    let root = Ca::root_with("CN=Root", KeyAlgorithm::Ed25519);
    let template = root.leaf_template("CN=device", key().public());
    assert_eq!(
        assemble(&template, root.issuer()).unwrap(),
        assemble(&template, root.issuer()).unwrap()
    );
}

#[test]
fn a_root_has_no_authority_key_id_and_its_path_length() {
    let key = key();
    let validity = Validity::starting(now(), "1y".parse().unwrap(), None)
        .unwrap()
        .0;
    let mut template = fixtures::authority("CN=Root", key.public(), validity);
    template.role = Role::Authority {
        path_length: Some(1),
    };
    let root = assemble(&template, Issuer::SelfSigned(key.signer())).unwrap();
    assert_eq!(
        (root.is_ca(), root.path_length(), root.authority_key_id()),
        (true, Some(1), None)
    );
    assert!(root.is_signed_by(&root));
}

#[test]
fn the_path_length_of_the_issuer_is_kept() {
    let key = key();
    let authority = |ca: &Ca, path_length| {
        let mut template = fixtures::authority("CN=Sub", key.public(), ca.certificate.validity());
        template.role = Role::Authority { path_length };
        assemble(&template, ca.issuer())
            .map(|certificate| certificate.path_length())
            .map_err(|error| error.to_string())
    };
    let limited = |path_length| {
        let root = Ca::root("CN=Root");
        let mut template =
            fixtures::authority("CN=Root", root.key.public(), root.certificate.validity());
        template.role = Role::Authority {
            path_length: Some(path_length),
        };
        let certificate = assemble(&template, Issuer::SelfSigned(root.key.signer())).unwrap();
        Ca {
            certificate,
            ..root
        }
    };
    let (zero, one) = (limited(0), limited(1));
    assert_eq!(authority(&one, Some(0)), Ok(Some(0)));
    assert_eq!(authority(&one, None), Ok(None));
    assert!(
        authority(&one, Some(1))
            .unwrap_err()
            .starts_with("CN=Root allows 1 further authorities below it")
    );
    assert!(
        authority(&zero, None)
            .unwrap_err()
            .starts_with("CN=Root allows 0 further authorities below it")
    );
    assert!(!zero.leaf("CN=device").is_ca());
}

#[test]
fn an_empty_subject_makes_the_alternative_names_critical() {
    let root = Ca::root("CN=Root");
    let mut template = root.leaf_template("", key().public());
    template.sans = SubjectAltNames::parse(&["device.example.com"], &[], &[]).unwrap();
    let leaf = assemble(&template, root.issuer()).unwrap();
    let printed = fixtures::openssl(
        &["x509", "-noout", "-ext", "subjectAltName"],
        leaf.to_pem().as_bytes(),
    );
    assert!(
        String::from_utf8(printed)
            .unwrap()
            .contains("Alternative Name: critical")
    );
    assert!(
        refusal(&root, |template| template.subject =
            Name::parse("").unwrap())
        .contains("would name nobody")
    );
}

#[test]
fn usages_that_the_key_cannot_have_are_left_out() {
    let root = Ca::root("CN=Root");
    let usages = |algorithm| {
        let key = PrivateKey::generate(algorithm).unwrap();
        let mut template = root.leaf_template("CN=device", key.public());
        template.key_usages = vec![
            KeyUsage::KeyAgreement,
            KeyUsage::KeyEncipherment,
            KeyUsage::DigitalSignature,
        ];
        assemble(&template, root.issuer())
            .unwrap()
            .key_usages()
            .unwrap()
            .to_vec()
    };
    assert_eq!(
        usages(KeyAlgorithm::Rsa2048),
        [KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment]
    );
    assert_eq!(
        usages(KeyAlgorithm::EcdsaP256),
        [KeyUsage::DigitalSignature, KeyUsage::KeyAgreement]
    );
    assert_eq!(usages(KeyAlgorithm::Ed25519), [KeyUsage::DigitalSignature]);
    let only = refusal(&root, |template| {
        template.key_usages = vec![KeyUsage::KeyEncipherment]
    });
    assert_eq!(
        only,
        AssembleError::NoKeyUsage {
            algorithm: PublicKeyAlgorithm::EcdsaP256
        }
        .to_string()
    );
}

#[test]
fn what_breaks_rfc_5280_is_refused_in_words() {
    let root = Ca::root("CN=Root");
    let says = |words: &str, change: fn(&mut CertificateTemplate)| {
        let said = refusal(&root, change);
        assert!(said.contains(words), "{said}");
    };
    says("not positive", |template| {
        template.serial = "00".parse().unwrap()
    });
    says("not positive", |template| {
        template.serial = "-80".parse().unwrap()
    });
    says("end before it begins", |template| {
        std::mem::swap(
            &mut template.validity.not_before,
            &mut template.validity.not_after,
        );
    });
    says("keyCertSign", |template| {
        template.key_usages.push(KeyUsage::KeyCertSign)
    });
    says("keyCertSign", |template| {
        template.role = Role::Authority { path_length: None }
    });
    says("must have a subject", |template| {
        template.role = Role::Authority { path_length: None };
        template.subject = Name::parse("").unwrap();
    });
    says("not issued", |template| {
        template.sans.other.push("rfc822Name".to_owned())
    });
    says("no OID", |template| {
        template
            .extended_key_usages
            .push(ExtendedKeyUsage::Oid("x".to_owned()))
    });
    says("validity of its issuer", |template| {
        template.validity.not_after = crate::pki::validity::LATEST
    });
}

#[test]
fn what_does_not_fit_the_issuer_is_refused_in_words() {
    let (root, other) = (Ca::root("CN=Root"), Ca::root("CN=Other"));
    let device = key();
    let template = root.leaf_template("CN=device", device.public());
    let said = |issuer| assemble(&template, issuer).unwrap_err().to_string();
    let stranger = Issuer::Authority {
        certificate: &root.certificate,
        key: other.key.signer(),
    };
    assert!(
        said(stranger)
            .starts_with("the key of the authority does not belong to its certificate CN=Root")
    );
    let leaf = assemble(&template, root.issuer()).unwrap();
    let by_leaf = Issuer::Authority {
        certificate: &leaf,
        key: device.signer(),
    };
    assert!(said(by_leaf).starts_with("CN=device is no certificate authority"));
    assert!(
        said(Issuer::SelfSigned(root.key.signer()))
            .starts_with("a self-signed certificate must certify the key")
    );
}
