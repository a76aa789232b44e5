//! Nobody gets in with a token that a core did not sign for this store and this hour.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use shared::ProblemKind;
use shared::token::KeySet;
use shared_clock::Clock;
use tests::{Client, Shopper, client};

use crate::store::{pop, worker};

/// A token's three parts, the first two read.
struct Parts {
    header: Value,
    claims: Value,
    signature: String,
}

impl Parts {
    fn of(token: &str) -> Self {
        let parts: Vec<_> = token.split('.').collect();
        let read = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        Self { header: read(parts[0]), claims: read(parts[1]), signature: parts[2].to_owned() }
    }

    fn signed(&self) -> String {
        let write = |part: &Value| URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).unwrap());
        format!("{}.{}", write(&self.header), write(&self.claims))
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> String {
        change(&mut self);
        format!("{}.{}", self.signed(), self.signature)
    }
}

/// Tokens that must not work, made from one that does.
fn forgeries(good: &str, other: &str, keys: &KeySet) -> Vec<(&'static str, String)> {
    let parts = || Parts::of(good);
    let now = Clock::system().unix_seconds();
    let foreign = Parts::of(other);
    vec![
        (
            "unsigned, and says so",
            parts().with(|parts| {
                parts.header["alg"] = json!("none");
                parts.signature = String::new();
            }),
        ),
        (
            "HS256 with the public key as the secret",
            parts().with(|parts| {
                parts.header["alg"] = json!("HS256");
                let key = keys.keys[0].bytes().unwrap();
                let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
                mac.update(parts.signed().as_bytes());
                parts.signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
            }),
        ),
        ("another user's id", parts().with(|parts| parts.claims["sub"] = foreign.claims["sub"].clone())),
        ("a role more", parts().with(|parts| parts.claims["roles"] = json!(["operator"]))),
        ("a longer life", parts().with(|parts| parts.claims["exp"] = json!(now + 800))),
        ("expired", parts().with(|parts| parts.claims["exp"] = json!(now - 120))),
        ("not valid yet", parts().with(|parts| parts.claims["nbf"] = json!(now + 3_600))),
        ("for another store", parts().with(|parts| parts.claims["aud"] = json!("another-store"))),
        ("an unknown key", parts().with(|parts| parts.header["kid"] = json!("nobody"))),
        ("a key by address", parts().with(|parts| parts.header["jku"] = json!("https://evil.example/keys"))),
        ("another token's signature", parts().with(|parts| parts.signature = foreign.signature.clone())),
        ("cut off", good[..good.len() - 4].to_owned()),
        ("too long", format!("{good}{}", "A".repeat(4_000))),
        ("no token", "x".to_owned()),
        ("nothing", String::new()),
    ]
}

#[tokio::test]
async fn a_token_that_no_core_signed_opens_nothing() {
    let (shopper, other) = (Shopper::guest(pop()).await, Shopper::guest(pop()).await);
    let keys: KeySet = shopper.get("/v1/keys").await.expect(200).json();
    assert_eq!(keys.keys.len(), 2, "each region has a key and everybody knows both");
    shopper.get("/v1/cart").await.expect(200);
    for (what, token) in forgeries(&shopper.tokens.access_token, &other.tokens.access_token, &keys) {
        for origin in [pop(), worker()] {
            let client = Client::new(origin);
            for (method, path) in [(Method::GET, "/v1/cart"), (Method::GET, "/v1/account"), (Method::GET, "/v1/orders")]
            {
                let answer = client::send(client.request(method, path).bearer_auth(&token)).await;
                assert_eq!(answer.status, 401, "{what} at {}: {}", answer.url, answer.text());
                assert!(answer.problem().is(ProblemKind::NotSignedIn), "{what}");
                assert!(answer.header("www-authenticate").is_some(), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn the_pages_treat_a_forged_session_as_none() {
    let (shopper, other) = (Shopper::guest(pop()).await, Shopper::guest(pop()).await);
    shopper.add(&tests::goods::plenty(), 3).await;
    let keys: KeySet = shopper.get("/v1/keys").await.expect(200).json();
    for origin in [pop(), worker()] {
        let client = Client::new(origin);
        let count = async |token: &str| {
            let request =
                client.request(Method::GET, "/cart/count").header("cookie", format!("__Host-session={token}"));
            client::send(request).await.expect(200).json::<Value>()["units"].as_u64()
        };
        assert_eq!(count(&shopper.tokens.access_token).await, Some(3), "the honest token works");
        for (what, token) in forgeries(&shopper.tokens.access_token, &other.tokens.access_token, &keys) {
            assert_eq!(count(&token).await, Some(0), "{what}");
        }
    }
}
