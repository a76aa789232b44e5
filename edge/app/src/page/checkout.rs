//! Checkout: one form that works without any script.
//!
//! The form carries all of what it orders: the items, the cart's version, the total that was shown, and the idempotency
//! key. So whoever presses twice, or presses "reload", sends the same order again and gets the same answer. After a definite
//! refusal the key is a new one; while nobody knows what became of the first try it stays the same. Whoever changes the form
//! after such a try hears of the order that was made by it, if one was, and a new key comes only with a new look at the
//! basket.

use askama::Template;
use axum::extract::{Form, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Json};
use futures_util::future::join;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use shared::api::account::Channels;
use shared::api::cart::Cart;
use shared::api::order::{
    Address, DeliveryOption, NextAction, Order, OrderItem, PaymentMethod, PlaceOrder, Quote, QuoteRequest,
};
use shared::{Currency, EmailAddress, IdempotencyKey, Money, PhoneNumber, Problem, ProblemKind, Quantity};

use super::country::{self, COUNTRIES};
use super::{Shell, answer, cart};
use crate::app::App;
use crate::core::{self, Call};
use crate::platform::Platform;
use crate::session::Visit;

/// Seconds that the core may hold its answer, so that most orders are shown paid at once.
const WAIT_SECONDS: u32 = 3;

/// The form as sent, and as shown again.
#[derive(Clone, Default, Deserialize)]
pub(crate) struct CheckoutForm {
    key: String,
    /// `SKU:UNITS`, separated by commas.
    items: String,
    cart_version: String,
    /// Minor units.
    total: String,
    currency: String,
    #[serde(default)]
    email: String,
    /// Absent where nobody can be texted: so it was when the form was first shown, and so it stays.
    #[serde(default)]
    phone: Option<String>,
    /// `yes` if the shopper wants to be texted.
    #[serde(default)]
    text_me: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    line1: String,
    #[serde(default)]
    line2: String,
    #[serde(default)]
    city: String,
    #[serde(default)]
    region: String,
    #[serde(default)]
    postal_code: String,
    #[serde(default)]
    country: String,
    /// An option's id, once there was a choice.
    #[serde(default)]
    delivery_option: String,
    #[serde(default)]
    payment: String,
    /// Says that nothing is ordered yet: what delivery costs is to be shown anew.
    #[serde(default)]
    show: String,
    #[serde(skip)]
    errors: Vec<(&'static str, &'static str)>,
}

#[derive(Template)]
#[template(path = "checkout.html")]
struct CheckoutPage {
    shell: Shell,
    form: CheckoutForm,
    quote: Option<Quote>,
    problem: Option<Trouble>,
    guest: bool,
    countries: &'static [(&'static str, &'static str)],
    /// The ways to pay; perhaps only the one that was chosen before, where no core can be asked.
    ways: Vec<PaymentMethod>,
    /// Whether they are those of the payment sandbox.
    practice: bool,
}

/// What went wrong, for a person.
pub(super) struct Trouble {
    /// In a few words.
    pub title: &'static str,
    /// In a sentence or two.
    pub text: String,
    /// The fields concerned, by id.
    pub fields: Vec<(&'static str, &'static str)>,
    /// Where it can be mended or looked up, and what that place is called.
    pub way_out: Option<(&'static str, &'static str)>,
    /// Whether sending the very same form again is what helps.
    pub again: bool,
}

const TO_CART: Option<(&str, &str)> = Some(("/cart", "Back to the basket"));
const TO_ORDERS: Option<(&str, &str)> = Some(("/orders", "Look at your orders"));

/// A line of the address form.
struct Field<'a> {
    name: &'static str,
    label: &'static str,
    autocomplete: &'static str,
    max: usize,
    required: bool,
    /// Stands beside the label.
    hint: &'static str,
    value: &'a str,
    error: Option<&'static str>,
}

