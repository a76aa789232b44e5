//! A browser that is told what becomes of an order, by a push service on this machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tests::visitor::Form;
use tests::{Visitor, goods, until};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::through_both;

/// How long a message may take: the bus is looked at once a second.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);
/// A browser's keys: those of RFC 8291 section 5.
const P256DH: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

through_both! {
    a_browser_is_told_of_the_order_whose_button_was_pressed
}

/// The headers of a message, and its size.
type Seen = (BTreeMap<String, String>, usize);

/// A push service that takes everything.
async fn push_service() -> (String, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/p/1", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::default());
    let own = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take(stream, Arc::clone(&own)));
        }
    });
    (url, seen)
}

async fn take(stream: TcpStream, all: Arc<Mutex<Vec<Seen>>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut headers) = (String::new(), BTreeMap::new());
    stream.read_line(&mut line).await.ok()?;
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    all.lock().unwrap().push((headers, body.len()));
    stream.write_all(b"HTTP/1.1 201 Taken\r\ncontent-length: 0\r\n\r\n").await.ok()?;
    stream.shutdown().await.ok()
}

async fn a_browser_is_told_of_the_order_whose_button_was_pressed(origin: &str) {
    let (endpoint, seen) = push_service().await;
    let visitor = Visitor::new(origin);
    let script = visitor.open("/push.js").await.expect(200);
    assert_eq!(script.answer.header("content-type"), Some("text/javascript; charset=utf-8"));
    visitor.add(&goods::plenty()).await;
    let order = visitor.order(&visitor.checkout("tok_challenge").await).await;
    let page = visitor.open(&format!("/orders/{order}")).await.expect(200);
    let key = page.attributes("form[data-push]", "data-push").remove(0);
    let browser = |fields: &[(&str, &str)]| {
        let mut form = Form::post(&format!("/orders/{order}/push"));
        form.fields.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        form
    };
    let here = browser(&[("endpoint", &endpoint), ("p256dh", P256DH), ("auth", AUTH)]);
    for _ in 0..2 {
        visitor.submit(&here).await.expect(200);
    }
    visitor.submit(&Form::post(&format!("/orders/{order}/cancel"))).await.expect(200);
    let told = async || seen.lock().unwrap().first().cloned();
    let (headers, bytes) = until("the browser is told", ARRIVES_WITHIN, told).await;
    assert!(headers["authorization"].ends_with(&format!(", k={key}")), "{headers:?}");
    assert_eq!((headers["content-encoding"].as_str(), headers["urgency"].as_str()), ("aes128gcm", "normal"));
    assert!((100..1000).contains(&bytes), "{bytes}");
    visitor.submit(&browser(&[("off", "yes")])).await.expect(200);
}
