//! A store has one operator from its first start on: whoever can read the password's file, and nobody else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use shared::EmailAddress;
use shared::api::account::{Account, Tokens};
use shared::token::{Claims, KeySet, Role, parse};
use shared_clock::{Clock, Entropy};
use tests::shopper::{PASSWORD, post};
use tests::{Client, Options, Shopper, Store, place};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use xtask_system::operator::{self, EMAIL, OperatorError};
use xtask_system::{Layout, ServiceUser};

/// Databases of two regions are made from nothing, perhaps beside other tests.
const UP_WITHIN: Duration = Duration::from_secs(240);
/// The last line of what `up` says.
const LAST: &str = "Ctrl-C stops everything";
const INSTANCE: &str = "test-operator";

/// `cargo xtask COMMAND` for an instance of this test's own.
fn xtask(command: &str) -> Command {
    let mut xtask = Command::new(place::program("xtask"));
    xtask.args(["--instance", INSTANCE, command]).kill_on_drop(true);
    xtask
}

/// A store that `cargo xtask up` runs.
struct Up {
    process: Child,
    told: Vec<String>,
    _more: Lines<BufReader<ChildStdout>>,
}

impl Up {
    /// Starts it from what is built, and waits until it says that it is up.
    async fn start(more: &[&str]) -> Self {
        let mut up = xtask("up");
        up.args(["--no-build", "--no-worker", "--empty", "--free-ports"]).args(more);
        let mut process = up.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut told = Vec::new();
        let listen = async {
            while !told.last().is_some_and(|line: &String| line.contains(LAST)) {
                told.push(lines.next_line().await.unwrap().expect("`up` ended; its reason stands above"));
            }
        };
        tokio::time::timeout(UP_WITHIN, listen).await.expect("`up` says that it is up");
        Self { process, told, _more: lines }
    }

    /// What it told about something.
    fn line(&self, about: &str) -> &str {
        let line = self.told.iter().find_map(|line| line.trim_start().strip_prefix(about));
        line.unwrap_or_else(|| panic!("nothing about {about}: {:?}", self.told)).trim()
    }

    fn shop(&self) -> &str {
        self.line("shop (PoP)")
    }

    fn password_file(&self) -> PathBuf {
        let told = self.line("operator").strip_prefix(&format!("{EMAIL}, password in ")).unwrap();
        told.into()
    }

    /// As a person would, from another terminal.
    async fn stop(mut self) {
        assert!(xtask("down").stdout(Stdio::null()).status().await.unwrap().success());
        assert!(self.process.wait().await.unwrap().success());
    }
}

/// What a token says, once a core has taken it for its own.
async fn claims(client: &Client, tokens: Tokens) -> Claims {
    let claims = parse(&tokens.access_token).unwrap();
    let keys: KeySet = client.get("/v1/keys").await.expect(200).json();
    assert!(keys.find(claims.key_id()).is_some());
    let shopper = Shopper { client: client.clone(), tokens: tokens.clone() };
    let account: Account = shopper.get("/v1/account").await.expect(200).json();
    let claims = claims.accept(true, Clock::system().unix_seconds()).unwrap();
    assert_eq!((account.user_id, &account.roles), (claims.sub, &claims.roles));
    claims
}

/// The roles that somebody gets with that password.
async fn roles(shop: &str, password: &str) -> Vec<Role> {
    let client = Client::new(shop);
    let body = json!({ "email": EMAIL, "password": password });
    let tokens: Tokens = post(&client, "/v1/sessions", None, &body).await.expect(201).json();
    claims(&client, tokens).await.roles
}

fn password(file: &Path) -> String {
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "the owner's alone");
    std::fs::read_to_string(file).unwrap().trim().to_owned()
}

#[tokio::test]
async fn up_makes_an_operator_and_keeps_it() {
    let up = Up::start(&["--fresh"]).await;
    let root = place::repository().join(".meridian").join(INSTANCE);
    assert_eq!(up.password_file(), root.join("operator"));
    let first = password(&up.password_file());
    assert_eq!(roles(up.shop(), &first).await, [Role::Customer, Role::Operator]);
    assert!(xtask("status").stdout(Stdio::null()).status().await.unwrap().success());
    up.stop().await;

    let up = Up::start(&[]).await;
    assert_eq!(password(&up.password_file()), first);
    assert_eq!(roles(up.shop(), &first).await, [Role::Customer, Role::Operator]);
    up.stop().await;
    Layout::create(&root, ServiceUser::for_databases().unwrap().as_ref()).unwrap().remove().unwrap();
}

#[tokio::test]
async fn having_the_operators_e_mail_makes_nobody_an_operator() {
    let store = Store::start("operator", &Options::SMALL).await;
    let (shop, entropy) = (store.sites.addresses.shop.as_str(), Entropy::system());
    let email: EmailAddress = EMAIL.parse().unwrap();
    Shopper::guest(shop).await.sign_up(&email).await;

    let refused = operator::appoint(&store.system, "eu", &entropy).await.unwrap_err();
    let OperatorError::OtherPassword { password_file } = refused else { panic!("{refused}") };
    assert!(!password_file.exists(), "a password that opens nothing misleads");
    assert_eq!(roles(shop, PASSWORD).await, [Role::Customer]);

    std::fs::write(&password_file, format!("{PASSWORD}\n")).unwrap();
    let appointed = operator::appoint(&store.system, "eu", &entropy).await.unwrap();
    assert_eq!((appointed.email, &appointed.password_file), (EMAIL, &password_file));
    assert_eq!(roles(shop, &password(&password_file)).await, [Role::Customer, Role::Operator]);
}
