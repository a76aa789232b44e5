//! The first operator of a system: an account like every shopper's, to which a core's own machine gave the role.
//!
//! The password is drawn here and lies in a file of the instance. Whoever has the e-mail must know it before he gets
//! the role: a shopper who signed up with that e-mail first does not become an operator.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::json;
use shared::api::account::{Account, Tokens};
use shared::token::Role;
use shared::{Problem, ProblemKind};
use shared_clock::Entropy;
use tokio::time::Instant;

use crate::error::{SystemError, file};
use crate::layout::write_private;
use crate::system::System;

/// Who signs in; no mail is ever delivered to `.test` (RFC 2606 section 2).
pub const EMAIL: &str = "operator@meridian.test";
/// The password's file, in the instance's folder.
const FILE: &str = "operator";
/// The file's mode: its owner alone.
const MODE: u32 = 0o600;
/// How long one answer may take, and for how long one that says "not now" is asked for again.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often that is.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// An operator who can sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// With which e-mail.
    pub email: &'static str,
    /// Where the password is, in one line.
    pub password_file: PathBuf,
}

/// Why there is no operator.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Somebody signed up with the e-mail, or the password's file was lost or changed.
    #[error("{EMAIL} has an account, but its password is not in {}", password_file.display())]
    OtherPassword {
        /// The file that should hold it.
        password_file: PathBuf,
    },
    /// A sign-up that was interrupted keeps the e-mail for a while.
    #[error("an interrupted sign-up holds {EMAIL} for {seconds} s more; starting again after that makes the operator")]
    Held {
        /// How long.
        seconds: u32,
    },
    /// The store refused.
    #[error("cannot {what}: {problem}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// What it answered.
        problem: Problem,
    },
    /// The store did not answer, or in a way that is not its own.
    #[error("cannot {what}: {source}")]
    NoAnswer {
        /// What was asked for.
        what: &'static str,
        /// What came instead.
        source: reqwest::Error,
    },
    /// The file refused, or the command that gives the role.
    #[error(transparent)]
    System(#[from] SystemError),
}

/// Makes the operator of a running system with the commands of that region's core, or finds the one that was made before.
/// Each step can be run twice, so what an interrupted start left half done is finished by the next.
///
/// # Errors
/// [`OperatorError`]; an account with another password never gets the role.
pub async fn appoint(system: &System, region: &str, entropy: &Entropy) -> Result<Operator, OperatorError> {
    let operator = Operator { email: EMAIL, password_file: system.layout.path(FILE) };
    let file = &operator.password_file;
    let Password { text, drawn_now } = Password::of(file, entropy)?;
    let door = Door::new(&system.addresses.shop)?;
    let tokens = match door.sign_in(&text).await? {
        Some(tokens) => tokens,
        None => door.sign_up(&text, file).await.inspect_err(|error| forget_useless(error, file, drawn_now))?,
    };
    if !door.roles(&tokens).await?.contains(&Role::Operator) {
        system.region_core(region, "account grant-operator", &[EMAIL]).await?;
    }
    door.sign_out(&tokens).await?;
    Ok(operator)
}

/// A password that opens nothing would mislead whoever looks for the right one.
fn forget_useless(error: &OperatorError, file: &Path, drawn_now: bool) {
    if drawn_now && matches!(error, OperatorError::OtherPassword { .. }) {
        let _ = std::fs::remove_file(file);
    }
}

struct Password {
    text: String,
    /// The file held none before.
    drawn_now: bool,
}

impl Password {
    /// The one in the file; a new one if there is no file, or an empty one, as a power cut leaves behind. A new one is in
    /// the file before anybody signs up with it.
    fn of(path: &Path, entropy: &Entropy) -> Result<Self, SystemError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(file("read", path)(error)),
        };
        if text.trim().is_empty() {
            let text = hex::encode(entropy.bytes::<24>());
            write_private(path, format!("{text}\n").as_bytes())?;
            return Ok(Self { text, drawn_now: true });
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).map_err(file("close to others", path))?;
        Ok(Self { text: text.trim().to_owned(), drawn_now: false })
    }
}

/// The store's public API.
struct Door<'a> {
    http: reqwest::Client,
    origin: &'a str,
}

impl<'a> Door<'a> {
    fn new(origin: &'a str) -> Result<Self, OperatorError> {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        Ok(Self { http: http.map_err(no_answer("reach the store"))?, origin })
    }

