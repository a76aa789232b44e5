//! What belongs to one shopper reaches no other, whatever either writes into the address or the headers.

use futures::StreamExt as _;
use futures::stream;
use http::Method;
use tests::shopper::{PASSWORD, email};
use tests::{Answer, Client, Visitor, client, goods};

use crate::store::books;
use crate::through_both;

through_both! { no_answer_of_one_shopper_reaches_another }

/// Requests under way at once.
const AT_ONCE: usize = 6;

/// Every kind of address that shows, or could be taken to show, something of one's own.
fn paths(order: &str, slug: &str) -> Vec<String> {
    let fixed = [
        "/",
        "/about",
        "/search?q=mug",
        "/c/test-goods",
        "/cart",
        "/cart/count",
        "/checkout",
        "/orders",
        "/account",
        "/sign-in",
        "/sign-up",
        "/v1/cart",
        "/v1/account",
        "/v1/orders",
        "/v1/categories",
        "/v1/products?limit=2",
        "/v1/search?q=mug",
        "/v1/keys",
        "/nowhere",
    ];
    let own = [
        format!("/p/{slug}"),
        format!("/orders/{order}"),
        format!("/orders/{order}/status"),
        format!("/v1/orders/{order}"),
        format!("/v1/products/{slug}"),
    ];
    fixed.into_iter().map(str::to_owned).chain(own).collect()
}

/// The same address as a careless cache might read it.
fn spellings(path: &str) -> Vec<String> {
    let (bare, query) = path.split_once('?').map_or((path, String::new()), |(bare, query)| (bare, format!("?{query}")));
    let suffixes = [
        "",
        "/x.css",
        ".css",
        ";a",
        ";a.css",
        "%2e",
        "/%2e%2e/static/app.css",
        "//",
        "%0a",
        "%00",
        "/.",
        "?x=.css",
        "%3fx.css",
    ];
    let mut all: Vec<_> = suffixes.iter().map(|suffix| format!("{bare}{suffix}{query}")).collect();
    all.push(format!("/{path}"));
    all.push(format!("/static/..{path}"));
    all.push(format!("/p/..%2f{}", &bare[1..]));
    all.push(path.to_uppercase());
    all
}

/// Headers that a cache's key lacks or an origin may believe.
const HEADERS: &[(&str, &str)] = &[
    ("x-forwarded-for", "10.0.0.1"),
    ("x-forwarded-host", "other.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-prefix", "/account"),
    ("x-host", "other.example"),
    ("forwarded", "for=10.0.0.1;host=other.example"),
    ("x-real-ip", "10.0.0.1"),
    ("x-original-url", "/account"),
    ("x-rewrite-url", "/account"),
    ("x-http-method-override", "POST"),
    ("x-user-id", "1"),
    ("meridian-client-address", "10.0.0.1"),
    ("meridian-user", "1"),
    ("cf-connecting-ip", "10.0.0.1"),
    ("true-client-ip", "10.0.0.1"),
    ("accept", "application/json"),
    ("accept", "text/css"),
    ("accept-encoding", "identity"),
    ("accept-language", "xx"),
    ("cache-control", "no-cache"),
    ("pragma", "no-cache"),
    ("range", "bytes=0-99"),
    ("if-none-match", "*"),
    ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("sec-fetch-dest", "style"),
    ("purpose", "prefetch"),
    ("x-requested-with", "XMLHttpRequest"),
    ("origin", "https://other.example"),
    ("referer", "https://other.example/"),
    ("dnt", "1"),
];

/// A member with an order and a full basket, and every word that only he may see.
async fn member(origin: &str) -> (Visitor, String, Vec<String>) {
    let (visitor, email) = (Visitor::new(origin), email());
    let token = email.as_str().split('@').next().unwrap().to_owned();
    visitor.add(&goods::plenty()).await;
    let form = visitor.open("/sign-up").await.expect(200).form("/sign-up");
    let form = form.with("email", email.as_str()).with("password", PASSWORD).with("name", &format!("Canary {token}"));
    visitor.submit(&form).await.expect(200);
    let id = visitor.order(&visitor.checkout("tok_success").await.with("city", &format!("City of {token}"))).await;
    visitor.add(&goods::plenty()).await;
    let account: serde_json::Value = bearer(&visitor, "/v1/account").await.expect(200).json();
    let user = account["user_id"].as_str().unwrap().to_owned();
    let session = visitor.cookie("__Host-session").unwrap();
    (visitor, id.to_string(), vec![token, user, id.to_string(), session])
}

async fn bearer(visitor: &Visitor, path: &str) -> Answer {
    let token = visitor.cookie("__Host-session").unwrap();
    client::send(visitor.client.request(Method::GET, path).bearer_auth(token)).await
}

/// One address and header, asked for by the owner first and then by another and by nobody.
async fn asked_by_all(owner: &Visitor, other: &Visitor, path: &str, header: Option<(&str, &str)>) -> [Answer; 2] {
    let ask = |client: &Client, cookies: String, token: Option<String>| {
        let mut request = client.request(Method::GET, path).header("cookie", cookies);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        client::send(request)
    };
    let session = |visitor: &Visitor| visitor.cookie("__Host-session").unwrap();
    let cookies = |visitor: &Visitor| format!("__Host-session={}", session(visitor));
    let _own = ask(&owner.client, cookies(owner), Some(session(owner))).await;
    let others = ask(&other.client, cookies(other), Some(session(other))).await;
    [others, ask(&other.client, String::new(), None).await]
}

async fn no_answer_of_one_shopper_reaches_another(origin: &str) {
    let (owner, order, canaries) = member(origin).await;
    let other = Visitor::new(origin);
    other.add(&goods::plenty()).await;
    let paths = paths(&order, "test-plenty-3");
    let addresses = paths.iter().flat_map(|path| spellings(path)).map(|path| (path, None));
    let headers = paths.iter().flat_map(|path| HEADERS.iter().map(|header| (path.clone(), Some(*header))));
    let asked = stream::iter(addresses.chain(headers)).map(async |(path, header)| {
        let answers = asked_by_all(&owner, &other, &path, header).await;
        (path, header, answers)
    });
    let mut asked = std::pin::pin!(asked.buffer_unordered(AT_ONCE));
    let mut looked_at = 0;
    while let Some((path, header, answers)) = asked.next().await {
        for answer in answers {
            let text = format!("{:?}\n{}", answer.headers, answer.text());
            // An address that was asked for may be repeated in an answer to whoever asked.
            let shown = text.replace(&path, "");
            for canary in canaries.iter().filter(|canary| !path.contains(canary.as_str())) {
                assert!(!shown.contains(canary.as_str()), "{path} with {header:?} shows {canary}: {shown}");
            }
            assert!(!text.contains("City of"), "{path} with {header:?} shows an address: {text}");
            looked_at += 1;
        }
    }
    assert!(looked_at > 1_500, "only {looked_at} answers were looked at");
    let still = bearer(&owner, &format!("/v1/orders/{order}")).await.expect(200);
    assert!(still.text().contains(&canaries[0]), "the words that nobody else saw are those that the owner sees");
    assert_eq!(books().orders_of(canaries[1].parse().unwrap()).await.len(), 1, "all that asking changed nothing");
}
