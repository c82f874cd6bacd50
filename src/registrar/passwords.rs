//! Passwords: an htpasswd file in a Secret, verified off the async threads, a bounded number at a time.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use argon2::password_hash::{PasswordVerifier, phc::PasswordHash};
use k8s_openapi::api::core::v1::Secret;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::BasicCredentials;
use crate::policy::{Reason, Refusal};

/// How many passwords are verified at the same time.
const AT_ONCE: usize = 2;
/// How many more may wait; others are asked to come back.
const WAITING: usize = 64;
/// The highest bcrypt cost that is accepted: one verification takes a core for about a quarter of a second. Anybody may ask
/// for one, so a costlier hash would be a gift to whoever floods.
const HIGHEST_COST: u32 = 12;

/// The same for argon2: memory in KiB, passes, lanes, and memory times passes.
const MOST_MEMORY_KIB: u32 = 64 * 1024;
const MOST_PASSES: u32 = 8;
const MOST_LANES: u32 = 4;
const MOST_WORK_KIB: u32 = 4 * MOST_MEMORY_KIB;

/// What hashes are accepted, and how to make one.
pub const ACCEPTED: &str = "make them with htpasswd -nB -C 10 USER (bcrypt, cost at most 12) or argon2 (at most 64 MiB, 8 passes, 4 \
     lanes, and 256 MiB for memory times passes)";

static WORKERS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_ONCE));
static QUEUE: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_ONCE + WAITING));
/// Stands in where a file has no user at all, which [`Passwords::from_secret`] lets nobody make.
static NOBODY: LazyLock<Hash> = LazyLock::new(|| {
    Hash::Bcrypt(bcrypt::hash("nobody has this password", 10).unwrap_or_default())
});

/// How many of one Secret may wait, of which one at a time is verified: whoever floods one group must not hold up the others.
const WAITING_FOR_ONE: usize = 16;

/// The users of a group.
pub struct Passwords {
    users: HashMap<String, Hash>,
    unusable: Vec<usize>,
    queue: Semaphore,
    turn: Semaphore,
}

#[derive(Clone)]
enum Hash {
    Bcrypt(String),
    Argon2(String),
}

impl Hash {
    fn parse(text: &str) -> Option<Self> {
        if ["$2a$", "$2b$", "$2y$"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            let cost: u32 = text.get(4..6)?.parse().ok()?;
            return (cost <= HIGHEST_COST && text.len() == 60).then(|| Self::Bcrypt(text.into()));
        }
        is_affordable_argon2(text).then(|| Self::Argon2(text.into()))
    }

    /// Comparable only among hashes of one kind; argon2 counts as more than bcrypt.
    fn cost(&self) -> (u8, u64) {
        match self {
            Self::Bcrypt(hash) => (
                0,
                hash.get(4..6)
                    .and_then(|cost| cost.parse().ok())
                    .unwrap_or(0),
            ),
            Self::Argon2(hash) => {
                let parameter = |hash: &PasswordHash, name: &str| {
                    hash.params.get_decimal(name).map_or(1, u64::from)
                };
                let cost = PasswordHash::new(hash)
                    .map_or(0, |hash| parameter(&hash, "m") * parameter(&hash, "t"));
                (1, cost)
            }
        }
    }

    fn verify(&self, password: &str) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2(hash) => PasswordHash::new(hash).is_ok_and(|hash| {
                argon2::Argon2::default()
                    .verify_password(password.as_bytes(), &hash)
                    .is_ok()
            }),
        }
    }
}

/// Whether an argon2 hash asks for no more memory and time than a login may cost.
fn is_affordable_argon2(text: &str) -> bool {
    let Ok(hash) = PasswordHash::new(text) else {
        return false;
    };
    let most = |name: &str, limit: u32| {
        hash.params
            .get_decimal(name)
            .is_none_or(|value| value <= limit)
    };
    let number = |name: &str| hash.params.get_decimal(name).unwrap_or(1);
    text.starts_with("$argon2")
        && number("m").saturating_mul(number("t")) <= MOST_WORK_KIB
        && most("m", MOST_MEMORY_KIB)
        && most("t", MOST_PASSES)
        && most("p", MOST_LANES)
        && hash.hash.is_some_and(|hash| hash.len() <= 64)
}

