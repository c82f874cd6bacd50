//! The message, opened layer by layer by OpenSSL.

use der::asn1::AnyRef;
use tempfile::TempDir;

use super::*;
use crate::pki::KeyAlgorithm;
use crate::pki::fixtures::{Ca, openssl, try_openssl};

/// A device's certificate and key, as files for OpenSSL.
struct Device {
    files: TempDir,
    certificate: Certificate,
}

impl Device {
    fn new(newkey: &[&str]) -> Self {
        let files = TempDir::new().unwrap();
        let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
        let (key, certificate) = (path("key"), path("certificate"));
        let basics = [
            "req",
            "-x509",
            "-nodes",
            "-subj",
            "/CN=device",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ];
        openssl(&[&basics[..], newkey].concat(), b"");
        let pem = std::fs::read_to_string(certificate).unwrap();
        let certificate = Certificate::from_pem(&pem).unwrap();
        Self { files, certificate }
    }

    fn path(&self, name: &str) -> String {
        self.files.path().join(name).to_str().unwrap().to_owned()
    }

    fn envelope(&self, key: &PrivateKey, maker: &Ca) -> Result<Vec<u8>, ServerKeyError> {
        let public = self.certificate.public_key().unwrap();
        let recipient = Recipient {
            key: &public,
            key_id: self.certificate.subject_key_id().unwrap(),
        };
        let maker = Maker {
            chain: std::slice::from_ref(&maker.certificate),
            key: maker.key.signer(),
        };
        envelope(key, maker, recipient, &mut aws_lc_rs::rand::fill)
    }

    /// What is inside the envelope: the DER of SignedData.
    fn decrypt(&self, message: &[u8]) -> Vec<u8> {
        let (key, certificate) = (self.path("key"), self.path("certificate"));
        let how = [
            "cms", "-decrypt", "-inform", "DER", "-binary", "-inkey", &key,
        ];
        openssl(&[&how[..], &["-recip", &certificate]].concat(), message)
    }

    /// What is inside the signature: the DER of the key package.
    fn verify(&self, signed_data: &[u8], root: &Certificate) -> Result<Vec<u8>, String> {
        let path = self.path("root");
        std::fs::write(&path, root.to_pem()).unwrap();
        let info = ContentInfo {
            content_type: SIGNED_DATA,
            content: Any::from_der(signed_data).unwrap(),
        };
        let how = [
            "cms", "-verify", "-inform", "DER", "-binary", "-purpose", "any", "-CAfile", &path,
        ];
        try_openssl(&how, &info.to_der().unwrap())
    }
}

fn rsa() -> Device {
    Device::new(&["-newkey", "rsa:2048"])
}

fn ec(curve: &str) -> Device {
    let curve = format!("ec_paramgen_curve:{curve}");
    Device::new(&["-newkey", "ec", "-pkeyopt", &curve])
}

/// The only PKCS#8 key of a package.
fn unpack(package: &[u8]) -> Vec<u8> {
    let package = AnyRef::from_der(package).unwrap();
    let keys: Vec<AnyRef<'_>> = package.decode_as().unwrap();
    assert_eq!(keys.len(), 1);
    keys[0].to_der().unwrap()
}

#[test]
fn openssl_opens_the_envelope_of_every_kind_of_recipient() {
    let maker = Ca::root("CN=Maker");
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    for device in [rsa(), ec("P-256"), ec("P-384"), ec("P-521")] {
        let message = device.envelope(&key, &maker).unwrap();
        let package = device
            .verify(&device.decrypt(&message), &maker.certificate)
            .unwrap();
        assert_eq!(unpack(&package), *key.to_pkcs8_der());
    }
}