impl CheckoutForm {
    fn error(&self, field: &str) -> Option<&'static str> {
        self.errors.iter().find(|(own, _)| *own == field).map(|(_, text)| *text)
    }

    fn address(&self) -> [Field<'_>; 6] {
        let field = |name, label, autocomplete, max, required, value| Field {
            name,
            label,
            autocomplete,
            max,
            required,
            hint: if required { "" } else { "optional" },
            value,
            error: self.error(name),
        };
        let postal_code = field("postal_code", "Postcode", "postal-code", 20, false, self.postal_code.as_str());
        [
            field("name", "Full name", "name", 100, true, self.name.as_str()),
            field("line1", "Street and number", "address-line1", 200, true, self.line1.as_str()),
            field("line2", "Flat, company", "address-line2", 200, false, self.line2.as_str()),
            field("city", "Town or city", "address-level2", 100, true, self.city.as_str()),
            field("region", "County or state", "address-level1", 100, false, self.region.as_str()),
            Field { hint: "if your country has them", ..postal_code },
        ]
    }

    fn money(&self) -> Option<Money> {
        Money::new(self.total.parse().ok()?, self.currency.parse::<Currency>().ok()?).ok()
    }

    /// Whether there is, or was, anything to choose: in a shop that delivers for nothing there never is.
    fn has_choice(&self) -> bool {
        !self.delivery_option.is_empty() || self.error("country").is_some()
    }

    /// Why there is nothing to choose.
    fn no_choice(&self) -> String {
        format!("{}. Please choose another one.", self.error("country").unwrap_or("Nothing is delivered there"))
    }

    fn shown_total(&self) -> String {
        self.money().map(|money| money.to_string()).unwrap_or_default()
    }

    fn order_items(&self) -> Option<Vec<OrderItem>> {
        let pairs = self.items.split(',').map(|pair| pair.rsplit_once(':'));
        pairs
            .map(|pair| {
                let (sku, units) = pair?;
                Some(OrderItem { sku: sku.parse().ok()?, quantity: Quantity::new(units.parse().ok()?).ok()? })
            })
            .collect()
    }

    /// A form for this cart: only what can be bought.
    fn for_cart(cart: &Cart) -> Self {
        let lines = cart.lines.iter().filter(|line| line.unit_price.is_some());
        let items: Vec<_> = lines.map(|line| format!("{}:{}", line.sku, line.quantity)).collect();
        Self {
            items: items.join(","),
            cart_version: cart.version.to_string(),
            country: "GB".to_owned(),
            ..Self::default()
        }
    }

    fn promise(&mut self, quote: &Quote) {
        self.total = quote.total.minor().to_string();
        self.currency = quote.total.currency().code().to_owned();
        self.delivery_option = quote.delivery_option.clone().unwrap_or_default();
    }

    /// What is to be quoted, without a country or a choice if there is none.
    fn quote_request(&self) -> Option<QuoteRequest> {
        let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let (country, delivery_option) = (said(&self.country), said(&self.delivery_option));
        Some(QuoteRequest {
            items: self.order_items()?,
            delivery_option: country.as_ref().and(delivery_option),
            country,
        })
    }

    fn new_key<P: Platform>(&mut self, app: &App<P>) {
        let mut random = [0; 16];
        app.platform.fill_random(&mut random);
        self.key = random.iter().map(|byte| format!("{byte:02x}")).collect();
    }

    /// The order, or the fields that a person must mend.
    fn order(&self) -> Result<PlaceOrder, Vec<(&'static str, &'static str)>> {
        let mut errors = Vec::new();
        for field in self.address() {
            let length = field.value.trim().chars().count();
            if (field.required && length == 0) || length > field.max {
                errors.push((field.name, missing(field.name)));
            }
        }
        if !country::is_known(&self.country) {
            errors.push(("country", "Choose a country"));
        }
        let email = match self.email.trim() {
            "" => None,
            text => text
                .parse::<EmailAddress>()
                .map_err(|_| errors.push(("email", "Enter an e-mail address like name@example.org")))
                .ok(),
        };
        // Who does not want to be texted has no number kept.
        let phone = match &self.phone {
            Some(text) if self.text_me == "yes" => text
                .parse::<PhoneNumber>()
                .map_err(|_| errors.push(("phone", "Enter a number with its country's code, like +44 7700 900123")))
                .ok(),
            _ => None,
        };
        // Whether it is offered, the core knows; what it does not know ends in a payment that is declined.
        if !is_token(&self.payment) {
            errors.push(("payment", "Choose how to pay"));
        }
        if phone.as_ref().is_some_and(|phone| shared::text::holds_card_number(phone.as_str())) {
            errors.push(("phone", "This looks like a card number; leave it out"));
        }
        let typed = [&self.name, &self.line1, &self.line2, &self.city, &self.region, &self.postal_code];
        if typed.into_iter().any(|text| shared::text::holds_card_number(text)) {
            errors.push(("line1", "Leave card numbers out of the address"));
        }
        let sealed = (self.order_items(), self.money(), self.cart_version.parse().ok());
        let (Some(items), Some(expected_total), Some(version)) = sealed else {
            return Err(errors);
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(PlaceOrder {
            items,
            shipping_address: self.shipping_address(),
            payment_token: self.payment.clone(),
            expected_total,
            cart_version: Some(version),
            email,
            delivery_option: Some(self.delivery_option.clone()).filter(|id| !id.is_empty()),
            phone,
            user_id: None,
        })
    }

    fn shipping_address(&self) -> Address {
        let optional = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Address {
            name: self.name.trim().to_owned(),
            line1: self.line1.trim().to_owned(),
            line2: optional(&self.line2),
            city: self.city.trim().to_owned(),
            region: optional(&self.region),
            postal_code: optional(&self.postal_code),
            country: self.country.clone(),
        }
    }
}

