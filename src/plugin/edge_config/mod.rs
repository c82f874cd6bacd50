//! `kubectl devicecert edge-config`: a device's part of Azure IoT Edge's `/etc/aziot/config.toml`.

mod toml;
mod warnings;

use clap::Args;

use super::{
    PluginError,
    connection::{Connection, list},
    words::say,
};
use crate::{
    api::{DeviceIdentity, EnrollmentGroup},
    pki::Role,
    policy::{Device, Group, RegistrationId},
};

/// Where the EST server is, when nobody says.
const PLACEHOLDER: &str = "https://EST-HOST:8443";
/// The path of EST, RFC 7030 §3.2.2.
const WELL_KNOWN: &str = "/.well-known/est";

/// Which device, and what the cluster does not know.
#[derive(Debug, Args)]
pub(super) struct EdgeConfig {
    /// The name of the DeviceIdentity.
    device: String,
    /// Where devices reach the EST server, such as https://est.example.com:8443.
    #[arg(long, default_value = PLACEHOLDER, value_parser = est_url)]
    est_url: String,
    /// Authenticate with the password of this user.
    #[arg(long)]
    user: Option<String>,
    /// Where the EST server's root certificate is on the device.
    #[arg(long, default_value = "/etc/aziot/est-ca.pem")]
    trusted_cert: String,
}

/// What the configuration is made from.
struct Plan<'a> {
    device: &'a Device,
    group: &'a Group,
    edge_ca: Option<EdgeCa<'a>>,
    options: &'a EdgeConfig,
}

/// The group that makes the device's Edge CA.
struct EdgeCa<'a> {
    group: &'a Group,
    common_name: String,
    id: RegistrationId,
}

/// How certd proves itself the first time.
enum Way<'a> {
    Password(&'a str),
    Token(&'a str),
    Bootstrap,
    None,
}

impl EdgeConfig {
    pub async fn run(self, connection: &Connection) -> Result<(), PluginError> {
        let object: DeviceIdentity = connection.get(&self.device).await?;
        let device = Device::compile(&object)?;
        let group: EnrollmentGroup = connection.get(&device.group).await?;
        let group = Group::compile(&group)?;
        let edge_groups = list(&connection.here(), |group: EnrollmentGroup| {
            let group = group.spec.profile.is_ca.then(|| Group::compile(&group))?;
            group.ok()
        })
        .await?;
        let plan = Plan {
            edge_ca: edge_ca(&edge_groups, &device),
            device: &device,
            group: &group,
            options: &self,
        };
        for warning in warnings::of(&plan, &edge_groups) {
            eprintln!("Warning: {warning}");
        }
        Ok(say(toml::of(&plan))?)
    }

    /// The URL of a group.
    fn url(&self, group: &Group) -> String {
        let host = self.est_url.trim_end_matches('/');
        let label = format!("{}.{}", group.namespace, group.name);
        match host.contains(WELL_KNOWN) {
            true => format!("{host}/{label}"),
            false => format!("{host}{WELL_KNOWN}/{label}"),
        }
    }
}

/// The address of an EST server. EST is served over TLS only, and certd would find out no sooner than when it enrols.
fn est_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").unwrap_or_default();
    match host.trim_start_matches('/').is_empty() || text.contains(char::is_whitespace) {
        true => Err("write https:// and a host, such as https://est.example.com:8443".into()),
        false => Ok(text.into()),
    }
}

/// The Edge CA of a device, if exactly one group of the namespace makes such CAs and has an ID for it.
fn edge_ca<'a>(groups: &'a [Group], device: &Device) -> Option<EdgeCa<'a>> {
    let [group] = groups else { return None };
    if !matches!(group.role, Role::Authority { .. }) {
        return None;
    }
    let names = [
        group.ids.common_name_for(device.id.as_str()),
        group
            .ids
            .common_name_for(&format!("{}-edge-ca", device.id.as_str())),
    ];
    names.into_iter().find_map(|common_name| {
        let id = group.ids.id_of(&common_name).ok()?;
        // The device itself is somebody else already.
        (id != device.id && group.ids.takes(&id)).then_some(EdgeCa {
            group,
            common_name,
            id,
        })
    })
}

impl<'a> Plan<'a> {
    /// The way in, for a group and an ID.
    fn way(&self, group: &Group, id: &'a RegistrationId) -> Way<'a> {
        let is_for_user = group.passwords.is_some() || group.key() == self.group.key();
        let user = self.options.user.as_ref().filter(|_| is_for_user);
        match (user, &group.bootstrap, &group.passwords) {
            (Some(user), ..) => Way::Password(user),
            (None, Some(_), _) => Way::Bootstrap,
            (None, None, Some(_)) => Way::Password("USER"),
            (None, None, None) if group.tokens.is_some() => Way::Token(id.as_str()),
            (None, None, None) => Way::None,
        }
    }
}

#[cfg(test)]
mod tests;
