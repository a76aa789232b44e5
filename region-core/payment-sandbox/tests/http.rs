//! What the sandbox promises, over real HTTP to the real process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::StatusCode;
use serde_json::{Value, json};

/// A sandbox process on a free port.
struct Sandbox {
    process: Child,
    origin: String,
    client: reqwest::Client,
}

fn command(folder: &Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_payment-sandbox"));
    command.args(["--listen", listen, "--late-ms", "2500", "--silence-ms", "60000"]).arg("--data-dir").arg(folder);
    command.stderr(Stdio::piped());
    command
}

impl Sandbox {
    fn start(folder: &Path) -> Self {
        let mut process = command(folder, "127.0.0.1:0").spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = log.find_map(|line| {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            line["fields"]["listen.address"].as_str().map(str::to_owned)
        });
        // The rest of its log is read and dropped, so that it never waits for us.
        std::thread::spawn(move || log.for_each(drop));
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
        Self { process, origin: format!("http://{}", address.unwrap()), client }
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.origin))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.client.get(format!("{}{path}", self.origin))).await
    }

    /// Creates a payment and gives its reference.
    async fn create(&self, merchant_reference: &str, token: &str) -> String {
        let body = json!({
            "merchant_reference": merchant_reference, "payment_token": token,
            "amount": { "minor": 1250, "currency": "GBP" },
        });
        let (status, payment) = answer(self.post("/v1/payments").json(&body)).await;
        assert_eq!(status, StatusCode::CREATED, "{payment}");
        payment["reference"].as_str().unwrap().to_owned()
    }

    async fn act(&self, reference: &str, what: &str) -> (StatusCode, Value) {
        answer(self.post(&format!("/v1/payments/{reference}/{what}"))).await
    }

    async fn status(&self, reference: &str) -> Value {
        self.get(&format!("/v1/payments/{reference}")).await.1["status"].clone()
    }

    /// (kind, minor units) of every movement.
    async fn movements(&self) -> Vec<(String, i64)> {
        let (_, log) = self.get("/v1/log").await;
        let movements = log["movements"].as_array().unwrap();
        movements
            .iter()
            .map(|movement| {
                (movement["kind"].as_str().unwrap().to_owned(), movement["amount"]["minor"].as_i64().unwrap())
            })
            .collect()
    }

    fn signal(&mut self, signal: Signal) -> std::process::ExitStatus {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let bytes = response.bytes().await.unwrap();
    (status, if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() })
}

/// Sends a request whose effect shows and which is not answered, and gives it up.
async fn unanswered(request: reqwest::RequestBuilder, shows: impl AsyncFn() -> bool) {
    let mut sending = std::pin::pin!(request.timeout(Duration::from_secs(50)).send());
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while !shows().await {
        tokio::select! {
            ended = &mut sending => panic!("it ended without effect: {ended:?}"),
            _ = looks.tick() => {}
        }
    }
    assert!(tokio::time::timeout(Duration::from_millis(300), sending).await.is_err(), "it was answered");
}

