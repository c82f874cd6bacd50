//! `kubectl devicecert token`: makes a one-time token and prints it once.

use std::io::{self, Write};

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, PostParams};
use zeroize::Zeroizing;

use super::{PluginError, connection::Connection};
use crate::{
    api::{
        DeviceIdentity, DeviceState, EnrollmentGroup, EnrollmentToken, EnrollmentTokenSpec,
        LocalRef, Registration,
    },
    cluster::{self, ApiError, Outcome},
    pki::Lifespan,
    policy::{Device, Group, Origin, RegistrationId, Token as Compiled, TokenText, whole_match},
};

/// Letters and digits that nobody mistakes for another: 32, so that a byte gives one without a bias.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Whom the token is for.
#[derive(Debug, Args)]
pub(super) struct Token {
    /// The EnrollmentGroup in which it is good.
    #[arg(long)]
    group: String,
    #[command(flatten)]
    scope: Scope,
    /// How long it may be used for the first time: a number with s, m, h, d, w or y, such as 30m, 24h or 7d.
    #[arg(long, default_value = "24h", allow_hyphen_values = true)]
    ttl: Lifespan,
    /// The name of the EnrollmentToken; made up when absent.
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Scope {
    /// The registration ID of the one device that may use it.
    #[arg(long)]
    id: Option<String>,
    /// A regular expression: the first device whose whole registration ID matches may use it.
    #[arg(long)]
    pattern: Option<String>,
}

impl Token {
    pub async fn run(self, connection: &Connection) -> Result<(), PluginError> {
        let id = self.scope.id.as_deref().map(RegistrationId::parse);
        let id = id.transpose()?;
        if let Some(pattern) = &self.scope.pattern {
            whole_match(pattern).map_err(|error| {
                PluginError::Usage(format!("--pattern: {error}. Write one such as pump-[0-9]+"))
            })?;
        }
        for warning in self.judge(connection, id.as_ref()).await? {
            eprintln!("Warning: {warning}");
        }
        let name = match &self.name {
            Some(name) => name.clone(),
            None => made_up_name()?,
        };
        let secret = random::<32>()?;
        let text = TokenText::new(&name, &secret);
        // What the operator would not take is not worth making.
        if TokenText::parse(text.reveal()).is_none() {
            return Err(PluginError::Usage(format!(
                "--name {name}: use lower case letters, digits and hyphens, at most 63 of them: the name is a part of the token"
            )));
        }
        let ttl = SignedDuration::from_secs(self.ttl.as_seconds());
        let end = cluster::now().checked_add(ttl).map_err(|_| {
            PluginError::Usage(format!(
                "--ttl {} ends after the year 9999: write, for example, 30m, 24h or 7d",
                self.ttl
            ))
        })?;
        let object = self.object(&name, &text, end);
        Compiled::compile(&object)?;
        connection
            .here()
            .create(&PostParams::default(), &object)
            .await
            .map_err(|e| ApiError::new("create EnrollmentToken", &name, e))
            .map_err(|error| match error.outcome() {
                Outcome::Exists => PluginError::Usage(format!(
                    "there is an EnrollmentToken {name} already: leave --name away, or delete it first"
                )),
                _ => error.into(),
            })?;
        // Here it matters that somebody reads it.
        writeln!(io::stdout(), "{}", text.reveal()).map_err(|error| {
            PluginError::No(format!(
                "the token cannot be printed ({error}), so nobody has it: kubectl -n {} delete enrollmenttoken {name}",
                connection.namespace
            ))
        })?;
        self.tell(connection, &name, end);
        Ok(())
    }

