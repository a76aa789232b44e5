//! A fake of Stripe as a process of its own, on loopback.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use region_core_payment::provider::{NewPayment, Provider, ProviderPayment};
use region_core_payment::{Account, Deadlines, Stripe};
use secrecy::SecretString;
use serde_json::Value;
use shared::id::Slot;
use shared::{Currency, Money, PaymentId};
use shared_clock::Entropy;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const KEY: &str = "sk_test_meridian";
/// The secret of every webhook endpoint here.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_of_the_tests";
/// How long it may take to start: Python reads Stripe's whole specification.
const STARTS_WITHIN: Duration = Duration::from_secs(120);

/// Runs until it is dropped. It ends itself when its standard input does, so that it cannot outlive this program.
pub(crate) struct Fake {
    _child: Child,
    origin: String,
    client: reqwest::Client,
}

/// One private account at a fake.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) base: String,
    client: reqwest::Client,
}

impl Fake {
    pub(crate) async fn start(launcher: &OsStr) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(launcher);
        command.arg(port.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let started = async {
            let mut said = Vec::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.to_lowercase().contains("running on http") {
                    return;
                }
                said.push(line);
            }
            panic!("{} ended: {}", launcher.display(), said.join("\n"));
        };
        tokio::time::timeout(STARTS_WITHIN, started).await.unwrap();
        // It must never wait for somebody to read what it says.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { _child: child, origin: format!("http://127.0.0.1:{port}"), client: reqwest::Client::new() }
    }

    /// An account of its own, where the fake has accounts.
    pub(crate) async fn world(&self) -> World {
        let name = hex::encode(Entropy::system().bytes::<8>());
        let base = format!("{}/worlds/{name}", self.origin);
        let made = self.client.put(&base).send().await.unwrap();
        assert!(made.status().is_success(), "{}", made.status());
        World { base, client: self.client.clone() }
    }

    /// The only account, where the fake has none.
    pub(crate) fn whole(&self) -> World {
        World { base: self.origin.clone(), client: self.client.clone() }
    }
}

impl World {
    /// The adapter under test, reaching the account at `base`.
    pub(crate) fn stripe_at(base: &str) -> Stripe {
        Self::stripe_within(base, Duration::from_secs(30))
    }

    /// The same, in no more time than that for each call.
    pub(crate) fn stripe_within(base: &str, total: Duration) -> Stripe {
        let secret = |text: &str| SecretString::from(text.to_owned());
        let account = Account {
            url: base.to_owned(),
            secret_key: secret(KEY),
            webhook_secrets: vec![secret("whsec_of_last_year"), secret(WEBHOOK_SECRET)],
        };
        Stripe::within(&account, Deadlines { connect: Duration::from_secs(5), total }).unwrap()
    }

    pub(crate) fn stripe(&self) -> Stripe {
        Self::stripe_at(&self.base)
    }

    /// Whatever the adapter has no use for.
    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.client.post(format!("{}{path}", self.base)).bearer_auth(KEY).body(body);
        let form = "application/x-www-form-urlencoded";
        let answer = request.header("content-type", form).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(format!("{}{path}", self.base)).bearer_auth(KEY).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// A PaymentMethod made of one of Stripe's test tokens, as its page would have made one.
    pub(crate) async fn card(&self, token: &str) -> String {
        let made = self.post("/v1/payment_methods", &[("type", "card"), ("card[token]", token)]).await;
        made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    /// How many charges succeeded, and minor units of all of them.
    pub(crate) async fn charged(&self) -> (usize, i64) {
        let list = self.get("/v1/charges?limit=100").await;
        let charges = list["data"].as_array().unwrap().iter().filter(|charge| charge["captured"] == true);
        let amounts: Vec<_> = charges.map(|charge| charge["amount_captured"].as_i64().unwrap()).collect();
        (amounts.len(), amounts.iter().sum())
    }
}

pub(crate) fn pounds(minor: i64) -> Money {
    Money::new(minor, Currency::GBP).unwrap()
}

pub(crate) fn payment_id() -> PaymentId {
    PaymentId::mint(1_800_000_000_000, Slot::new(9).unwrap(), Entropy::system().bytes())
}

/// Creates a payment of 12.50 and has the amount kept ready.
pub(crate) async fn authorized(stripe: &Stripe, card: &str) -> ProviderPayment {
    let payment_id = payment_id();
    let new = NewPayment { payment_id, amount: pounds(1250), payment_token: card, return_url: None };
    let created = stripe.create(new, &format!("{payment_id}:create")).await.unwrap();
    stripe.authorize(&created.reference, &format!("{payment_id}:authorize")).await.unwrap()
}