#[tokio::test]
async fn a_payment_is_authorized_captured_once_and_refunded_up_to_its_amount() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path());
    let reference = sandbox.create("order-1", "tok_success").await;
    assert_eq!(sandbox.create("order-1", "tok_success").await, reference, "one reference named two payments");
    assert_eq!(sandbox.act(&reference, "capture").await.0, StatusCode::CONFLICT, "captured without authorization");
    sandbox.act(&reference, "authorize").await;
    let captures = ten_captures_at_once(&sandbox, &reference).await;
    assert!(captures.iter().all(|(status, payment)| *status == StatusCode::OK && payment["captured_minor"] == 1250));
    assert_eq!(sandbox.movements().await, [("capture".to_owned(), 1250)]);

    let refund = |key: &'static str, minor: i64| {
        let request = sandbox.post(&format!("/v1/payments/{reference}/refund")).json(&json!({ "amount_minor": minor }));
        answer(request.header("idempotency-key", key))
    };
    assert_eq!(refund("r1", 1000).await.0, StatusCode::OK);
    assert_eq!(refund("r1", 1000).await.1["refunded_minor"], 1000);
    assert_eq!(refund("r1", 900).await.0, StatusCode::UNPROCESSABLE_ENTITY, "one key for two refunds");
    assert_eq!(refund("r2", 251).await.0, StatusCode::UNPROCESSABLE_ENTITY, "more than was captured");
    assert_eq!(refund("r3", 250).await.1["status"], "refunded");
    let keyless = sandbox.post(&format!("/v1/payments/{reference}/refund")).json(&json!({ "amount_minor": 1 }));
    assert_eq!(answer(keyless).await.0, StatusCode::BAD_REQUEST);
    let moved = [("capture", 1250), ("refund", 1000), ("refund", 250)].map(|(kind, minor)| (kind.to_owned(), minor));
    assert_eq!(sandbox.movements().await, moved);
}

/// What each of ten captures at once was answered.
async fn ten_captures_at_once(sandbox: &Sandbox, reference: &str) -> Vec<(StatusCode, Value)> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        tasks.spawn(answer(sandbox.post(&format!("/v1/payments/{reference}/capture"))));
    }
    tasks.join_all().await
}

#[tokio::test]
async fn each_test_token_does_what_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path());
    let declined = sandbox.create("declined", "tok_decline").await;
    let (_, payment) = sandbox.act(&declined, "authorize").await;
    assert_eq!((&payment["status"], &payment["decline_reason"]), (&json!("declined"), &json!("the card was declined")));

    let asked = sandbox.create("asked", "tok_challenge").await;
    let (_, payment) = sandbox.act(&asked, "authorize").await;
    assert_eq!(payment["status"], "challenge_required");
    let body = json!({ "challenge_id": payment["challenge_id"], "passed": true });
    let (_, payment) = answer(sandbox.post(&format!("/v1/payments/{asked}/challenge")).json(&body)).await;
    assert_eq!(payment["status"], "authorized");

    let silent = sandbox.create("silent", "tok_timeout").await;
    let first = sandbox.post(&format!("/v1/payments/{silent}/authorize"));
    unanswered(first, async || sandbox.status(&silent).await == "authorized").await;
    assert_eq!(sandbox.act(&silent, "authorize").await.1["status"], "authorized", "silent for ever");

    let late = sandbox.create("late", "tok_late").await;
    let hasty = sandbox.post(&format!("/v1/payments/{late}/authorize")).timeout(Duration::from_millis(20)).send().await;
    assert!(hasty.unwrap_err().is_timeout());
    assert_eq!(sandbox.status(&late).await, "created", "not late at all");
    let patient = sandbox.act(&late, "authorize").await;
    assert_eq!(patient.1["status"], "authorized");
}

#[tokio::test]
async fn a_killed_sandbox_remembers_everything_it_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut sandbox = Sandbox::start(folder.path());
    let reference = sandbox.create("order-1", "tok_success").await;
    sandbox.act(&reference, "authorize").await;
    let key = ("idempotency-key", "capture-1");
    let capture =
        |sandbox: &Sandbox| answer(sandbox.post(&format!("/v1/payments/{reference}/capture")).header(key.0, key.1));
    let first = capture(&sandbox).await;
    sandbox.signal(Signal::SIGKILL);

    let sandbox = Sandbox::start(folder.path());
    assert_eq!(capture(&sandbox).await, first, "the key's first answer was forgotten");
    assert_eq!(sandbox.movements().await, [("capture".to_owned(), 1250)]);
    assert_eq!(sandbox.get("/v1/payments?reference=order-1").await.1["status"], "captured");
}