/// What the page's script needs to know of a quote: ready for showing.
#[derive(Serialize)]
struct Said<'a> {
    minor: &'a str,
    currency: &'a str,
    total: String,
    delivery: String,
    chosen: &'a str,
    choices: Vec<SaidChoice<'a>>,
    trouble: Option<String>,
}

#[derive(Serialize)]
struct SaidChoice<'a> {
    id: &'a str,
    name: &'a str,
    text: String,
}

impl<'a> Said<'a> {
    /// Of a form that promises that quote.
    fn of(form: &'a CheckoutForm, quote: &'a Quote) -> Self {
        let choice =
            |option: &'a DeliveryOption| SaidChoice { id: &option.id, name: &option.name, text: terms(option) };
        Self {
            minor: &form.total,
            currency: &form.currency,
            total: quote.total.to_string(),
            delivery: price(quote.shipping),
            chosen: &form.delivery_option,
            choices: quote.delivery_options.iter().map(choice).collect(),
            trouble: quote.delivery_options.is_empty().then(|| form.no_choice()),
        }
    }
}

/// `2 to 4 days · £3.95`.
fn terms(option: &DeliveryOption) -> String {
    format!("{} · {}", option.days, price(option.price))
}

fn price(delivery: Money) -> String {
    if delivery.minor() == 0 { "Free".to_owned() } else { delivery.to_string() }
}

/// Whether it may name a way to pay.
fn is_token(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=200).contains(&text.len()) && text.chars().all(plain) && !shared::text::holds_card_number(text)
}

fn missing(field: &str) -> &'static str {
    match field {
        "name" => "Enter the name of the person who receives it, at most 100 characters",
        "line1" => "Enter street and number, at most 200 characters",
        "city" => "Enter the town or city, at most 100 characters",
        "postal_code" => "Enter a postcode of at most 20 characters",
        _ => "This is too long",
    }
}

