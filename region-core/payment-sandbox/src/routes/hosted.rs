//! The page on which a cardholder pays `tok_hosted`: `GET /hosted/{reference}`. It leads back only to where the merchant said when
//! he created the payment; that proves nothing to him, and he reads how it went.
//!
//! Whoever has the address may answer: it is as hard to guess as the payment's reference.

use axum::Router;
use axum::extract::{Form, Path, State as Shared};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use serde::Deserialize;

use super::{App, Failure};
use crate::clerk::Act;
use crate::rules::{Operation, Payment, Refusal, Status, Token};

/// Longest address to lead back to.
const LONGEST_URL: usize = 2_000;

pub(super) fn router() -> Router<App> {
    Router::new().route("/hosted/{reference}", get(page).post(answer))
}

/// Whether a cardholder can be led back there. The scheme is what keeps scripts out of a link.
pub(super) fn leads_back(url: &str) -> bool {
    let host = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '`' | ';' | ',');
    host.is_some_and(|host| host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['))
        && url.len() <= LONGEST_URL
        && url.chars().all(plain)
}

/// Whether the cardholder is to be sent to the page.
pub(super) fn waits(payment: &Payment) -> bool {
    payment.token == Token::Hosted && payment.state.status == Status::ChallengeRequired
}

/// What the cardholder chose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Choice {
    /// To pay, and to go back.
    Pay,
    /// To pay, and to close the page: the merchant must find out by himself.
    PayAndStay,
    /// Not to pay.
    Decline,
    /// To go back without an answer; he may come again.
    Cancel,
}

#[derive(Deserialize)]
struct Answered {
    choice: Choice,
}

async fn page(Shared(app): Shared<App>, Path(reference): Path<String>) -> Result<Response, Failure> {
    let (payment, back) = find(&app, reference).await?;
    Ok(html(StatusCode::OK, &payment, &back))
}

/// A page that is sent twice, or after the payment was over, changes nothing and says how it stands.
async fn answer(
    Shared(app): Shared<App>,
    Path(reference): Path<String>,
    Form(Answered { choice }): Form<Answered>,
) -> Result<Response, Failure> {
    let (_, back) = find(&app, reference.clone()).await?;
    let agreed = match choice {
        Choice::Cancel => return Ok(away(&back)),
        Choice::Pay | Choice::PayAndStay => true,
        Choice::Decline => false,
    };
    let act = Act { reference: reference.clone(), operation: Operation::Answer { agreed }, key: None };
    match app.clerk.act(act).await? {
        Ok(outcome) if choice == Choice::PayAndStay => Ok(html(StatusCode::OK, &outcome.payment, &back)),
        Ok(_) => Ok(away(&back)),
        Err(Refusal::State(_)) => {
            let (payment, back) = find(&app, reference).await?;
            Ok(html(StatusCode::CONFLICT, &payment, &back))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// The payment and where its page leads back to, if it has a page.
async fn find(app: &App, reference: String) -> Result<(Payment, String), Failure> {
    let payment = app.clerk.get(reference).await?.ok_or(Refusal::Unknown)?;
    let back = payment.return_url.clone().ok_or(Refusal::Unknown)?;
    Ok((payment, back))
}

fn away(back: &str) -> Response {
    (kept_private(back), Redirect::to(back)).into_response()
}

fn html(status: StatusCode, payment: &Payment, back: &str) -> Response {
    (status, kept_private(back), Html(written(payment, back))).into_response()
}

/// Nobody keeps or frames the page, or learns its address; a form of it may lead to the merchant.
fn kept_private(back: &str) -> [(HeaderName, HeaderValue); 3] {
    let origin: String = back.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let policy = format!(
        "default-src 'none'; img-src data:; form-action 'self' {origin}; base-uri 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]
}

fn written(payment: &Payment, back: &str) -> String {
    let back = escaped(back);
    let rest = if waits(payment) {
        let button = |choice: &str, name: &str| {
            format!("<p><button type=\"submit\" name=\"choice\" value=\"{choice}\">{name}</button></p>\n")
        };
        let buttons = [
            button("pay", &format!("Pay {}", payment.amount)),
            button("pay_and_stay", "Pay, and do not go back to the shop"),
            button("decline", "Decline"),
            button("cancel", "Go back without an answer"),
        ];
        format!("<form method=\"post\">\n{}</form>", buttons.concat())
    } else {
        let stands = match payment.state.status {
            Status::Created | Status::ChallengeRequired => "This payment is not ready yet.",
            Status::Approved | Status::Authorized | Status::Captured => "You have paid. You may close this page.",
            Status::Declined => "You have not paid.",
            Status::Voided => "The shop has given up this payment. Nothing was paid.",
            Status::Refunded => "The payment was given back.",
        };
        format!("<p role=\"status\">{stands}</p>\n<p><a href=\"{back}\" rel=\"noreferrer\">Back to the shop</a></p>")
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><link rel=\"icon\" href=\"data:,\">\
         <title>Pay {amount} at the pretend bank</title></head>\n<body>\n<main>\n<h1>Pay {amount}</h1>\n\
         <p>This is the payment sandbox: a pretend bank. No money moves.</p>\n{rest}\n</main>\n</body>\n</html>\n",
        amount = payment.amount,
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_leads_back_to_pages_only() {
        assert!(leads_back("https://shop.example/orders/1?notice=back") && leads_back("http://127.0.0.1:7100/"));
        let endless = format!("https://a/{}", "a".repeat(LONGEST_URL));
        for bad in ["", "/orders", "javascript:alert(1)", "https://", "https:///x", "https://a/\" onclick=", &endless] {
            assert!(!leads_back(bad), "{bad}");
        }
        assert!(!leads_back("https://a; script-src *"), "another policy");
    }
}
