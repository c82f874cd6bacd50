//! The ways into a group: what a requester may send, and what is said where one is closed.

use super::{Group, PasswordRules, Reason, Refusal};

impl Group {
    /// What a requester may send to prove itself, in words.
    pub fn ways_in(&self) -> String {
        let ways = [
            self.passwords
                .as_ref()
                .map(|_| "a user name and password (HTTP Basic)"),
            self.tokens
                .as_ref()
                .map(|_| "a one-time token (as the password, or as Bearer)"),
            self.bootstrap
                .as_ref()
                .map(|_| "a bootstrap certificate in TLS"),
            Some("the device's certificate in TLS"),
        ];
        let ways: Vec<&str> = ways.into_iter().flatten().collect();
        ways.join(", or ")
    }

    /// What is said to somebody who sent nothing.
    pub fn credentials_missing(&self) -> Refusal {
        Refusal::new(
            Reason::CredentialsMissing,
            format!("send {}", self.ways_in()),
        )
    }

    /// The rules for passwords, or why there are none.
    pub fn password_rules(&self) -> Result<&PasswordRules, Refusal> {
        match (&self.passwords, &self.tokens) {
            (Some(rules), _) => Ok(rules),
            (None, Some(_)) => Err(Refusal::new(
                Reason::WrongToken,
                "the password is none of this group's tokens: ask for one, it is printed by kubectl devicecert token",
            )),
            (None, None) => Err(Refusal::new(
                Reason::PasswordsDisabled,
                format!(
                    "this group does not accept passwords: send {}",
                    self.ways_in()
                ),
            )),
        }
    }

    /// Refuses tokens where the group takes none.
    pub fn check_takes_tokens(&self) -> Result<(), Refusal> {
        if self.tokens.is_some() {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::TokensDisabled,
            format!("this group does not accept tokens: send {}", self.ways_in()),
        ))
    }
}

/// What is said of a token that does not exist, is not the right one, or is for another group: alike, so that nobody learns
/// which.
pub fn wrong_token() -> Refusal {
    Refusal::new(
        Reason::WrongToken,
        "the token is unknown, or not for this group: ask for another",
    )
}