/// `GET /checkout`.
pub(crate) async fn show<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
) -> Result<Response, Problem> {
    let Some(user) = visit.user() else { return empty(&app, &visit).await };
    let cart = cart::fetch(&app, &visit, &user).await?;
    if cart.lines.iter().any(|line| line.unit_price.is_none()) {
        return Ok(Redirect::to("/cart").into_response());
    }
    let mut form = CheckoutForm::for_cart(&cart);
    let Some(request) = form.quote_request() else { return empty(&app, &visit).await };
    let channels = Call::get("/v1/channels").bearer(&user.token);
    let (quote, channels) = join(
        deliverable(&app, &visit, &mut form, request, &user.token),
        channels.json::<Channels>(&app.platform, visit.client),
    )
    .await;
    let offer = Offer::from(quote?);
    if let Some(usual) = offer.ways.first() {
        form.payment.clone_from(&usual.token);
    }
    // The form is worth showing without.
    form.phone = channels.is_ok_and(|channels| channels.texts).then(String::new);
    afresh(&app, &visit, form, offer, None).await
}

async fn empty<P: Platform>(app: &App<P>, visit: &Visit) -> Result<Response, Problem> {
    page(app, visit, CheckoutForm::default(), Offer::default(), None).await
}

/// What the form stands beside: what is bought, and how it can be paid.
#[derive(Default)]
struct Offer {
    quote: Option<Quote>,
    ways: Vec<PaymentMethod>,
}

impl From<Quote> for Offer {
    fn from(quote: Quote) -> Self {
        Self { ways: quote.payment_methods.clone(), quote: Some(quote) }
    }
}

/// The form with a new key, promising the quote's total.
async fn afresh<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    mut form: CheckoutForm,
    offer: Offer,
    problem: Option<Trouble>,
) -> Result<Response, Problem> {
    if let Some(quote) = &offer.quote {
        form.promise(quote);
    }
    form.new_key(app);
    page(app, visit, form, offer, problem).await
}

async fn page<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    form: CheckoutForm,
    Offer { quote, mut ways }: Offer,
    problem: Option<Trouble>,
) -> Result<Response, Problem> {
    if ways.is_empty() && is_token(&form.payment) {
        let (name, description) = ("As you chose before".to_owned(), String::new());
        ways.push(PaymentMethod { token: form.payment.clone(), name, description });
    }
    let practice = ways.iter().any(|way| way.token.starts_with("tok_"));
    let shell = Shell::personal(app, visit, "Checkout").await;
    let guest = visit.member().is_none();
    let failed = problem.is_some();
    let page = CheckoutPage { shell, form, quote, problem, guest, countries: COUNTRIES, ways, practice };
    let mut response = answer(&page)?;
    if failed {
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    }
    Ok(response)
}

/// `POST /checkout`.
pub(crate) async fn place<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    Form(mut form): Form<CheckoutForm>,
) -> Result<Response, Problem> {
    let Some(user) = visit.user() else { return Ok(Redirect::to("/checkout").into_response()) };
    if !form.show.is_empty() {
        // The key stays: an order may have come of this form before.
        let quote = quoted_anew(&app, &visit, &mut form, &user.token).await;
        if cart::wants_json(&headers) {
            let said = quote.as_ref().map(|quote| Json(Said::of(&form, quote)));
            return said.map(IntoResponse::into_response).ok_or(ProblemKind::Unavailable.into());
        }
        let offer = quote.map(Offer::from).unwrap_or_default();
        return page(&app, &visit, form, offer, None).await;
    }
    let order = match form.order() {
        Ok(order) => order,
        Err(fields) if fields.is_empty() => return Ok(Redirect::to("/checkout").into_response()),
        Err(fields) => {
            let quote = quoted_anew(&app, &visit, &mut form, &user.token).await;
            form.errors.extend(&fields);
            let offer = quote.map(Offer::from).unwrap_or_default();
            let title = "Please look at these fields again";
            let text = "We need them to go on.".to_owned();
            let trouble = Trouble { title, text, fields, way_out: None, again: false };
            return page(&app, &visit, form, offer, Some(trouble)).await;
        }
    };
    let Ok(key) = form.key.parse::<IdempotencyKey>() else { return Ok(Redirect::to("/checkout").into_response()) };
    let call = Call::post("/v1/orders", &order).bearer(&user.token).idempotency_key(key.as_str()).wait(WAIT_SECONDS);
    match call.json::<Order>(&app.platform, visit.client).await {
        Ok(placed) => {
            // The cart is another one now; which version, the next look at it says.
            visit.forget_cart();
            let pay = matches!(placed.next_action, Some(NextAction::RedirectToUrl { .. }));
            let notice = if pay { "?notice=pay" } else { "" };
            Ok(Redirect::to(&format!("/orders/{}{notice}", placed.order_id)).into_response())
        }
        Err(problem) if problem.status == 401 => Err(problem),
        Err(problem) => refused(&app, &visit, form, &user.token, &problem).await,
    }
}

