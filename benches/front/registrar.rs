//! A registrar that does all that the real one does for a renewal, except that it neither reads from nor writes to
//! Kubernetes: the same reading, checking, deciding and signing, and a record that is made and thrown away.

use base64::prelude::{BASE64_STANDARD, Engine};
use devicecert::{
    api::{DeviceIdentity, EnrollmentGroup},
    cluster::now,
    pki::{
        Certificate, CertificateTemplate, Csr, Issuer, KeyAlgorithm, KeyUsage, Name, PrivateKey,
        Role, Serial, SubjectAltNames, Validity, assemble,
    },
    policy::{
        Asked, Authority, Device, Group, KeyHolder, Principal, Purpose, Reason, Recording, Refusal,
        Situation, Standing, authorize, record, renewal_time,
    },
    registrar::{Enrolled, EnrollmentRequest, Registrar, Rejection},
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::json;

use crate::Failure;

/// The path label under which the certificate comes ready-made, and nothing is checked: the front end alone.
const CANNED: &str = "canned";
/// The name of the only device.
const DEVICE: &str = "device-1";
const NAMESPACE: &str = "bench";

/// An authority, a group and a device, as the operator would have read them.
pub struct Bare {
    authority: Certificate,
    key: PrivateKey,
    read: Authority,
    group: Group,
    device: DeviceIdentity,
    canned: Vec<u8>,
}

/// What the device has: its key (PKCS#8 DER) and the certificate on its record (DER).
pub struct Issued {
    /// PKCS#8 DER.
    pub key: Vec<u8>,
    /// DER.
    pub certificate: Vec<u8>,
}

impl Bare {
    /// Makes them all, and enrols the device once, by password.
    pub fn new() -> Result<(Self, Issued), Failure> {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        let authority = root(&key)?;
        let group: EnrollmentGroup = serde_json::from_value(json!({
            "apiVersion": "devicecert.dev/v1alpha1", "kind": "EnrollmentGroup",
            "metadata": { "namespace": NAMESPACE, "name": "field" },
            "spec": {
                "authorityRef": { "name": "root" }, "profile": { "validity": "24h" },
                "authentication": { "passwords": { "secretRef": { "name": "users" }, "registration": "Open" } }
            }
        }))?;
        let device = serde_json::from_value(json!({
            "apiVersion": "devicecert.dev/v1alpha1", "kind": "DeviceIdentity",
            "metadata": { "namespace": NAMESPACE, "name": DEVICE, "uid": "5d3c3f0e-94a5-4f0e-b0a0-5e2f3a1d7c11" },
            "spec": { "groupRef": { "name": "field" } }
        }))?;
        let mut bare = Self {
            read: Authority {
                namespace: NAMESPACE.into(),
                name: "root".into(),
                certificate: Some(authority.clone()),
                hindrance: None,
                terminating: false,
            },
            authority,
            key,
            group: Group::compile(&group)?,
            device,
            canned: Vec::new(),
        };
        let pair = KeyPair::generate()?;
        let csr = Csr::from_der(&request(&pair)?)?;
        let user = Principal::Password {
            user: "estuser".into(),
        };
        let (certificate, device) = bare.issue(&user, &csr)?;
        bare.device = device;
        bare.canned = certificate.der().to_vec();
        let issued = Issued {
            key: pair.serialize_der(),
            certificate: bare.canned.clone(),
        };
        Ok((bare, issued))
    }

    /// The root, which signs the devices and the server.
    pub fn root(&self) -> &Certificate {
        &self.authority
    }

    /// A certificate for the EST server.
    pub fn server_certificate(&self, key: &PrivateKey) -> Result<Certificate, Failure> {
        let validity = self.authority.validity();
        let template = CertificateTemplate {
            serial: Serial::from_random([7; 16]),
            subject: Name::parse("CN=localhost")?,
            key: key.public().clone(),
            validity,
            sans: SubjectAltNames::parse(&["localhost"], &[] as &[&str], &[] as &[&str])?,
            key_usages: vec![KeyUsage::DigitalSignature],
            extended_key_usages: vec![devicecert::pki::ExtendedKeyUsage::ServerAuth],
            role: Role::Leaf,
        };
        Ok(assemble(&template, self.issuer())?)
    }

    fn issuer(&self) -> Issuer<'_> {
        Issuer::Authority {
            certificate: &self.authority,
            key: self.key.signer(),
        }
    }

    fn renew(&self, request: &EnrollmentRequest) -> Result<Certificate, Refusal> {
        let unknown = |why: &str| Refusal::new(Reason::UnknownCertificate, why.to_owned());
        let presented = request.credentials.chain.first();
        let presented = presented.ok_or_else(|| unknown("no client certificate"))?;
        let presented = Certificate::from_der(presented).map_err(|e| unknown(&e.to_string()))?;
        if !presented.validity().contains(now()) || !presented.is_signed_by(&self.authority) {
            return Err(unknown("not a valid certificate of this authority"));
        }
        let principal = Principal::Device {
            certificate: Box::new(presented),
            standing: Standing::Valid,
        };
        let csr = Csr::from_der(&request.csr)
            .map_err(|e| Refusal::new(Reason::InvalidCsr, e.to_string()))?;
        let (certificate, _) = self.issue(&principal, &csr)?;
        tracing::info!(
            device = DEVICE, namespace = NAMESPACE, group = self.group.name,
            principal = %principal, serial = %certificate.serial(), "certificate issued over EST"
        );
        Ok(certificate)
    }

    /// What `LocalRegistrar::sign_and_record` does.
    fn issue(
        &self,
        principal: &Principal,
        csr: &Csr,
    ) -> Result<(Certificate, DeviceIdentity), Refusal> {
        let internal = |e: &dyn std::fmt::Display| Refusal::new(Reason::Internal, e.to_string());
        let device = Device::compile(&self.device)?;
        let now = now();
        let grant = authorize(&Situation {
            principal,
            asked: Asked::Csr(csr),
            group: &self.group,
            authority: &self.read,
            device: &device,
            key_holder: &KeyHolder::Nobody,
            bound_to_channel: false,
            purpose: Purpose::New,
            now,
        })?;
        let mut serial = [0; 16];
        aws_lc_rs::rand::fill(&mut serial).map_err(|e| internal(&e))?;
        let template = grant.template(Serial::from_random(serial));
        let certificate = assemble(&template, self.issuer()).map_err(|e| internal(&e))?;
        let old = self.device.status.clone().unwrap_or_default();
        let new = record(
            &old,
            &Recording {
                device: &device,
                principal,
                grant: &grant,
                certificate: &certificate,
                renewal_time: renewal_time(
                    certificate.validity(),
                    self.group.threshold,
                    &device.uid,
                ),
                generation: Some(1),
                now,
            },
        );
        let device = DeviceIdentity {
            status: Some(new),
            ..self.device.clone()
        };
        Ok((certificate, device))
    }
}

