//! The configuration as TOML. The keys are those of Microsoft's template (Azure/iotedge, `config.toml.edge.template`).

use std::fmt::Write;

use super::{Plan, Way};
use crate::{
    pki::Lifespan,
    policy::{Group, RetryInterval},
};

/// The whole of it.
pub(super) fn of(plan: &Plan<'_>) -> String {
    let mut text = String::new();
    // Writing into a String does not fail.
    let _ = write_all(&mut text, plan);
    text
}

fn write_all(out: &mut String, plan: &Plan<'_>) -> std::fmt::Result {
    let Plan {
        device,
        group,
        options,
        ..
    } = plan;
    let id = device.id.as_str();
    let trusted = quoted(&format!("file://{}", options.trusted_cert));
    writeln!(
        out,
        "# Azure IoT Edge: the part of /etc/aziot/config.toml that has {id} get its certificates from {}/{}.\n\
         # Put it in, set what is in capitals, and run: iotedge config apply\n",
        group.namespace, group.name
    )?;
    writeln!(
        out,
        "[cert_issuance.est]\n# The root of the EST server's certificate, PEM; readable by aziotcs.\ntrusted_certs = [{trusted}]\n"
    )?;
    writeln!(
        out,
        "[cert_issuance.est.urls]\ndefault = {}\n",
        quoted(&options.url(group))
    )?;
    writeln!(out, "[cert_issuance.est.auth]")?;
    let way = plan.way(group, &device.id);
    write_way(out, &way, group, id, "bootstrap")?;
    if let Way::Bootstrap = way {
        writeln!(
            out,
            "\n# The identity that certd gets with the bootstrap certificate and enrols with from then on."
        )?;
        writeln!(out, "[cert_issuance.est.identity_auto_renew]")?;
        write_renewal(out, group)?;
    }
    writeln!(
        out,
        "\n# Yours to complete:\n# [provisioning]\n# source = \"dps\"\n# global_endpoint = \"https://global.azure-devices-provisioning.net\"\n\
         # id_scope = \"ID-SCOPE\"\n\n[provisioning.attestation]\nmethod = \"x509\"\nregistration_id = {}\n",
        quoted(id)
    )?;
    writeln!(
        out,
        "[provisioning.attestation.identity_cert]\nmethod = \"est\"\ncommon_name = {}\n",
        quoted(&group.ids.common_name_for(group.ids.device_of(&device.id)))
    )?;
    writeln!(out, "[provisioning.attestation.identity_cert.auto_renew]")?;
    write_renewal(out, group)?;
    write_edge_ca(out, plan)
}

fn write_edge_ca(out: &mut String, plan: &Plan<'_>) -> std::fmt::Result {
    let Some(edge_ca) = &plan.edge_ca else {
        return Ok(());
    };
    let group = edge_ca.group;
    writeln!(
        out,
        "\n# The CA that certifies the modules on the device; {} here.\n[edge_ca]\nmethod = \"est\"\ncommon_name = {}\nurl = {}",
        edge_ca.id,
        quoted(&edge_ca.common_name),
        quoted(&plan.options.url(group))
    )?;
    let way = plan.way(group, &edge_ca.id);
    write_way(out, &way, group, edge_ca.id.as_str(), "edge-ca-bootstrap")?;
    writeln!(out, "\n[edge_ca.auto_renew]")?;
    write_renewal(out, group)
}

/// `file` is where the bootstrap certificate is on the device, without the ending.
fn write_way(
    out: &mut String,
    way: &Way<'_>,
    group: &Group,
    id: &str,
    file: &str,
) -> std::fmt::Result {
    match way {
        Way::Password(user) => {
            writeln!(out, "username = {}\npassword = \"PASSWORD\"", quoted(user))
        }
        Way::Token(user) => writeln!(
            out,
            "# Good once; make one with: kubectl devicecert -n {} token --group {} --id {id}\nusername = {}\npassword = \"TOKEN\"",
            group.namespace,
            group.name,
            quoted(user)
        ),
        Way::Bootstrap => writeln!(
            out,
            "# The certificate and key that the device has from its maker; readable by aziotcs and aziotks.\n\
             bootstrap_identity_cert = \"file:///etc/aziot/{file}.pem\"\nbootstrap_identity_pk = \"file:///etc/aziot/{file}.key.pem\""
        ),
        Way::None => writeln!(out, "# The group {} takes nobody new.", group.key()),
    }
}

fn write_renewal(out: &mut String, group: &Group) -> std::fmt::Result {
    let retry = match group.retry {
        RetryInterval::Percent(percent) => format!("{percent}%"),
        RetryInterval::Time(time) => time_in_edge_units(time),
    };
    let threshold = group.threshold.to_string();
    let threshold = match threshold.parse::<Lifespan>() {
        Ok(left) => time_in_edge_units(left),
        Err(_) => threshold,
    };
    writeln!(
        out,
        "rotate_key = {}\nthreshold = {}\nretry = {}",
        group.rotate_key,
        quoted(&threshold),
        quoted(&retry)
    )
}

/// certd knows whole minutes and days; what lies between is rounded up.
pub(super) fn time_in_edge_units(time: Lifespan) -> String {
    let seconds = time.as_seconds();
    match seconds % 86_400 {
        0 => format!("{}day", seconds / 86_400),
        _ => format!("{}min", (seconds + 59) / 60),
    }
}

/// A basic string of TOML 1.0.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
