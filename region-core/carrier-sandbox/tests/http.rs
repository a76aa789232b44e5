//! What the sandbox promises, over real HTTP to the real process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

/// A sandbox process on a free port.
struct Sandbox {
    process: Child,
    origin: String,
    client: reqwest::Client,
}

impl Sandbox {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carrier-sandbox"));
        command.args(["--listen", "127.0.0.1:0", "--step-seconds", "0"]).arg("--data-dir").arg(folder);
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
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

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = self.client.post(format!("{}{path}", self.origin)).basic_auth("key", Some(""));
        answer(request.json(body)).await
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.client.get(format!("{}{path}", self.origin)).basic_auth("key", Some(""))).await
    }

    async fn create(&self, reference: &str) -> Value {
        let address = json!({ "name": "Ada", "street1": "1 Quay", "city": "Hull", "country": "GB" });
        let shipment = json!({
            "reference": reference, "to_address": address, "from_address": address, "parcel": { "weight": 17.7 },
        });
        let (status, created) = self.post("/v2/shipments", &json!({ "shipment": shipment })).await;
        assert_eq!(status, StatusCode::CREATED, "{created}");
        created
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
    (response.status(), serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

#[tokio::test]
async fn a_label_is_sold_once_printed_and_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path());
    let created = sandbox.create("ours").await;
    let id = created["id"].as_str().unwrap().to_owned();
    let rate = json!({ "rate": { "id": created["rates"][1]["id"] } });
    let (status, bought) = sandbox.post(&format!("/v2/shipments/{id}/buy"), &rate).await;
    assert_eq!(
        (status, &bought["selected_rate"]["rate"], &bought["tracker"]["status"]),
        (StatusCode::OK, &json!("4.45"), &json!("pre_transit"))
    );
    let (status, refused) = sandbox.post(&format!("/v2/shipments/{id}/buy"), &rate).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("SHIPMENT.POSTAGE.EXISTS"))
    );
    let label = bought["postage_label"]["label_url"].as_str().unwrap();
    let pdf = sandbox.client.get(label).send().await.unwrap().bytes().await.unwrap();
    assert!(pdf.starts_with(b"%PDF-"));
    // Killed, without warning; then everything that was answered is there.
    drop(sandbox);
    let sandbox = Sandbox::start(folder.path());
    let (_, again) = sandbox.get("/v2/shipments/ours").await;
    assert_eq!((&again["id"], &again["tracking_code"]), (&bought["id"], &bought["tracking_code"]));
}

#[tokio::test]
async fn a_parcel_goes_its_way_and_its_label_is_taken_back_only_before() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path());
    let mut codes = Vec::new();
    for reference in ["stays", "goes"] {
        let created = sandbox.create(reference).await;
        let buy = format!("/v2/shipments/{}/buy", created["id"].as_str().unwrap());
        let (_, bought) = sandbox.post(&buy, &json!({ "rate": { "id": created["rates"][0]["id"] } })).await;
        codes.push(bought["tracking_code"].as_str().unwrap().to_owned());
    }
    let (_, refunded) = sandbox.post("/v2/shipments/stays/refund", &json!({})).await;
    assert_eq!(refunded["refund_status"], "refunded");
    let (_, handed_in) = sandbox.post("/control/go-on", &json!({ "parcel": codes[0] })).await;
    assert_eq!(handed_in["status"], "in_transit", "whoever hands it in all the same has it carried");
    for way in ["in_transit", "out_for_delivery", "delivered", "delivered"] {
        let (_, tracker) = sandbox.post("/control/go-on", &json!({ "parcel": codes[1] })).await;
        assert_eq!(tracker["status"], way);
    }
    let (status, _) = sandbox.post("/v2/shipments/goes/refund", &json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (_, log) = sandbox.get("/log").await;
    let refunded: Vec<_> = log["labels"].as_array().unwrap().iter().map(|label| &label["refunded"]).collect();
    assert_eq!(refunded, [&json!(true), &json!(false)]);
}

#[tokio::test]
async fn nobody_buys_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path());
    let (status, _) = answer(sandbox.client.get(format!("{}/v2/shipments/x", sandbox.origin))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let refused = Command::new(env!("CARGO_BIN_EXE_carrier-sandbox"))
        .args(["--listen", "0.0.0.0:0"])
        .arg("--data-dir")
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("loopback"));
}