    fn post(&self, path: &str, body: &serde_json::Value) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.origin)).json(body)
    }

    /// `None` if e-mail and password do not belong together, which is so as well when there is no account.
    async fn sign_in(&self, password: &str) -> Result<Option<Tokens>, OperatorError> {
        let what = "sign the operator in";
        let body = json!({ "email": EMAIL, "password": password });
        match ask(what, || self.post("/v1/sessions", &body)).await? {
            Ok(tokens) => Ok(Some(tokens)),
            Err(problem) if problem.is(ProblemKind::WrongCredentials) => Ok(None),
            Err(problem) => Err(OperatorError::Refused { what, problem }),
        }
    }

    /// A guest signs up, for that may be asked for again when an answer is lost.
    async fn sign_up(&self, password: &str, password_file: &Path) -> Result<Tokens, OperatorError> {
        let what = "sign the operator up";
        let guest: Result<Tokens, Problem> = ask(what, || self.post("/v1/guests", &json!({}))).await?;
        let token = guest.map_err(|problem| OperatorError::Refused { what, problem })?.access_token;
        let body = json!({ "email": EMAIL, "password": password, "name": "Operator" });
        ask(what, || self.post("/v1/accounts", &body).bearer_auth(&token)).await?.map_err(|problem| {
            match (problem.is(ProblemKind::EmailTaken), problem.retry_after_seconds) {
                (true, Some(seconds)) => OperatorError::Held { seconds },
                (true, None) => OperatorError::OtherPassword { password_file: password_file.to_owned() },
                (false, _) => OperatorError::Refused { what, problem },
            }
        })
    }

    async fn roles(&self, tokens: &Tokens) -> Result<Vec<Role>, OperatorError> {
        let what = "read the operator's account";
        let url = format!("{}/v1/account", self.origin);
        let account: Result<Account, Problem> =
            ask(what, || self.http.get(&url).bearer_auth(&tokens.access_token)).await?;
        Ok(account.map_err(|problem| OperatorError::Refused { what, problem })?.roles)
    }

    /// Or each start would leave a session behind that nobody has the key to.
    async fn sign_out(&self, tokens: &Tokens) -> Result<(), OperatorError> {
        let what = "sign the operator out";
        let body = json!({ "refresh_token": tokens.refresh_token });
        let ended: Result<(), Problem> = ask(what, || self.post("/v1/sessions/end", &body)).await?;
        ended.map_err(|problem| OperatorError::Refused { what, problem })
    }
}

/// Asks until there is an answer other than "not now": regions that have just started may not know each other yet.
async fn ask<T: DeserializeOwned>(
    what: &'static str,
    request: impl Fn() -> RequestBuilder,
) -> Result<Result<T, Problem>, OperatorError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = read(request().send().await.map_err(no_answer(what))?).await.map_err(no_answer(what))?;
        match answer {
            Err(problem) if problem.is(ProblemKind::Unavailable) && Instant::now() < deadline => {
                tokio::time::sleep(ASK_EVERY).await;
            }
            answer => return Ok(answer),
        }
    }
}

/// The answer, or the problem that it is. An empty answer reads as `()`.
async fn read<T: DeserializeOwned>(response: Response) -> Result<Result<T, Problem>, reqwest::Error> {
    let (status, seconds) = (response.status(), retry_after(&response));
    let body = response.bytes().await?;
    if status.is_success() {
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        return Ok(serde_json::from_slice(body).map_err(|error| out_of_shape(&error)));
    }
    let problem = serde_json::from_slice::<Problem>(&body).unwrap_or_else(|_| out_of_shape(&status));
    Ok(Err(Problem { retry_after_seconds: seconds, ..problem }))
}

fn retry_after(response: &Response) -> Option<u32> {
    response.headers().get("retry-after")?.to_str().ok()?.parse().ok()
}

fn out_of_shape(detail: &dyn std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::BadGateway).detail(detail)
}

fn no_answer(what: &'static str) -> impl FnOnce(reqwest::Error) -> OperatorError {
    move |source| OperatorError::NoAnswer { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_password_is_drawn_once_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let first = Password::of(&path, &Entropy::system()).unwrap();
        assert_eq!((first.text.len(), first.drawn_now, mode(&path)), (48, true, MODE));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let second = Password::of(&path, &Entropy::system()).unwrap();
        assert_eq!((second.text, second.drawn_now), (first.text, false));
        assert_eq!(mode(&path), MODE, "a file that was opened to others is closed again");
    }

    #[test]
    fn an_empty_file_is_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, "\n").unwrap();
        let drawn = Password::of(&path, &Entropy::system()).unwrap();
        assert!(drawn.drawn_now);
        assert_eq!((std::fs::read_to_string(&path).unwrap(), mode(&path)), (format!("{}\n", drawn.text), MODE));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert!(Password::of(&path, &Entropy::system()).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"\xff\xfe");
    }
}