#[test]
fn openssl_verifies_makers_with_every_kind_of_key() {
    let device = ec("P-256");
    // OpenSSL 3.0 cannot verify Ed25519 in CMS; RFC 8419 rules it.
    let known = KeyAlgorithm::ALL
        .into_iter()
        .filter(|algorithm| *algorithm != KeyAlgorithm::Ed25519);
    for algorithm in known {
        let maker = Ca::root_with("CN=Maker,O=Example", algorithm);
        let key = PrivateKey::generate(algorithm).unwrap();
        let message = device.envelope(&key, &maker).unwrap();
        let package = device
            .verify(&device.decrypt(&message), &maker.certificate)
            .unwrap_or_else(|complaints| panic!("{algorithm}: {complaints}"));
        assert_eq!(unpack(&package), *key.to_pkcs8_der(), "{algorithm}");
    }
}

#[test]
fn another_device_cannot_open_it_and_another_maker_did_not_sign_it() {
    let maker = Ca::root("CN=Maker");
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let (device, other) = (ec("P-256"), ec("P-256"));
    let message = device.envelope(&key, &maker).unwrap();
    let (wrong_key, certificate) = (other.path("key"), device.path("certificate"));
    let how = [
        "cms",
        "-decrypt",
        "-inform",
        "DER",
        "-inkey",
        &wrong_key,
        "-recip",
        &certificate,
    ];
    assert!(try_openssl(&how, &message).is_err());
    let signed = device.decrypt(&message);
    let impostor = Ca::root("CN=Maker").certificate;
    assert!(device.verify(&signed, &impostor).is_err());
}

#[test]
fn the_key_is_nowhere_in_the_clear_and_no_two_messages_are_alike() {
    let maker = Ca::root("CN=Maker");
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    for device in [rsa(), ec("P-256")] {
        let message = device.envelope(&key, &maker).unwrap();
        let secret = &key.to_pkcs8_der()[36..68];
        assert!(
            !message
                .windows(8)
                .any(|window| secret.windows(8).any(|part| part == window))
        );
        assert_ne!(device.envelope(&key, &maker).unwrap(), message);
    }
}

#[test]
fn openssl_prints_the_layers_as_meant() {
    let maker = Ca::root("CN=Maker");
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let print = |message: &[u8]| {
        let how = ["cms", "-cmsout", "-print", "-noout", "-inform", "DER"];
        String::from_utf8(openssl(&how, message)).unwrap()
    };
    for (device, expected) in [
        (
            rsa(),
            ["d.ktri", "rsaesOaep", "aes-256-cbc", "pkcs7-signedData"],
        ),
        (
            ec("P-384"),
            [
                "d.kari",
                "dhSinglePass-stdDH-sha256kdf-scheme",
                "aes-256-cbc",
                "id-aes256-wrap",
            ],
        ),
    ] {
        let text = print(&device.envelope(&key, &maker).unwrap());
        for word in expected {
            assert!(text.contains(word), "no {word} in {text}");
        }
    }
}

#[test]
fn what_cannot_be_done_is_said_in_words() {
    let maker = Ca::root("CN=Maker");
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let error = Device::new(&["-newkey", "ed25519"])
        .envelope(&key, &maker)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "nothing can be encrypted for a key of the kind Ed25519: enrol with an RSA or ECDSA key, or leave out the \
         AsymmetricDecryptKeyIdentifier"
    );
    let mixed = Ca {
        key: PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(),
        certificate: maker.certificate.clone(),
    };
    let device = ec("P-256");
    assert_eq!(device.envelope(&key, &mixed), Err(ServerKeyError::Maker));
    let public = device.certificate.public_key().unwrap();
    let recipient = Recipient {
        key: &public,
        key_id: b"1",
    };
    let maker = Maker {
        chain: std::slice::from_ref(&maker.certificate),
        key: maker.key.signer(),
    };
    let no_luck = envelope(&key, maker, recipient, &mut |_| Err(Unspecified));
    assert_eq!(no_luck, Err(ServerKeyError::Crypto));
    let zeros = envelope(&key, maker, recipient, &mut |bytes| {
        bytes.fill(0);
        Ok(())
    });
    assert_eq!(
        zeros,
        Err(ServerKeyError::Crypto),
        "zero is no ephemeral key"
    );
}
