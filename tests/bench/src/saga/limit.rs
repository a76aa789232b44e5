//! What no store could do better here: one flush after the other on the shard's own disk, one answer of the payment
//! provider after the other, with nothing else going on.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use crate::books;
use crate::samples::{count, micros, percentiles_ms, ratio};
use crate::whole_way::door::{Answered, Asked, Door};
use crate::whole_way::site::Site;

/// How long flushes are counted.
const FLUSHES: Duration = Duration::from_secs(1);
/// Payments that the provider is asked about.
const PAYMENTS: u32 = 50;
/// Commits of an order that wait for each other, up to the one that confirms it: the order, its payment, the provider's
/// reference, the authorization, the claim of its units, the wish to capture, the captured money.
const COMMITS: f64 = 7.0;

/// The limit.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Limit {
    /// Commits of one row, one after the other, on the shard's server.
    pub(crate) commits_per_s: f64,
    /// The middle one of them.
    pub(crate) commit_ms: f64,
    /// The middle one of the provider's three answers that an order needs, taken together.
    pub(crate) provider_ms: f64,
    /// An order's commits and answers, one after the other.
    pub(crate) confirmed_ms: f64,
}

impl Limit {
    /// Measured on a store that is at rest.
    pub(crate) async fn of(site: &Site) -> anyhow::Result<Self> {
        let server = site.servers().next().context("a store without a shard")?;
        let commits = books::commits_one_by_one(server, FLUSHES).await?;
        let took = Duration::from_micros(commits.iter().sum());
        let commits_per_s = ratio(count(commits.len()), took.as_secs_f64());
        let [commit_ms, _] = percentiles_ms(commits);
        let [provider_ms, _] = percentiles_ms(answers(site.provider()).await?);
        Ok(Self { commits_per_s, commit_ms, provider_ms, confirmed_ms: COMMITS * commit_ms + provider_ms })
    }
}

impl Display for Limit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { commits_per_s, commit_ms, provider_ms, confirmed_ms } = self;
        write!(
            f,
            "{commits_per_s:.0} commits/s of one client, {commit_ms:.2} ms each; {provider_ms:.2} ms of the provider; "
        )?;
        write!(f, "{confirmed_ms:.1} ms of both until an order could be confirmed")
    }
}

#[derive(Deserialize)]
struct Known {
    reference: String,
}

/// What the provider takes for three answers about one payment, in microseconds. The last lets the amount go instead of
/// capturing it, which costs it the same and moves no money that no order is for.
async fn answers(provider: &str) -> anyhow::Result<Vec<u64>> {
    let (mut door, mut took) = (Door::open(provider).await?, Vec::new());
    for number in 0..PAYMENTS {
        let body = json!({
            "merchant_reference": format!("limit-{number}"), "payment_token": "tok_success",
            "amount": { "minor": 1_999, "currency": "GBP" },
        });
        let begun = Instant::now();
        let created = ask(&mut door, "/v1/payments", Bytes::from(body.to_string())).await?;
        let Known { reference } = serde_json::from_slice(&created.body).context("a payment out of shape")?;
        for step in ["authorize", "void"] {
            ask(&mut door, &format!("/v1/payments/{reference}/{step}"), Bytes::new()).await?;
        }
        took.push(micros(begun.elapsed()));
    }
    Ok(took)
}

async fn ask(door: &mut Door, path: &str, body: Bytes) -> anyhow::Result<Answered> {
    let answer = door.ask(Method::POST, path, Asked { body, ..Asked::default() }).await?;
    ensure!(answer.status.is_success(), "{path}: {}", String::from_utf8_lossy(&answer.body));
    Ok(answer)
}