async fn quote<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    request: &QuoteRequest,
    token: &str,
) -> Result<Quote, Problem> {
    Call::post("/v1/quotes", request).bearer(token).json(&app.platform, visit.client).await
}

/// The quote with delivery as it was chosen; with the cheapest one if that is not offered there; without any if nothing can be
/// delivered there, which the form then says.
async fn deliverable<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    form: &mut CheckoutForm,
    mut request: QuoteRequest,
    token: &str,
) -> Result<Quote, Problem> {
    let mut undeliverable = None;
    loop {
        let problem = match quote(app, visit, &request, token).await {
            Ok(quote) => {
                form.errors.extend(undeliverable.map(|why| ("country", why)));
                return Ok(quote);
            }
            Err(problem) => problem,
        };
        let why = match problem.members.get("field").and_then(|field| field.as_str()) {
            Some("delivery_option") if request.delivery_option.is_some() => None,
            Some("country") if request.country.is_some() => Some("We do not deliver to this country"),
            Some("items") if request.country.is_some() => Some("This is too much to be delivered there in one order"),
            _ => return Err(problem),
        };
        // Each turn asks for less, so the third is the last.
        request.delivery_option = None;
        if why.is_some() {
            request.country = None;
            undeliverable = why;
        }
    }
}

/// The form as it is now promises what it costs now.
async fn quoted_anew<P: Platform>(app: &App<P>, visit: &Visit, form: &mut CheckoutForm, token: &str) -> Option<Quote> {
    let request = form.quote_request()?;
    let quote = deliverable(app, visit, form, request, token).await.ok()?;
    form.promise(&quote);
    Some(quote)
}

/// What a new quote says, as far as one can be had.
async fn requote<P: Platform>(app: &App<P>, visit: &Visit, form: &CheckoutForm, token: &str) -> Offer {
    let Some(request) = form.quote_request() else { return Offer::default() };
    let Ok(quote) = quote(app, visit, &request, token).await else { return Offer::default() };
    let ways = quote.payment_methods.clone();
    // A summary that disagrees with the form would promise two totals.
    Offer { quote: Some(quote).filter(|quote| Some(quote.total) == form.money()), ways }
}

async fn refused<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    mut form: CheckoutForm,
    token: &str,
    problem: &Problem,
) -> Result<Response, Problem> {
    let new_quote = problem.members.get("quote").and_then(|quote| serde_json::from_value::<Quote>(quote.clone()).ok());
    let mut offer = if new_quote.is_some() || keeps_key(problem) {
        requote(app, visit, &form, token).await
    } else {
        quoted_anew(app, visit, &mut form, token).await.map(Offer::from).unwrap_or_default()
    };
    offer.quote = new_quote.or(offer.quote);
    let trouble = trouble(problem, offer.quote.as_ref());
    if keeps_key(problem) {
        return page(app, visit, form, offer, Some(trouble)).await;
    }
    afresh(app, visit, form, offer, Some(trouble)).await
}