    /// Refuses an ID that the group would refuse; the warnings are about what would keep the token from being of use.
    async fn judge(
        &self,
        connection: &Connection,
        id: Option<&RegistrationId>,
    ) -> Result<Vec<String>, PluginError> {
        let (namespace, name) = (&connection.namespace, &self.group);
        let object = match connection.find::<EnrollmentGroup>(name).await {
            Ok(Some(object)) => object,
            Ok(None) => {
                return Ok(vec![format!(
                    "there is no EnrollmentGroup {namespace}/{name}: the token is worth nothing until there is one"
                )]);
            }
            Err(error) if error.outcome() == Outcome::Forbidden => {
                return Ok(vec![format!(
                    "you may not read EnrollmentGroup {namespace}/{name}, so nobody checked whether it takes the token"
                )]);
            }
            Err(error) => return Err(error.into()),
        };
        let group = match Group::compile(&object) {
            Ok(group) => group,
            Err(refusal) => return Ok(vec![refusal.message]),
        };
        if let Some(id) = id {
            group.check_id(id)?;
        }
        let mut warnings = Vec::new();
        let registration = group.tokens.as_ref().map(|tokens| tokens.registration);
        if registration.is_none() {
            warnings.push(format!(
                "EnrollmentGroup {namespace}/{name} has no authentication.tokens, so it takes no token: set it to {{}}"
            ));
        }
        let Some(id) = id else { return Ok(warnings) };
        let of_device = match connection.find::<DeviceIdentity>(&id.object_name()).await {
            Ok(Some(device)) => check_device(&device, id, name)?,
            Ok(None) if registration == Some(Registration::PreRegistered) => Some(format!(
                "the group takes registered devices only (authentication.tokens.registration: PreRegistered), and there is no \
                 DeviceIdentity {}: create it first",
                id.object_name()
            )),
            // Who may not read devices may still make tokens.
            Ok(None) | Err(_) => None,
        };
        warnings.extend(of_device);
        Ok(warnings)
    }

    fn object(&self, name: &str, text: &TokenText, end: Timestamp) -> EnrollmentToken {
        EnrollmentToken {
            metadata: ObjectMeta {
                name: Some(name.into()),
                ..ObjectMeta::default()
            },
            spec: EnrollmentTokenSpec {
                group_ref: LocalRef {
                    name: self.group.clone(),
                },
                registration_id: self.scope.id.clone(),
                registration_id_pattern: self.scope.pattern.clone(),
                expires_at: Some(Time(end)),
                token_hash: text.hash().to_string(),
            },
            status: None,
        }
    }

    /// How to use it. On the standard error, so that the token alone can be piped.
    fn tell(&self, connection: &Connection, name: &str, end: Timestamp) {
        let namespace = &connection.namespace;
        let whom = match (&self.scope.id, &self.scope.pattern) {
            (Some(id), _) => format!("the device {id}"),
            (None, pattern) => format!(
                "the first device whose ID matches {}",
                pattern.as_deref().unwrap_or_default()
            ),
        };
        let user = self.scope.id.as_deref().unwrap_or("ID");
        let group = &self.group;
        // Whole seconds are easier to read.
        let end = Timestamp::from_second(end.as_second()).unwrap_or(end);
        eprintln!(
            "\nThis is the token. It is shown only now: the cluster keeps a hash of it.\n\
             It lets {whom} enrol once in {namespace}/{group}, until {end}.\n\
             Send it as the password, or as Bearer (the CSR's common name is the device's registration ID):\n\n  \
             curl --cacert est-ca.pem --user {user}:TOKEN -H 'Content-Type: application/pkcs10' --data-binary @device.csr \\\n    \
             https://EST-HOST:8443/.well-known/est/{namespace}.{group}/simpleenroll\n  \
             curl … -H 'Authorization: Bearer TOKEN' …\n\n\
             To take it back: kubectl -n {namespace} delete enrollmenttoken {name}"
        );
    }
}

/// Refuses a device that can never use a token of this group; the warning is about what can still change.
fn check_device(
    object: &DeviceIdentity,
    id: &RegistrationId,
    group: &str,
) -> Result<Option<String>, PluginError> {
    let device = Device::compile(object)?;
    let no = |why: String| {
        Err(PluginError::No(format!(
            "no token was made, because the device {id} could never use it: {why}"
        )))
    };
    if device.group != group {
        return no(format!(
            "it is registered in the EnrollmentGroup {0}: write --group {0}",
            device.group
        ));
    }
    if device.origin != Origin::Outside {
        return no("the operator itself keeps its certificate valid, so it does not enrol".into());
    }
    match device.state {
        DeviceState::Active => Ok(None),
        DeviceState::Suspended => Ok(Some(format!(
            "the device {id} is Suspended: the token is worth nothing until its spec.state is Active"
        ))),
        DeviceState::Revoked => no("it is Revoked, which is final".into()),
    }
}

fn made_up_name() -> Result<String, PluginError> {
    let letters = random::<5>()?.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    Ok(format!("token-{}", String::from_iter(letters)))
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, PluginError> {
    let mut bytes = Zeroizing::new([0; N]);
    aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| PluginError::Random)?;
    Ok(bytes)
}