/// A CSR (DER) of the device.
pub fn request(key: &KeyPair) -> Result<Vec<u8>, Failure> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, DEVICE);
    Ok(params.serialize_request(key)?.der().to_vec())
}

/// Base64 of what must pass through a pipe.
pub fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn root(key: &PrivateKey) -> Result<Certificate, Failure> {
    let (validity, _) = Validity::starting(now(), "10y".parse()?, None)?;
    let template = CertificateTemplate {
        serial: Serial::from_random([1; 16]),
        subject: Name::parse("CN=Bench Root,O=Example")?,
        key: key.public().clone(),
        validity,
        sans: SubjectAltNames::default(),
        key_usages: vec![KeyUsage::KeyCertSign, KeyUsage::CrlSign],
        extended_key_usages: Vec::new(),
        role: Role::Authority {
            path_length: Some(0),
        },
    };
    Ok(assemble(&template, Issuer::SelfSigned(key.signer()))?)
}

impl Registrar for Bare {
    async fn authorities(&self, _: Option<&str>) -> Result<Vec<Vec<u8>>, Rejection> {
        Ok(vec![self.authority.der().to_vec()])
    }

    async fn attributes(&self, _: Option<&str>) -> Result<Vec<u8>, Rejection> {
        Ok(Vec::new())
    }

    async fn enroll(&self, request: EnrollmentRequest) -> Result<Enrolled, Rejection> {
        let der = match request.label.as_deref() {
            Some(CANNED) => self.canned.clone(),
            _ => self.renew(&request)?.der().to_vec(),
        };
        Ok(Enrolled::Certificate(der))
    }
}