/// Whether the next try is this one again: an order may have come of this form's key, so that a new key could order twice;
/// or the same request is to be sent once more in a moment.
fn keeps_key(problem: &Problem) -> bool {
    core::is_unknown(problem)
        || core::is_passing(problem)
        || problem.is(ProblemKind::IdempotencyKeyReused)
        || problem.is(ProblemKind::StockInTransit)
}

/// The problem in a shopper's words.
fn trouble(problem: &Problem, quote: Option<&Quote>) -> Trouble {
    let say =
        |title, text: &str| Trouble { title, text: text.to_owned(), fields: Vec::new(), way_out: None, again: false };
    let say_again = |title, text: &str| Trouble { again: true, ..say(title, text) };
    let total = quote.map(|quote| quote.total.to_string()).unwrap_or_default();
    if problem.is(ProblemKind::SoldOut) {
        let text = format!("{} Nothing has been ordered. Please change your basket.", short_items(problem, quote));
        Trouble { way_out: TO_CART, ..say("Not enough left", &text) }
    } else if problem.is(ProblemKind::StockInTransit) {
        say_again(
            "Almost there",
            "Some of your items are just on their way between our stores. Nothing has been ordered yet, and your basket is as it was. Please try again in a moment: it can never be ordered twice.",
        )
    } else if problem.is(ProblemKind::QuoteChanged) {
        say(
            "The total has changed",
            &format!(
                "A price, or what delivery costs, has changed since you looked: the total is now {total}. Nothing has been ordered. If that is all right, place the order again."
            ),
        )
    } else if problem.is(ProblemKind::CartChanged) {
        Trouble {
            way_out: TO_CART,
            ..say(
                "Your basket has changed",
                "Perhaps on another device, or the order was already placed. Please look at it again before you order.",
            )
        }
    } else if problem.is(ProblemKind::UnknownSku) {
        Trouble {
            way_out: TO_CART,
            ..say(
                "Something is no longer sold",
                "One of your items has left the shop. Please remove it from the basket.",
            )
        }
    } else if problem.is(ProblemKind::IdempotencyKeyReused) {
        Trouble {
            way_out: TO_ORDERS,
            ..say(
                "Your first try may have arrived",
                "An order was already placed from this page, before you changed it. Please look at your orders. If it is not what you want, start again from your basket.",
            )
        }
    } else if problem.is(ProblemKind::Invalid) {
        invalid(problem)
    } else if problem.is(ProblemKind::SlowDown) {
        say_again("One moment, please", "That was a lot at once. Wait a second, then press the button again.")
    } else if core::is_unknown(problem) || core::is_passing(problem) {
        say_again(
            "We did not hear back",
            "We do not know yet whether your order arrived. Please press the button again: it can never be ordered or charged twice.",
        )
    } else {
        say("That did not work", "Nothing has been ordered. Please try again.")
    }
}

/// `Only 2 of “Red mug” are left.`
fn short_items(problem: &Problem, quote: Option<&Quote>) -> String {
    let items = problem.members.get("items").and_then(|items| items.as_array()).cloned().unwrap_or_default();
    let sentences = items.iter().take(5).filter_map(|item| {
        let sku = item.get("sku")?.as_str()?;
        let lines = quote.map(|quote| quote.lines.as_slice()).unwrap_or_default();
        let title = lines.iter().find(|line| line.sku.as_str() == sku).map_or(sku, |line| line.title.as_str());
        Some(match item.get("available")?.as_u64()? {
            0 => format!("“{title}” is sold out."),
            1 => format!("Only one of “{title}” is left."),
            units => format!("Only {units} of “{title}” are left."),
        })
    });
    let text = sentences.collect::<Vec<_>>().join(" ");
    if text.is_empty() { "One of your items is sold out.".to_owned() } else { text }
}

