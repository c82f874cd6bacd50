//! The judgement: the steps of the registrar in its order, each by the same function of `policy`.

use jiff::Timestamp;

use super::{
    Evidence,
    credentials::{Authenticated, authenticate, find_authority, for_another},
    observed::Observed,
};
use crate::{
    api::{Approval, DeviceIdentity},
    cluster::ApiError,
    pki::Csr,
    policy::{
        Asked, Authority, Device, Grant, Group, Outcome, Principal, Purpose, Reason, Refusal,
        RegistrationId, Situation, approval_policy, authority_not_found, authorize, explain,
        key_holder, may_register, name_taken, read_authority_facts, wanted_id,
    },
};

/// Every step with its outcome, and what would be certified.
pub(super) struct Judgement {
    pub csr: Option<Csr>,
    pub group: Option<Group>,
    pub principal: Option<Principal>,
    pub id: Option<RegistrationId>,
    /// Whether the device is registered already.
    pub is_known: bool,
    pub steps: Vec<(String, Outcome)>,
    pub grant: Option<Grant>,
    /// What the answer rests on.
    pub notes: Vec<String>,
}

impl Judgement {
    /// The server stops at the first refusal.
    pub fn verdict(&self) -> Result<(), &Refusal> {
        let refusals = || {
            self.steps
                .iter()
                .filter_map(|(_, outcome)| outcome.refusal())
        };
        let first = refusals().next();
        // A request that would wait finds no room where too many wait: then that is the answer.
        let full = refusals().find(|refusal| refusal.reason == Reason::GroupFull);
        match (first, full) {
            (None, _) => Ok(()),
            (Some(first), Some(full)) if first.reason.awaits_approval() => Err(full),
            (Some(first), _) => Err(first),
        }
    }

    /// Says so if the request is for another device than was expected.
    pub fn compare(&mut self, expected: &str) {
        let Some(id) = &self.id else { return };
        if RegistrationId::parse(expected).is_ok_and(|expected| expected == *id) {
            return;
        }
        self.notes.insert(
            0,
            format!(
                "the request is for the registration ID {id}, not for {expected}: the ID is the common name of the CSR"
            ),
        );
    }

    /// Notes a step; `None` is a refusal after which the server would look no further.
    fn step<T>(&mut self, name: &str, outcome: Result<T, Refusal>) -> Option<T> {
        let (value, outcome) = match outcome {
            Ok(value) => (Some(value), Outcome::Passes),
            Err(refusal) => (None, Outcome::Refuses(refusal)),
        };
        self.steps.push((name.into(), outcome));
        value
    }
}

pub(super) async fn judge(
    observed: &mut Observed,
    evidence: &Evidence,
    csr: Result<Csr, Refusal>,
    now: Timestamp,
) -> Result<Judgement, ApiError> {
    let mut judgement = Judgement {
        csr: csr.as_ref().ok().cloned(),
        group: None,
        principal: None,
        id: None,
        is_known: false,
        steps: Vec::new(),
        grant: None,
        notes: assumptions(evidence, csr.as_ref().ok()),
    };
    look(observed, evidence, csr, now, &mut judgement).await?;
    let blind = observed.blind_spots.iter();
    judgement
        .notes
        .extend(blind.map(|spot| format!("not looked at: {spot}")));
    Ok(judgement)
}

/// `Ok(None)`: refused before there was anything for the rules to judge.
async fn look(
    observed: &mut Observed,
    evidence: &Evidence,
    csr: Result<Csr, Refusal>,
    now: Timestamp,
    judgement: &mut Judgement,
) -> Result<Option<()>, ApiError> {
    let compiled = Group::compile(&observed.group);
    let Some(group) = judgement.step("the group can be used", compiled) else {
        return Ok(None);
    };
    judgement.group = Some(group.clone());
    let authenticated = authenticate(observed, evidence, &group, now).await?;
    let Some(authenticated) = judgement.step("the requester proves who it is", authenticated)
    else {
        return Ok(None);
    };
    judgement.principal = Some(authenticated.principal.clone());
    if matches!(evidence, Evidence::User(_)) {
        let passwords = observed.password_secret(&group).await?;
        let name = "the group's password Secret exists";
        if judgement.step(name, passwords).is_none() {
            return Ok(None);
        }
        let complaint = observed.password_complaint();
        judgement.notes.extend(
            complaint.map(|words| format!("the operator says of the group's passwords: {words}")),
        );
    }
    let Some(csr) = judgement.step("the CSR can be used", csr) else {
        return Ok(None);
    };
    let spoken_for = for_another(observed, &authenticated, &csr, &group);
    let authenticated = match spoken_for {
        None => authenticated,
        Some(outcome) => {
            let name = "the registration authority is one of the group's";
            let Some(principal) = judgement.step(name, outcome) else {
                return Ok(None);
            };
            judgement.principal = Some(principal.clone());
            Authenticated::from(principal)
        }
    };
    let Some((device, object)) =
        find_device(observed, authenticated, &csr, &group, judgement).await?
    else {
        return Ok(None);
    };
    if group.approval == Approval::Manual {
        let protected = observed.approval_is_protected().await?;
        let outcome = match protected {
            Some(false) => Err(approval_policy::missing(&group)),
            Some(true) | None => Ok(()),
        };
        if judgement.step("approvals are protected", outcome).is_none() {
            return Ok(None);
        }
    }
    let authority = find_authority(observed, &group.namespace, &group.authority)
        .map(read_authority_facts)
        .ok_or_else(|| authority_not_found(&group.namespace, &group.authority));
    let Some(authority) = judgement.step("the group's authority exists", authority) else {
        return Ok(None);
    };
    apply_rules(observed, &csr, &group, &authority, &device, now, judgement);
    check_room(observed, &group, object.as_ref(), judgement);
    Ok(Some(()))
}

