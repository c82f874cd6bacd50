//! Where a group, as it is, would not work for Azure IoT Edge.

use super::{PLACEHOLDER, Plan, Way};
use crate::{
    api::{Approval, ChannelBinding, DeviceState, Existing, Pending, ProvisioningStatus},
    pki::{ExtendedKeyUsage, Role},
    policy::{Group, Origin, RegistrationId},
};

/// Each a sentence that says what to change.
pub(super) fn of(plan: &Plan<'_>, edge_groups: &[Group]) -> Vec<String> {
    let mut warnings = Vec::new();
    if plan.options.est_url == PLACEHOLDER {
        warnings.push(format!(
            "replace {PLACEHOLDER} by the address of your EST server, or pass --est-url"
        ));
    }
    of_device(plan, &mut warnings);
    of_group(plan, plan.group, &plan.device.id, &mut warnings);
    match (&plan.edge_ca, edge_groups) {
        (Some(edge_ca), _) => {
            of_group(plan, edge_ca.group, &edge_ca.id, &mut warnings);
            if let Way::Bootstrap = plan.way(edge_ca.group, &edge_ca.id) {
                warnings.push(format!(
                    "a bootstrap certificate claims one registration ID, ever: give {} another one than {}, or let group {} take tokens \
                     instead",
                    edge_ca.id,
                    plan.device.id,
                    edge_ca.group.key()
                ));
            }
        }
        (None, []) => {}
        (None, [group]) => warnings.push(format!(
            "group {} makes CAs, but has no registration ID for the Edge CA of {}: set registrationId.commonName to \
             'iotedged workload ca ${{device}}' and registrationId.value to '${{device}}-edge-ca'",
            group.key(),
            plan.device.id
        )),
        (None, several) => warnings.push(format!(
            "{} groups of the namespace make CAs, so [edge_ca] was left out: keep one of them for Edge CAs",
            several.len()
        )),
    }
    warnings
}

fn of_device(plan: &Plan<'_>, warnings: &mut Vec<String>) {
    let device = plan.device;
    if device.origin != Origin::Outside {
        warnings.push(format!(
            "the operator itself renews the certificate of {}, so it cannot enrol over EST: create a DeviceIdentity with neither \
             secretName nor request",
            device.name
        ));
    }
    if device.state != DeviceState::Active {
        warnings.push(format!(
            "{} is {:?}, so it gets no certificate",
            device.name, device.state
        ));
    }
}

fn of_group(plan: &Plan<'_>, group: &Group, id: &RegistrationId, warnings: &mut Vec<String>) {
    let mut warn = |text: &str| warnings.push(format!("group {}: {text}", group.key()));
    if group.provisioning == ProvisioningStatus::Disabled {
        warn("provisioningStatus is Disabled, so nobody gets a certificate");
    }
    if group.approval == Approval::Manual {
        warn(
            "approval: Manual lets the device wait for a person, and certd may make a new key each time it tries, which then waits \
             anew: approve with kubectl devicecert approve soon, or set approval: Automatic",
        );
        if group.pending == Pending::Poll {
            warn(
                "pending: Poll answers 202, which certd takes for an error: set pending: Reject, which says so in words",
            );
        }
    }
    if group.channel_binding == ChannelBinding::Required {
        warn("channelBinding: Required keeps certd out, which proves none: set it to Optional");
    }
    let purposes = &group.extended_key_usages;
    if group.role == Role::Leaf && !purposes.contains(&ExtendedKeyUsage::ClientAuth) {
        warn(
            "profile.extendedKeyUsages lacks clientAuth, without which IoT Hub refuses the certificate",
        );
    }
    let passwords = group.passwords.as_ref();
    match (plan.way(group, id), passwords) {
        (Way::Password(_), None) => {
            warn("it takes no passwords, so --user is of no use: leave it away")
        }
        (Way::Password(_), Some(rules)) if rules.existing != Existing::Any => warn(
            "authentication.passwords.existing is not Any: certd throws an answer away when something else fails, and may come back \
             with another key, which the password may then not replace. Set it to Any, knowing that whoever has the password can \
             then take over any device of the group; or use bootstrap certificates",
        ),
        (Way::None, _) => warn(
            "it has no authentication by which a new device could enrol: set authentication.bootstrap, passwords or tokens",
        ),
        _ => {}
    }
}