#[tokio::test]
async fn lost_answers_and_errors_come_on_demand_with_their_effects() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path());
    let reference = sandbox.create("order-1", "tok_success").await;
    let control = async |faults: Value| answer(sandbox.post("/control").json(&faults)).await.0;
    assert_eq!(control(json!({ "fail_before": 1.0 })).await, StatusCode::NO_CONTENT);
    assert_eq!(sandbox.act(&reference, "authorize").await.0, StatusCode::SERVICE_UNAVAILABLE);
    control(json!({})).await;
    assert_eq!(sandbox.status(&reference).await, "created", "refused unheard, and yet done");
    control(json!({ "fail_after": 1.0 })).await;
    assert_eq!(sandbox.act(&reference, "authorize").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    control(json!({ "drop_answer": 1.0 })).await;
    let lost = sandbox.post(&format!("/v1/payments/{reference}/capture")).timeout(Duration::from_secs(3));
    assert!(lost.send().await.unwrap_err().is_timeout());
    control(json!({})).await;
    assert_eq!(sandbox.movements().await, [("capture".to_owned(), 1250)]);
    assert_eq!(control(json!({ "fail_before": 2 })).await, StatusCode::BAD_REQUEST);
    assert_eq!(control(json!({ "unknown": 1 })).await, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_sandbox_that_forgets_its_keys_takes_a_repeat_for_something_new_until_it_reads_its_log_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut sandbox = Sandbox::start(folder.path());
    let reference = sandbox.create("order-1", "tok_success").await;
    sandbox.act(&reference, "authorize").await;
    sandbox.act(&reference, "capture").await;
    let refund = async |sandbox: &Sandbox| {
        let request = sandbox.post(&format!("/v1/payments/{reference}/refund")).json(&json!({ "amount_minor": 500 }));
        answer(request.header("idempotency-key", "r1")).await.1["refunded_minor"].clone()
    };
    assert_eq!((refund(&sandbox).await, refund(&sandbox).await), (json!(500), json!(500)));
    assert_eq!(answer(sandbox.post("/control/forget-keys")).await.0, StatusCode::NO_CONTENT);
    assert_eq!(refund(&sandbox).await, json!(1000), "the key was not forgotten");
    assert_eq!(
        sandbox.create("order-1", "tok_success").await,
        reference,
        "a reference is no key, and is not forgotten"
    );
    sandbox.signal(Signal::SIGKILL);

    let sandbox = Sandbox::start(folder.path());
    assert_eq!(refund(&sandbox).await, json!(1000));
    let moved = [("capture", 1250), ("refund", 500), ("refund", 500)].map(|(kind, minor)| (kind.to_owned(), minor));
    assert_eq!(sandbox.movements().await, moved);
}

#[tokio::test]
async fn bad_requests_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path());
    let create = async |body: Value| answer(sandbox.post("/v1/payments").json(&body)).await;
    let with = |minor: i64, token: &str| json!({ "merchant_reference": "o", "payment_token": token, "amount": { "minor": minor, "currency": "GBP" } });
    assert_eq!(create(with(0, "tok_success")).await.1["error"]["code"], "amount");
    assert_eq!(create(with(5, "tok_gold")).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(create(with(5, &"x".repeat(20_000))).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    create(with(5, "tok_success")).await;
    assert_eq!(create(with(6, "tok_success")).await.1["error"]["code"], "reference_reused");
    assert_eq!(sandbox.act("pay_nobody", "capture").await.0, StatusCode::NOT_FOUND);
    assert_eq!(sandbox.get("/v1/payments?reference=nobody").await.0, StatusCode::NOT_FOUND);
    let ready = sandbox.client.get(format!("{}/ready", sandbox.origin)).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
    let metrics = sandbox.client.get(format!("{}/metrics", sandbox.origin)).send().await.unwrap();
    assert!(metrics.text().await.unwrap().contains("sandbox_payments 1"));
}

#[tokio::test]
async fn the_process_ends_when_asked_and_says_why_it_cannot_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut sandbox = Sandbox::start(folder.path());
    let failure = |listen: &str, folder: &Path| {
        let output = command(folder, listen).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let taken = sandbox.origin.strip_prefix("http://").unwrap().to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(failure(&taken, elsewhere.path()).contains("in use"), "a used port");
    assert!(failure("127.0.0.1:0", folder.path()).contains("another sandbox uses it"), "a used log");
    assert!(failure("0.0.0.0:0", elsewhere.path()).contains("only loopback"), "an open door");

    let silent = sandbox.create("silent", "tok_timeout").await;
    let waiting = tokio::spawn(sandbox.post(&format!("/v1/payments/{silent}/authorize")).send());
    while sandbox.status(&silent).await != "authorized" {}
    assert!(sandbox.signal(Signal::SIGTERM).success());
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::OK, "a request under way was cut off");
}