impl Passwords {
    /// Reads the Secret's key `auth`, or its only key.
    pub fn from_secret(secret: &Secret) -> Result<Self, Refusal> {
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let unavailable = |why: &str| {
            Refusal::new(
                Reason::PasswordsUnavailable,
                format!("the password Secret {name} {why}"),
            )
        };
        let data = secret
            .data
            .as_ref()
            .ok_or_else(|| unavailable("is empty: put an htpasswd file under the key 'auth'"))?;
        let (file, key) = match (data.get_key_value("auth"), data.first_key_value()) {
            (Some((_, file)), _) => (file, None),
            (None, Some((key, file))) if data.len() == 1 => (file, Some(key)),
            _ => {
                return Err(unavailable(
                    "has no key 'auth': put the htpasswd file there",
                ));
            }
        };
        // Whoever put something else there was not thinking of this key.
        let unavailable = |why: &str| match key {
            None => unavailable(why),
            Some(key) => unavailable(&format!(
                "{why} (it has no key 'auth', so its only key '{key}' was read)"
            )),
        };
        let text = std::str::from_utf8(&file.0)
            .map_err(|_| unavailable("is not text: it must be an htpasswd file"))?;
        let mut passwords = Self {
            users: HashMap::new(),
            unusable: Vec::new(),
            queue: Semaphore::new(WAITING_FOR_ONE),
            turn: Semaphore::new(1),
        };
        let lines = text.lines().map(str::trim).zip(1..);
        for (line, number) in lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#')) {
            match line.split_once(':') {
                Some((user, hash)) => match Hash::parse(hash) {
                    // A second line of the same user may be a mistake, or somebody's way in.
                    Some(_) if passwords.users.contains_key(user) => {
                        passwords.unusable.push(number);
                    }
                    Some(hash) => {
                        passwords.users.insert(user.into(), hash);
                    }
                    None => passwords.unusable.push(number),
                },
                None => {
                    return Err(unavailable(
                        "has a line without a colon: it must be an htpasswd file",
                    ));
                }
            }
        }
        if passwords.users.is_empty() {
            return Err(unavailable(&format!(
                "has no user with a hash that is accepted: {ACCEPTED}"
            )));
        }
        Ok(passwords)
    }

    /// The numbers of the lines whose hash is not accepted. What stands there is not repeated: it may be any secret.
    pub fn unusable(&self) -> &[usize] {
        &self.unusable
    }

    /// The hash that takes longest; verified for users that do not exist, so that the answer takes as long as for those that
    /// do. In a file with hashes of several costs the cheap ones can still be told from nobody.
    fn costliest(&self) -> &Hash {
        self.users
            .values()
            .max_by_key(|hash| hash.cost())
            .unwrap_or(&NOBODY)
    }

    /// Whether the user has this password. Takes the same time for users that do not exist.
    pub async fn verify(self: Arc<Self>, credentials: &BasicCredentials) -> Result<(), Refusal> {
        let overloaded = || {
            Refusal::new(
                Reason::Overloaded,
                "too many passwords are being verified: try again soon",
            )
        };
        let _own_place = self.queue.try_acquire().map_err(|_| overloaded())?;
        let _turn = self.turn.acquire().await.map_err(|_| overloaded())?;
        let _place = QUEUE.try_acquire().map_err(|_| overloaded())?;
        let _worker = WORKERS.acquire().await.map_err(|_| overloaded())?;
        let (hash, exists) = match self.users.get(&credentials.user) {
            Some(hash) => (hash.clone(), true),
            None => (self.costliest().clone(), false),
        };
        let password: Zeroizing<String> = credentials.password.clone();
        let fits = tokio::task::spawn_blocking(move || hash.verify(&password))
            .await
            .map_err(|_| Refusal::new(Reason::Internal, "the password could not be verified"))?;
        if fits && exists {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::WrongPassword,
            "the user name or the password is wrong",
        ))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(key: &str, file: &str) -> Secret {
        Secret {
            data: Some([(key.to_string(), ByteString(file.into()))].into()),
            ..Default::default()
        }
    }

    async fn verify(file: &str, user: &str, password: &str) -> Result<(), Refusal> {
        let passwords = Arc::new(Passwords::from_secret(&secret("auth", file))?);
        passwords
            .verify(&BasicCredentials {
                user: user.into(),
                password: Zeroizing::new(password.into()),
            })
            .await
    }

    #[tokio::test]
    async fn bcrypt_passwords_of_htpasswd_are_verified() {
        let hash = bcrypt::hash("estpwd", 4).unwrap().replace("$2b$", "$2y$");
        let file = format!("# users\n\nestuser:{hash}\n");
        assert!(verify(&file, "estuser", "estpwd").await.is_ok());
        for (user, password) in [
            ("estuser", "wrong"),
            ("estuser", ""),
            ("other", "estpwd"),
            ("", ""),
        ] {
            assert_eq!(
                verify(&file, user, password).await.unwrap_err().reason,
                Reason::WrongPassword
            );
        }
    }

    #[test]
    fn files_that_cannot_be_used_fail_closed() {
        for file in [
            "",
            "nocolon",
            "u:plain",
            "u:{SHA}x",
            "u:$apr1$x$y",
            "u:$2y$31$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            let refusal = Passwords::from_secret(&secret("auth", file))
                .map(|_| ())
                .unwrap_err();
            assert_eq!(refusal.reason, Reason::PasswordsUnavailable, "{file}");
        }
        let refusal = Passwords::from_secret(&secret("users", "nocolon"))
            .map(drop)
            .unwrap_err();
        assert!(
            refusal.message.contains("its only key 'users' was read"),
            "{refusal}"
        );
        // A hash may cost so much and no more, and who may not is told what to do.
        let bcrypt = |cost: u32| format!("u:$2y${cost:02}${}", "a".repeat(53));
        let argon2 = |m: u32, t: u32, p: u32| {
            format!(
                "u:$argon2id$v=19$m={m},t={t},p={p}$c2FsdHNhbHQ${}",
                "A".repeat(43)
            )
        };
        let read = |file: &str| Passwords::from_secret(&secret("auth", file)).map(drop);
        for affordable in [bcrypt(12), argon2(65536, 4, 4), argon2(32768, 8, 1)] {
            assert_eq!(read(&affordable), Ok(()), "{affordable}");
        }
        for costly in [
            bcrypt(13),
            argon2(65536, 5, 4),
            argon2(65537, 1, 1),
            argon2(1024, 9, 1),
            argon2(1024, 1, 5),
        ] {
            let refusal = read(&costly).unwrap_err();
            assert!(refusal.message.contains("cost at most 12"), "{refusal:?}");
        }
        let mut two = secret("a", "u:x");
        two.data
            .get_or_insert_default()
            .insert("b".into(), ByteString(Vec::new()));
        assert!(Passwords::from_secret(&two).is_err());
    }
}
