//! Which device a request is for.

use super::{Group, Principal, Reason, Refusal, RegistrationId};
use crate::pki::Csr;

/// The registration ID that is asked for. Credentials that are good for one ID need not be told again which.
pub fn wanted_id(
    csr: &Csr,
    group: &Group,
    principal: &Principal,
) -> Result<RegistrationId, Refusal> {
    let only = match principal {
        Principal::Bootstrap { certificate, .. } => Some(group.bootstrap_id(certificate, csr)?),
        Principal::Token { token } => token.id().cloned(),
        _ => None,
    };
    if let Some(id) = only.filter(|_| csr.subject().is_empty()) {
        return Ok(id);
    }
    let name = csr.subject().common_name().ok_or_else(|| {
        Refusal::new(
            Reason::InvalidRegistrationId,
            "the CSR's subject must have exactly one common name (CN): the device's registration ID",
        )
    })?;
    group.ids.id_of(&name)
}

/// That the object name to which a registration ID leads is held by another one.
pub fn name_taken(id: &RegistrationId) -> Refusal {
    Refusal::new(
        Reason::NameTaken,
        format!(
            "the name {} is held by another registration ID than {id}",
            id.object_name()
        ),
    )
}
