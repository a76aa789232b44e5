//! Somebody who uses the pages with a browser that has cookies and no JavaScript.

use std::collections::BTreeMap;
use std::sync::Mutex;

use http::Method;
use scraper::{ElementRef, Html, Selector};
use shared::{OrderId, Sku};

use crate::client::{self, Answer, Client};
use crate::events::Events;
use crate::shopper;

/// Most redirects in a row.
const MOST_REDIRECTS: usize = 5;

/// A browser without JavaScript.
#[derive(Debug)]
pub struct Visitor {
    /// From where.
    pub client: Client,
    cookies: Mutex<BTreeMap<String, String>>,
}

/// A page, and where it was found after all redirects.
#[derive(Clone, Debug)]
pub struct Page {
    /// Path and query.
    pub path: String,
    /// The answer.
    pub answer: Answer,
}

/// A form of a page, filled in as the server sent it.
#[derive(Clone, Debug)]
pub struct Form {
    method: Method,
    action: String,
    /// Names and values, in the page's order.
    pub fields: Vec<(String, String)>,
}

impl Form {
    /// A form without fields.
    #[must_use]
    pub fn post(action: &str) -> Self {
        Self { method: Method::POST, action: action.to_owned(), fields: Vec::new() }
    }

    /// Where it goes.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }

    /// With another value in that field.
    ///
    /// # Panics
    /// If the form has no such field: a person could not fill it in either.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let field = self.fields.iter_mut().find(|(own, _)| own == name);
        field.unwrap_or_else(|| panic!("{} has no field {name}", self.action)).1 = value.to_owned();
        self
    }

    /// What a field holds.
    ///
    /// # Panics
    /// If the form has no such field.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        let field = self.fields.iter().find(|(own, _)| own == name);
        &field.unwrap_or_else(|| panic!("{} has no field {name}", self.action)).1
    }

    /// The body that a browser would send.
    ///
    /// # Panics
    /// Never: plain text can be written as a form.
    #[must_use]
    pub fn body(&self) -> String {
        let mut url = reqwest::Url::parse("http://form/").unwrap();
        url.query_pairs_mut().extend_pairs(&self.fields);
        url.query().unwrap_or_default().to_owned()
    }
}

impl Page {
    fn html(&self) -> Html {
        Html::parse_document(&self.answer.text())
    }

    /// The page, which must have this status.
    ///
    /// # Panics
    /// If it has another.
    pub fn expect(self, status: u16) -> Self {
        Self { answer: self.answer.expect(status), ..self }
    }

    /// The words of the page's elements that match, one string each.
    ///
    /// # Panics
    /// If `selector` is no CSS selector.
    #[must_use]
    pub fn texts(&self, selector: &str) -> Vec<String> {
        let words =
            |element: ElementRef<'_>| element.text().flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
        self.html().select(&Selector::parse(selector).unwrap()).map(words).collect()
    }

    /// An attribute of the page's elements that match.
    ///
    /// # Panics
    /// If `selector` is no CSS selector.
    #[must_use]
    pub fn attributes(&self, selector: &str, name: &str) -> Vec<String> {
        let (html, selector) = (self.html(), Selector::parse(selector).unwrap());
        html.select(&selector).filter_map(|element| element.attr(name)).map(str::to_owned).collect()
    }

    /// All forms, in the page's order.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn forms(&self) -> Vec<Form> {
        self.html().select(&Selector::parse("form").unwrap()).map(read_form).collect()
    }

    /// The first form that goes to `action`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn form(&self, action: &str) -> Form {
        self.find_form(action, &[])
            .unwrap_or_else(|| panic!("{} has no form to {action}: {}", self.path, self.answer.text()))
    }

    /// The form that goes to `action` and holds that hidden value.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn form_holding(&self, action: &str, name: &str, value: &str) -> Form {
        let form = self.find_form(action, &[(name, value)]);
        form.unwrap_or_else(|| panic!("{} has no form to {action} with {name}={value}", self.path))
    }

    fn find_form(&self, action: &str, holding: &[(&str, &str)]) -> Option<Form> {
        let holds = |form: &Form| {
            holding.iter().all(|(name, value)| form.fields.iter().any(|(own, has)| own == name && has == value))
        };
        self.forms().into_iter().find(|form| form.action == action && holds(form))
    }
}

fn read_form(form: ElementRef<'_>) -> Form {
    let controls = Selector::parse("input, select, textarea").unwrap();
    let method = if form.attr("method") == Some("post") { Method::POST } else { Method::GET };
    let fields = form.select(&controls).filter_map(read_control).collect();
    Form { method, action: form.attr("action").unwrap_or_default().to_owned(), fields }
}