#[tokio::test]
async fn a_cardholder_pays_on_our_page_and_is_led_back_only_to_where_the_merchant_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut sandbox = Sandbox::start(folder.path());
    sandbox.client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let back = "http://127.0.0.1:7100/orders/1?a=1&b=2";
    let create = |return_url: Value| {
        let amount = json!({ "minor": 1250, "currency": "GBP" });
        let body = json!({
            "merchant_reference": "order-1", "payment_token": "tok_hosted", "amount": amount, "return_url": return_url,
        });
        answer(sandbox.post("/v1/payments").json(&body))
    };
    for bad in [json!(null), json!("javascript:alert(1)"), json!("https://a;b"), json!("//shop.example")] {
        assert_eq!(create(bad).await.0, StatusCode::BAD_REQUEST);
    }
    let (_, payment) = create(json!(back)).await;
    assert_eq!(payment["next_action"], Value::Null, "nothing was asked yet");
    let reference = payment["reference"].as_str().unwrap().to_owned();
    let (_, asked) = sandbox.act(&reference, "authorize").await;
    let page = asked["next_action"].as_str().unwrap().to_owned();
    assert_eq!(page, format!("{}/hosted/{reference}", sandbox.origin));

    let shown = sandbox.client.get(&page).send().await.unwrap();
    let policy = shown.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("form-action 'self' http://127.0.0.1:7100;"), "{policy}");
    assert!(shown.text().await.unwrap().contains("Pay £12.50"));
    let press = |choice: &str| {
        let form = ("content-type", "application/x-www-form-urlencoded");
        // A page of somebody else's does not choose where it leads.
        let body = format!("choice={choice}&return_url=https%3A%2F%2Fevil.example%2F");
        sandbox.client.post(&page).header(form.0, form.1).body(body).send()
    };
    let led = |answer: reqwest::Response| (answer.status().as_u16(), answer.headers().get("location").cloned());
    let to_shop = Some(reqwest::header::HeaderValue::from_static(back));
    assert_eq!(led(press("cancel").await.unwrap()), (303, to_shop.clone()));
    assert_eq!(sandbox.status(&reference).await, "challenge_required");
    for _ in 0..2 {
        assert_eq!(led(press("pay").await.unwrap()), (303, to_shop.clone()), "pressed twice");
    }
    assert_eq!(sandbox.status(&reference).await, "approved", "nothing is kept ready before the merchant asks");
    assert_eq!(press("decline").await.unwrap().status(), StatusCode::CONFLICT);
    assert_eq!(sandbox.act(&reference, "authorize").await.1["status"], "authorized");
    let over = sandbox.client.get(&page).send().await.unwrap().text().await.unwrap();
    assert!(over.contains("You have paid.") && over.contains("/orders/1?a=1&amp;b=2"), "{over}");
    let other = sandbox.create("order-2", "tok_challenge").await;
    sandbox.act(&other, "authorize").await;
    let none = sandbox.client.get(format!("{}/hosted/{other}", sandbox.origin)).send().await.unwrap();
    assert_eq!(none.status(), StatusCode::NOT_FOUND);
    assert!(sandbox.movements().await.is_empty());
}