fn invalid(problem: &Problem) -> Trouble {
    let field = problem.members.get("field").and_then(|field| field.as_str()).unwrap_or_default();
    let known = ["email", "phone", "name", "line1", "line2", "city", "region", "postal_code", "country"];
    let id = known.into_iter().find(|id| field.rsplit('.').next() == Some(id));
    let mut fields: Vec<_> = id.map(|id| (id, "Please check this field")).into_iter().collect();
    if field == "delivery_option" {
        fields.push(("delivery", "Please choose how it is delivered"));
    }
    Trouble {
        title: "Please look at this again",
        // Not that nothing has been ordered: an earlier try with this form may have been.
        text: problem.detail.clone().unwrap_or_else(|| "We could not take the order like this.".to_owned()),
        fields,
        way_out: None,
        again: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> CheckoutForm {
        CheckoutForm {
            key: "k".into(),
            items: "MUG:2,A:B/1:3".into(),
            cart_version: "7".into(),
            total: "1250".into(),
            currency: "GBP".into(),
            name: "Ada".into(),
            line1: "1 High Street".into(),
            city: "York".into(),
            country: "GB".into(),
            payment: "tok_success".into(),
            ..CheckoutForm::default()
        }
    }

    #[test]
    fn the_form_alone_makes_the_order() {
        let form = CheckoutForm { items: "MUG:2,A/1:3".into(), ..filled() };
        let order = form.order().unwrap();
        assert_eq!(order.items.len(), 2);
        assert_eq!((order.expected_total.minor(), order.cart_version), (1250, Some(7)));
        assert_eq!(order.shipping_address.line2, None);
        assert_eq!(form.order().unwrap(), order, "the same form is the same request");
    }

    #[test]
    fn what_a_person_cannot_mend_names_no_field() {
        assert_eq!(filled().order().unwrap_err(), []);
        let tampered = CheckoutForm { items: "MUG:0".into(), ..filled() };
        assert_eq!(tampered.order().unwrap_err(), []);
    }

    #[test]
    fn every_empty_required_field_is_named() {
        let form = CheckoutForm {
            name: " ".into(),
            city: String::new(),
            country: "XX".into(),
            email: "x".into(),
            payment: String::new(),
            items: "MUG:1".into(),
            ..filled()
        };
        let named: Vec<_> = form.order().unwrap_err().into_iter().map(|(field, _)| field).collect();
        assert_eq!(named, ["name", "city", "country", "email", "payment"]);
    }

    #[test]
    fn a_number_is_sent_only_by_who_wants_to_be_texted_and_must_be_one_then() {
        let form = |text_me: &str, phone: &str| CheckoutForm {
            items: "MUG:1".into(),
            text_me: text_me.into(),
            phone: Some(phone.into()),
            ..filled()
        };
        let sent = |form: CheckoutForm| form.order().map(|order| order.phone.map(String::from));
        assert_eq!(sent(form("", "+44 7700 900123")), Ok(None));
        assert_eq!(sent(form("yes", "+44 7700 900123")), Ok(Some("+447700900123".to_owned())));
        for bad in ["", "07700 900123", "+378282246310005"] {
            assert_eq!(sent(form("yes", bad)).unwrap_err()[0].0, "phone", "{bad}");
        }
    }

    #[test]
    fn sold_out_names_the_thing() {
        let problem = Problem::new(ProblemKind::SoldOut)
            .with("items", serde_json::json!([{"sku": "MUG", "wanted": 3, "available": 1}, {"sku": "CUP", "wanted": 1, "available": 0}]));
        assert_eq!(short_items(&problem, None), "Only one of “MUG” is left. “CUP” is sold out.");
        let told = trouble(&problem, None);
        assert_eq!((told.way_out, told.again), (TO_CART, false));
        assert!(!keeps_key(&problem), "another order needs another key");
    }

    #[test]
    fn units_on_their_way_are_asked_for_again_with_the_same_form() {
        let problem = Problem::new(ProblemKind::StockInTransit);
        assert!(keeps_key(&problem) && trouble(&problem, None).again);
    }
}
