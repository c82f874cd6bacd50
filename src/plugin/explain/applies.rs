//! Which rules have something to say about a request: `pass` is not said of those that have not.

use crate::{
    api::{Approval, ChannelBinding},
    policy::{Principal, Situation, Standing},
};

/// Whether a rule of `policy::authorize` concerns this request. Of a rule that is not named here it is not known, so it does.
pub(super) fn applies(rule: &str, s: &Situation<'_>) -> bool {
    let has_credentials = !matches!(
        s.principal,
        Principal::Operator | Principal::Device { .. } | Principal::RegistrationAuthority { .. }
    );
    match rule {
        "an expired certificate is within the recovery window" => matches!(
            s.principal,
            Principal::Device {
                standing: Standing::Expired,
                ..
            }
        ),
        "the credentials may claim the ID" => has_credentials,
        "the CSR is bound to its TLS connection, where it must be" => {
            s.group.channel_binding != ChannelBinding::Optional
        }
        // Explain judges a CSR whose key is on the device.
        "the server may make keys, if it is asked to" => false,
        "the key is of an allowed kind" => !s.group.allowed_keys.is_empty(),
        "the credentials may replace a live certificate" => {
            has_credentials && s.device.live(s.now).is_some()
        }
        "the group's own rules hold" => !s.group.rules.is_empty(),
        "a person has approved the key, where one must" => {
            s.group.approval == Approval::Manual || s.device.approval.is_some()
        }
        _ => true,
    }
}