/// A control's name and value; of radio buttons the chosen one alone, as browsers do.
fn read_control(control: ElementRef<'_>) -> Option<(String, String)> {
    let name = control.attr("name")?.to_owned();
    if matches!(control.attr("type"), Some("radio" | "checkbox")) && control.attr("checked").is_none() {
        return None;
    }
    if control.value().name() != "select" {
        return Some((name, control.attr("value").unwrap_or_default().to_owned()));
    }
    let options = Selector::parse("option").unwrap();
    let mut all = control.select(&options);
    let chosen = control.select(&options).find(|option| option.attr("selected").is_some()).or_else(|| all.next());
    Some((name, chosen?.attr("value").unwrap_or_default().to_owned()))
}

impl Visitor {
    /// A visitor who was never here before.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        Self { client: Client::new(origin), cookies: Mutex::default() }
    }

    /// The value of a cookie.
    ///
    /// # Panics
    /// Never, but for a panic elsewhere.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    /// Follows a link.
    pub async fn open(&self, path: &str) -> Page {
        self.follow(self.client.request(Method::GET, path), path).await
    }

    /// Sends a form as our own page would.
    pub async fn submit(&self, form: &Form) -> Page {
        if form.method == Method::GET {
            return self.open(&format!("{}?{}", form.action, form.body())).await;
        }
        let request = self.posting(form).header("origin", &self.client.origin).header("sec-fetch-site", "same-origin");
        self.follow(request, &form.action).await
    }

    /// The request of a form, without saying which page it comes from.
    pub fn posting(&self, form: &Form) -> reqwest::RequestBuilder {
        let request = self.client.request(form.method.clone(), &form.action).body(form.body());
        request.header("content-type", "application/x-www-form-urlencoded")
    }

    /// Sends a request with the cookies and keeps those that come back.
    ///
    /// # Panics
    /// If a cookie is not locked to this host and hidden from scripts.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = client::send(self.with_cookies(request)).await;
        for cookie in answer.headers.get_all("set-cookie") {
            self.keep(cookie.to_str().unwrap());
        }
        answer
    }

    fn with_cookies(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let cookies: Vec<_> =
            self.cookies.lock().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
        if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) }
    }

    /// Listens to a page's events as its script does; `heard` is the last one's id.
    pub async fn listen(&self, path: &str, heard: Option<&str>) -> Events {
        let request = self.client.request(Method::GET, path).header("accept", "text/event-stream");
        let request = heard.into_iter().fold(request, |request, id| request.header("last-event-id", id));
        Events::of(self.with_cookies(request)).await
    }

    fn keep(&self, cookie: &str) {
        for word in ["__Host-", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax"] {
            assert!(cookie.contains(word), "a cookie without {word}: {cookie}");
        }
        let (name, rest) = cookie.split_once('=').unwrap();
        let value = rest.split(';').next().unwrap();
        let mut cookies = self.cookies.lock().unwrap();
        if value.is_empty() {
            cookies.remove(name)
        } else {
            cookies.insert(name.to_owned(), value.to_owned())
        };
    }

    async fn follow(&self, request: reqwest::RequestBuilder, path: &str) -> Page {
        let mut page = Page { path: path.to_owned(), answer: self.send(request).await };
        for _ in 0..MOST_REDIRECTS {
            let Some(location) = page.answer.header("location").filter(|_| page.answer.status == 303) else {
                return page;
            };
            let path = location.to_owned();
            let answer = self.send(self.client.request(Method::GET, &path)).await;
            page = Page { path, answer };
        }
        panic!("more than {MOST_REDIRECTS} redirects from {path}");
    }

    /// Puts one unit into the basket from its product's page.
    ///
    /// # Panics
    /// If the page or its form is not there.
    pub async fn add(&self, sku: &Sku) -> Page {
        let slug = sku.as_str().to_lowercase();
        let page = self.open(&format!("/p/{slug}")).await.expect(200);
        self.submit(&page.form_holding("/cart/add", "sku", sku.as_str())).await.expect(200)
    }

    /// The checkout form, filled in.
    ///
    /// # Panics
    /// If there is nothing to check out.
    pub async fn checkout(&self, payment: &str) -> Form {
        let to = shopper::address();
        let form = self.open("/checkout").await.expect(200).form("/checkout");
        let form = form.with("name", &to.name).with("line1", &to.line1).with("city", &to.city);
        form.with("postal_code", &to.postal_code.unwrap_or_default()).with("payment", payment)
    }

    /// Places the order and gives its id.
    ///
    /// # Panics
    /// If that does not lead to an order's page.
    pub async fn order(&self, form: &Form) -> OrderId {
        let page = self.submit(form).await.expect(200);
        let id = page.path.strip_prefix("/orders/").unwrap_or_else(|| panic!("led to {}", page.path));
        // To an order that is paid elsewhere it leads with a word more.
        id.split('?').next().unwrap_or(id).parse().unwrap()
    }
}
