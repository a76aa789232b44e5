//! A browser's part in a test: keeps cookies, names itself in `Origin`, follows nothing by itself.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, reason = "each test takes a part of it")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::Router;
use axum::body::Body;
use edge_app::ClientAddress;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use scraper::{Html, Selector};
use tower::ServiceExt;

pub const HOST: &str = "shop.example";

pub struct Browser {
    router: Router,
    pub cookies: BTreeMap<String, String>,
}

pub struct Seen {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn cache_status(&self) -> &str {
        self.header("cache-status")
    }

    pub fn location(&self) -> &str {
        self.header("location")
    }

    pub fn page(&self) -> Html {
        Html::parse_document(&self.body)
    }

    pub fn text(&self, selector: &str) -> String {
        let page = self.page();
        let found = page.select(&Selector::parse(selector).unwrap()).next();
        found.map(|one| one.text().collect::<String>().trim().to_owned()).unwrap_or_default()
    }

    /// Fields of the form with that action, as a browser would send them untouched.
    pub fn form(&self, action: &str) -> Vec<(String, String)> {
        let page = self.page();
        let form = page.select(&Selector::parse(&format!("form[action='{action}']")).unwrap()).next().expect("a form");
        let mut fields = Vec::new();
        for input in form.select(&Selector::parse("input[name]").unwrap()) {
            let chosen = !matches!(input.attr("type"), Some("radio" | "checkbox")) || input.attr("checked").is_some();
            if chosen {
                fields.push((input.attr("name").unwrap().to_owned(), input.attr("value").unwrap_or("").to_owned()));
            }
        }
        for select in form.select(&Selector::parse("select[name]").unwrap()) {
            let marked = select.select(&Selector::parse("option[selected]").unwrap()).next();
            let first = select.select(&Selector::parse("option").unwrap()).next();
            let value = marked.or(first).unwrap().attr("value").unwrap();
            fields.push((select.attr("name").unwrap().to_owned(), value.to_owned()));
        }
        fields
    }
}

pub fn with(mut fields: Vec<(String, String)>, changes: &[(&str, &str)]) -> Vec<(String, String)> {
    for (name, value) in changes {
        fields.retain(|(own, _)| own != name);
        fields.push(((*name).to_owned(), (*value).to_owned()));
    }
    fields
}

impl Browser {
    pub fn new(router: &Router) -> Self {
        Self { router: router.clone(), cookies: BTreeMap::new() }
    }

    pub async fn get(&mut self, path: &str) -> Seen {
        self.send(Request::get(path).header("host", HOST).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&mut self, path: &str, fields: &[(String, String)]) -> Seen {
        let body = serde_urlencoded::to_string(fields).unwrap();
        let request = Request::post(path)
            .header("host", HOST)
            .header("origin", format!("https://{HOST}"))
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    pub async fn post_pairs(&mut self, path: &str, fields: &[(&str, &str)]) -> Seen {
        let fields: Vec<_> = fields.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        self.post(path, &fields).await
    }

    pub async fn send(&mut self, mut request: Request<Body>) -> Seen {
        let jar: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !jar.is_empty() {
            request.headers_mut().insert("cookie", jar.join("; ").parse().unwrap());
        }
        request.extensions_mut().insert(ClientAddress(IpAddr::from([203, 0, 113, 7])));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        for cookie in parts.headers.get_all("set-cookie") {
            let (pair, rest) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let bytes = body.collect().await.unwrap().to_bytes();
        Seen { status: parts.status, headers: parts.headers, body: String::from_utf8(bytes.to_vec()).unwrap() }
    }
}
