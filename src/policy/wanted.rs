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

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::{
        api::{EnrollmentGroup, EnrollmentToken},
        pki::fixtures::openssl_csr,
        policy::Token,
    };

    #[test]
    fn only_credentials_for_one_id_need_not_name_it() {
        let mut object = EnrollmentGroup::new("g", Default::default());
        object.spec = serde_json::from_value(json!({ "authorityRef": { "name": "ca" } })).unwrap();
        let group = Group::compile(&object).unwrap();
        let mut token = EnrollmentToken::new("t", Default::default());
        token.spec.registration_id = Some("Pump-7".into());
        token.spec.token_hash = "0".repeat(64);
        token.spec.expires_at = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        let token = Principal::Token {
            token: Box::new(Token::compile(&token).unwrap()),
        };
        let password = Principal::Password { user: "u".into() };
        let wanted = |subject: &str, principal: &Principal| {
            let csr = Csr::from_der(&openssl_csr(subject, &[])).unwrap();
            wanted_id(&csr, &group, principal)
                .map(|id| id.to_string())
                .map_err(|refusal| refusal.reason)
        };
        assert_eq!(wanted("/CN=dev1", &password), Ok("dev1".into()));
        assert_eq!(wanted("/", &token), Ok("Pump-7".into()));
        assert_eq!(wanted("/", &password), Err(Reason::InvalidRegistrationId));
        // What the CSR says counts where it says something; whether the token is good for it, is another question.
        assert_eq!(wanted("/CN=dev1", &token), Ok("dev1".into()));
    }
}