/// The device that the request is for, and its object if it is registered.
async fn find_device(
    observed: &Observed,
    authenticated: Authenticated,
    csr: &Csr,
    group: &Group,
    judgement: &mut Judgement,
) -> Result<Option<(Device, Option<DeviceIdentity>)>, ApiError> {
    let Authenticated { principal, device } = authenticated;
    if let Some(object) = device {
        let compiled = judgement.step("the device's record can be read", Device::compile(&object));
        judgement.is_known = true;
        judgement.id = compiled.as_ref().map(|device| device.id.clone());
        return Ok(compiled.map(|device| (device, Some(object))));
    }
    let id = wanted_id(csr, group, &principal);
    let Some(id) = judgement.step("the request says which device it is for", id) else {
        return Ok(None);
    };
    judgement.id = Some(id.clone());
    let Some(object) = observed.device(&id.object_name()).await? else {
        let outcome = may_register(&principal, group, &id);
        let name = "the requester may register an unknown device";
        let device = Device::unregistered(&group.namespace, &group.name, id);
        return Ok(judgement.step(name, outcome).map(|()| (device, None)));
    };
    judgement.is_known = true;
    let compiled = Device::compile(&object).and_then(|device| match device.id == id {
        true => Ok(device),
        false => Err(name_taken(&id)),
    });
    let compiled = judgement.step("the device's record can be read", compiled);
    Ok(compiled.map(|device| (device, Some(object))))
}

fn apply_rules(
    observed: &Observed,
    csr: &Csr,
    group: &Group,
    authority: &Authority,
    device: &Device,
    now: Timestamp,
    judgement: &mut Judgement,
) {
    let Some(principal) = judgement.principal.clone() else {
        return;
    };
    let holders = observed.key_holders(csr.key().fingerprint());
    let situation = Situation {
        principal: &principal,
        asked: Asked::Csr(csr),
        group,
        authority,
        device,
        // Nobody but the operator knows the key of the EST server.
        key_holder: &key_holder(csr.key(), device, &holders, &observed.known, None),
        // Whether the proof in the CSR is right, only the connection knows.
        bound_to_channel: csr.challenge_password().is_some(),
        purpose: Purpose::New,
        now,
    };
    let rules = explain(&situation);
    let all_hold = rules.iter().all(|(_, outcome)| outcome.refusal().is_none());
    let rules = rules
        .into_iter()
        .map(|(name, outcome)| (name.to_string(), outcome));
    judgement.steps.extend(rules);
    match authorize(&situation) {
        Ok(grant) => judgement.grant = Some(grant),
        // Then a rule has said so already.
        Err(_) if !all_hold => {}
        Err(refusal) => {
            judgement.step::<()>("the authority can certify for that long", Err(refusal));
        }
    }
}

/// A device that is new, and a request that must wait, need room.
fn check_room(
    observed: &Observed,
    group: &Group,
    object: Option<&DeviceIdentity>,
    judgement: &mut Judgement,
) {
    let refusal = judgement.verdict().err().map(|refusal| refusal.reason);
    let must_wait = refusal.is_some_and(Reason::awaits_approval);
    let waits_already = object.is_some_and(crate::policy::is_waiting);
    if must_wait && !waits_already {
        let outcome = group.check_room_for_pending(observed.waiting);
        judgement.step("the group has room for a request that waits", outcome);
    }
    if object.is_none() && (must_wait || refusal.is_none()) {
        let outcome = group.check_room(observed.devices);
        judgement.step("the group has room for another device", outcome);
    }
}

fn assumptions(evidence: &Evidence, csr: Option<&Csr>) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(match evidence {
        Evidence::User(user) => Some(format!(
            "taken for granted: the password of {user} is right"
        )),
        Evidence::Token(name) => Some(format!(
            "taken for granted: the client has the token {name}"
        )),
        Evidence::Certificate { .. } => {
            Some("taken for granted: the client has the key of the certificate".into())
        }
        Evidence::Nothing => None,
    });
    if csr.is_some_and(|csr| csr.challenge_password().is_some()) {
        notes.push("taken for granted: the challengePassword of the CSR is a proof for its TLS connection; if somebody typed it in, \
             the server answers ProofMismatch".into());
    }
    notes.push("not looked at: how many certificates the device had within the hour, and whether the key is the EST server's".into());
    notes
}
