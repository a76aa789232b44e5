//! What PayPal's answers say: how an order, its authorization, its capture and its refunds stand, or why there is none.

use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shared::{Money, RefundId};

use super::amount::Amount;
use crate::provider::{Card, ProviderError, ProviderPayment, ProviderRefund, ProviderStatus, RefundStanding, Shown};

/// An order, as far as it concerns us. It has one purchase unit: the payment.
#[derive(Debug, Deserialize)]
pub(super) struct Order {
    id: String,
    status: String,
    purchase_units: [Unit; 1],
    #[serde(default)]
    payment_source: Source,
    #[serde(default)]
    links: Vec<Link>,
}

#[derive(Debug, Deserialize)]
struct Unit {
    #[serde(default)]
    custom_id: String,
    amount: Amount,
    #[serde(default)]
    payments: Payments,
}

/// What became of the order. Each list is short: we have one authorized, captured at once, and at most so many refunds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Payments {
    authorizations: Vec<Authorization>,
    captures: Vec<Capture>,
    refunds: Vec<Refund>,
}

#[derive(Debug, Deserialize)]
struct Authorization {
    id: String,
    status: String,
}

/// A capture of an authorization.
#[derive(Debug, Deserialize)]
pub(super) struct Capture {
    id: String,
    status: String,
    amount: Amount,
}

/// A refund of a capture.
#[derive(Debug, Deserialize)]
pub(super) struct Refund {
    status: String,
    amount: Amount,
    #[serde(default)]
    custom_id: String,
}

#[derive(Debug, Default, Deserialize)]
struct Source {
    paypal: Option<Payer>,
}

#[derive(Debug, Deserialize)]
struct Payer {
    account_id: Option<String>,
    address: Option<PayerAddress>,
}

#[derive(Debug, Deserialize)]
struct PayerAddress {
    country_code: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Link {
    href: String,
    rel: String,
}

impl Order {
    /// What is kept ready, or under review to be: what a capture or a void is about.
    pub(super) fn kept_ready(&self) -> Option<&str> {
        let authorizations = &self.purchase_units[0].payments.authorizations;
        authorizations.iter().find(|authorization| authorization.is_open()).map(|open| open.id.as_str())
    }

    /// The capture that moved the money, or has it under way.
    pub(super) fn capture(&self) -> Option<&str> {
        let captures = &self.purchase_units[0].payments.captures;
        captures.iter().find(|capture| !capture.is_declined()).map(|capture| capture.id.as_str())
    }

    /// Why there is no such capture, if one was tried.
    pub(super) fn declined_capture(&self) -> Option<String> {
        let last = self.purchase_units[0].payments.captures.last().filter(|_| self.capture().is_none());
        last.map(|capture| format!("capture_{}", capture.status.to_ascii_lowercase()))
    }

    /// The refund of that name of ours.
    pub(super) fn refund(&self, name: &str) -> Option<&Refund> {
        self.purchase_units[0].payments.refunds.iter().find(|refund| refund.custom_id == name)
    }

    /// How many refunds of that name of ours, or of the names that follow it (`name-1`, `name-2`), ended without moving anything.
    pub(super) fn failed_refunds(&self, name: &str) -> usize {
        let failed = |name: &str| self.refund(name).is_some_and(Refund::is_failed);
        if !failed(name) {
            return 0;
        }
        1 + (1..).take_while(|over| failed(&format!("{name}-{over}"))).count()
    }

    /// The order's amount as PayPal writes it.
    pub(super) fn amount(&self) -> &Amount {
        &self.purchase_units[0].amount
    }

    /// The order once that came of it.
    pub(super) fn with_capture(mut self, capture: Capture) -> Self {
        self.purchase_units[0].payments.captures.push(capture);
        self
    }

    /// The order once that came of it.
    pub(super) fn with_refund(mut self, refund: Refund) -> Self {
        self.purchase_units[0].payments.refunds.push(refund);
        self
    }

    /// The order once what was kept ready is let go.
    pub(super) fn with_void(mut self) -> Self {
        for open in self.purchase_units[0].payments.authorizations.iter_mut().filter(|known| known.is_open()) {
            "VOIDED".clone_into(&mut open.status);
        }
        self
    }

    /// The payment that the order is.
    pub(super) fn shown(self) -> Shown {
        let status = self.standing()?;
        self.shown_as(status, None)
    }

    /// The same, where more is known than the order shows.
    pub(super) fn shown_as(self, status: ProviderStatus, decline_reason: Option<String>) -> Shown {
        let amount = minor(&self.purchase_units[0].amount)?;
        let (captured_minor, refunded_minor) = self.moved()?;
        let asked = status == ProviderStatus::ChallengeRequired;
        let [unit] = self.purchase_units;
        Ok(ProviderPayment {
            merchant_reference: unit.custom_id,
            amount,
            status,
            // The shopper is asked about the order as a whole.
            challenge_id: asked.then(|| self.id.clone()),
            reference: self.id,
            next_action: self.links.into_iter().find(|link| asked && link.leads_to_the_shopper()).map(|link| link.href),
            decline_reason,
            captured_minor,
            refunded_minor,
            card: self.payment_source.paypal.and_then(Payer::account),
        })
    }

    /// What there is to say when the order was to be let go and nothing is kept ready.
    pub(super) fn never_kept_ready(self) -> Shown {
        match self.standing()? {
            ProviderStatus::Created | ProviderStatus::ChallengeRequired => self.shown_as(ProviderStatus::Voided, None),
            status => self.shown_as(status, None),
        }
    }

    /// Minor units that moved to us, and back.
    fn moved(&self) -> Result<(i64, i64), ProviderError> {
        let Payments { captures, refunds, .. } = &self.purchase_units[0].payments;
        let captured = captures.iter().filter(|capture| capture.is_through()).map(|capture| &capture.amount);
        let refunded = refunds.iter().filter(|refund| refund.status == "COMPLETED").map(|refund| &refund.amount);
        let ours = minor(self.amount())?.currency();
        Ok((sum(captured, ours)?.minor(), sum(refunded, ours)?.minor()))
    }

    /// Money first, then what is kept ready, then what the shopper said. See
    /// <https://developer.paypal.com/docs/api/orders/v2/#definition-order_status>.
    fn standing(&self) -> Result<ProviderStatus, ProviderError> {
        let Payments { authorizations, captures, .. } = &self.purchase_units[0].payments;
        if let Some(pending) = captures.iter().find(|capture| !capture.is_through() && !capture.is_declined()) {
            return Err(ProviderError::Unknown(format!("the capture is {}", pending.status)));
        }
        if captures.iter().any(Capture::is_through) {
            let (captured, refunded) = self.moved()?;
            let all = refunded >= captured;
            return Ok(if all { ProviderStatus::Refunded } else { ProviderStatus::Captured });
        }
        let open = authorizations.iter().find(|authorization| authorization.is_open());
        // A capture that was declined may have left the amount kept ready.
        if open.is_none() && !captures.is_empty() {
            return Ok(ProviderStatus::Declined);
        }
        match open.or(authorizations.last()) {
            Some(authorization) => authorization.standing(),
            None => self.asked(),
        }
    }

    /// What the shopper said, before anything is kept ready.
    fn asked(&self) -> Result<ProviderStatus, ProviderError> {
        match self.status.as_str() {
            "APPROVED" => Ok(ProviderStatus::Approved),
            "PAYER_ACTION_REQUIRED" => Ok(ProviderStatus::ChallengeRequired),
            "CREATED" | "SAVED" if self.links.iter().any(Link::leads_to_the_shopper) => {
                Ok(ProviderStatus::ChallengeRequired)
            }
            "CREATED" | "SAVED" => Ok(ProviderStatus::Created),
            "VOIDED" => Ok(ProviderStatus::Voided),
            // Completed without its payment, or a word of a later version: it is asked again until it is known.
            other => Err(ProviderError::Unknown(format!("the order is {other}"))),
        }
    }
}

impl Authorization {
    fn is_open(&self) -> bool {
        matches!(self.status.as_str(), "CREATED" | "PENDING")
    }

    fn standing(&self) -> Result<ProviderStatus, ProviderError> {
        match self.status.as_str() {
            "CREATED" => Ok(ProviderStatus::Authorized),
            "DENIED" => Ok(ProviderStatus::Declined),
            "VOIDED" | "EXPIRED" => Ok(ProviderStatus::Voided),
            // Under review, or captured although no capture is shown.
            other => Err(ProviderError::Unknown(format!("the authorization is {other}"))),
        }
    }
}

impl Capture {
    fn is_through(&self) -> bool {
        matches!(self.status.as_str(), "COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED")
    }

    fn is_declined(&self) -> bool {
        matches!(self.status.as_str(), "DECLINED" | "FAILED")
    }
}

impl Refund {
    fn is_failed(&self) -> bool {
        matches!(self.status.as_str(), "FAILED" | "CANCELLED")
    }

    /// See <https://developer.paypal.com/docs/api/payments/v2/#definition-refund_status>.
    pub(super) fn shown(&self) -> Result<ProviderRefund, ProviderError> {
        let standing = match self.status.as_str() {
            "COMPLETED" => RefundStanding::Done,
            "PENDING" => RefundStanding::Pending,
            ended @ ("FAILED" | "CANCELLED") => RefundStanding::Failed(ended.to_ascii_lowercase()),
            other => return Err(ProviderError::Unknown(format!("the refund is {other}"))),
        };
        Ok(ProviderRefund { amount: minor(&self.amount)?, standing })
    }
}

impl Payer {
    /// The account takes the card's place: the same one, whatever it is filled from.
    fn account(self) -> Option<Card> {
        let country = self.address.and_then(|address| address.country_code);
        Some(Card { fingerprint: self.account_id?, country })
    }
}

impl Link {
    /// `approve` is what orders had that were created without a way to pay.
    fn leads_to_the_shopper(&self) -> bool {
        matches!(self.rel.as_str(), "payer-action" | "approve")
    }
}

/// How the refund of that name of ours stands in an order.
pub(super) fn find_refund(order: &Order, refund: RefundId) -> Result<Option<ProviderRefund>, ProviderError> {
    order.refund(&refund.to_string()).map(Refund::shown).transpose()
}

fn minor(amount: &Amount) -> Result<Money, ProviderError> {
    amount.money().ok_or_else(|| unreadable("an amount that is none of its currency"))
}

fn sum<'a>(amounts: impl Iterator<Item = &'a Amount>, currency: shared::Currency) -> Result<Money, ProviderError> {
    let amounts = amounts.map(minor).collect::<Result<Vec<_>, _>>()?;
    Money::sum(currency, amounts).map_err(|error| unreadable(&error.to_string()))
}

/// An error of the API; see <https://developer.paypal.com/api/rest/responses/>.
#[derive(Deserialize)]
struct Failed {
    name: String,
    #[serde(default)]
    debug_id: String,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    issue: String,
}

impl Failed {
    /// One word: the first issue, else the kind of error.
    fn word(&self) -> &str {
        self.details.iter().map(|detail| detail.issue.as_str()).find(|issue| !issue.is_empty()).unwrap_or(&self.name)
    }
}

/// What an answer shows that is a success.
pub(super) fn read<T: DeserializeOwned>(status: StatusCode, answer: &[u8]) -> Result<T, ProviderError> {
    check(status, answer)?;
    serde_json::from_slice(answer).map_err(|error| unreadable(&error.to_string()))
}

/// Nothing, if the answer is a success.
pub(super) fn check(status: StatusCode, answer: &[u8]) -> Result<(), ProviderError> {
    if status.is_success() { Ok(()) } else { Err(failure(status, answer)) }
}

/// Why the shopper's account or what it is filled from does not pay, if that is what an answer says. PayPal would have the
/// shopper choose another way to pay; nobody here asks for that, so it is the end.
pub(super) fn declined(status: StatusCode, answer: &[u8]) -> Option<String> {
    let declines = |issue: &str| {
        matches!(
            issue,
            "CARD_EXPIRED"
                | "COMPLIANCE_VIOLATION"
                | "INSTRUMENT_DECLINED"
                | "MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED"
                | "PAYER_ACCOUNT_LOCKED_OR_CLOSED"
                | "PAYER_ACCOUNT_RESTRICTED"
                | "PAYER_CANNOT_PAY"
                | "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING"
                | "TRANSACTION_BLOCKED_BY_PAYEE"
                | "TRANSACTION_REFUSED"
        )
    };
    let failed: Failed = serde_json::from_slice(answer).ok().filter(|_| status == StatusCode::UNPROCESSABLE_ENTITY)?;
    let word = failed.word();
    declines(word).then(|| word.to_ascii_lowercase())
}

/// What an answer that is no success means. A refusal is PayPal's own word that nothing happened; whatever stands in between,
/// and everything that passes, says nothing.
fn failure(status: StatusCode, answer: &[u8]) -> ProviderError {
    let Ok(failed) = serde_json::from_slice::<Failed>(answer) else {
        return ProviderError::Unknown(format!("status {}", status.as_u16()));
    };
    // Its descriptions may quote what was sent; the debug id is what PayPal's support asks for.
    let said = format!("{} ({}, debug id {})", failed.word(), status.as_u16(), failed.debug_id);
    // Something of that name of ours has happened: it is to be found, not asked for.
    let happened = failed.word() == "DUPLICATE_INVOICE_ID";
    // 409 and 429 are about other requests at the same time; 401 and 403 are about our account, and no order's fault.
    if matches!(status.as_u16(), 400 | 404 | 422) && !happened {
        ProviderError::Refused(said)
    } else {
        ProviderError::Unknown(said)
    }
}

fn unreadable(what: &str) -> ProviderError {
    ProviderError::Unknown(format!("unreadable: {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::Currency;

    use super::*;

    const PAYMENT: &str = "0190b5a0-0000-7007-8000-000000000001";

    /// As the API's reference shows one, without what nobody reads here.
    fn order(status: &str, payments: &Value) -> Value {
        json!({
            "id": "5O190127TN364715T", "intent": "AUTHORIZE", "status": status,
            "payment_source": { "paypal": { "name": { "given_name": "Jane" }, "account_id": "QYR5Z8XDVJNXQ",
                                            "address": { "country_code": "GB" } } },
            "purchase_units": [{ "reference_id": PAYMENT, "custom_id": PAYMENT, "invoice_id": PAYMENT,
                                 "amount": { "currency_code": "GBP", "value": "20.00" }, "payments": payments }],
            "links": [{ "href": "https://api-m.paypal.com/v2/checkout/orders/5O190127TN364715T", "rel": "self" },
                      { "href": "https://www.paypal.com/checkoutnow?token=5O190127TN364715T", "rel": "payer-action" }],
        })
    }

    fn shown(status: &str, payments: &Value) -> Shown {
        read::<Order>(StatusCode::OK, order(status, payments).to_string().as_bytes())?.shown()
    }

    fn part(id: &str, status: &str, value: &str) -> Value {
        json!({ "id": id, "status": status, "custom_id": id, "amount": { "currency_code": "GBP", "value": value } })
    }

    fn authorized(status: &str) -> Value {
        json!({ "authorizations": [part("0AW2184448108334S", status, "20.00")] })
    }

    fn captured(status: &str, refunds: &Value) -> Value {
        json!({ "authorizations": [part("0AW2184448108334S", "CAPTURED", "20.00")],
                "captures": [part("2GG279541U471931P", status, "20.00")], "refunds": refunds })
    }

    #[test]
    fn every_documented_status_has_its_meaning() {
        let (none, parts) = (json!({}), json!([part("a", "COMPLETED", "15.00"), part("b", "PENDING", "5.00")]));
        let all = json!([part("a", "COMPLETED", "15.00"), part("b", "COMPLETED", "5.00")]);
        let mut still_kept_ready = captured("DECLINED", &json!([]));
        still_kept_ready["authorizations"][0]["status"] = json!("CREATED");
        let cases = [
            ("CREATED", none.clone(), ProviderStatus::ChallengeRequired),
            ("PAYER_ACTION_REQUIRED", none.clone(), ProviderStatus::ChallengeRequired),
            ("APPROVED", none.clone(), ProviderStatus::Approved),
            ("VOIDED", none, ProviderStatus::Voided),
            ("COMPLETED", authorized("CREATED"), ProviderStatus::Authorized),
            ("COMPLETED", authorized("DENIED"), ProviderStatus::Declined),
            ("COMPLETED", authorized("VOIDED"), ProviderStatus::Voided),
            ("COMPLETED", captured("DECLINED", &json!([])), ProviderStatus::Declined),
            ("COMPLETED", still_kept_ready, ProviderStatus::Authorized),
            ("COMPLETED", captured("COMPLETED", &json!([])), ProviderStatus::Captured),
            ("COMPLETED", captured("PARTIALLY_REFUNDED", &parts), ProviderStatus::Captured),
            ("COMPLETED", captured("REFUNDED", &all), ProviderStatus::Refunded),
        ];
        for (status, payments, expected) in cases {
            assert_eq!(shown(status, &payments).unwrap().status, expected, "{status} {payments}");
        }
    }

    #[test]
    fn a_payment_is_shown_with_our_name_its_money_its_page_and_who_pays() {
        let asked = shown("PAYER_ACTION_REQUIRED", &json!({})).unwrap();
        assert_eq!(asked.next_action.as_deref(), Some("https://www.paypal.com/checkoutnow?token=5O190127TN364715T"));
        assert_eq!((asked.merchant_reference.as_str(), asked.reference.as_str()), (PAYMENT, "5O190127TN364715T"));
        let part =
            shown("COMPLETED", &captured("PARTIALLY_REFUNDED", &json!([part("a", "COMPLETED", "3.00")]))).unwrap();
        assert_eq!(part.next_action, None, "nobody is to go anywhere");
        let amount = Money::new(2000, Currency::GBP).unwrap();
        assert_eq!((part.amount, part.captured_minor, part.refunded_minor), (amount, 2000, 300));
        let account = Card { fingerprint: "QYR5Z8XDVJNXQ".to_owned(), country: Some("GB".to_owned()) };
        assert_eq!(part.card, Some(account));
    }

    #[test]
    fn what_is_under_way_or_cannot_be_read_is_unknown() {
        let yen = json!([{ "status": "COMPLETED", "amount": { "currency_code": "JPY", "value": "5" } }]);
        let unknown = [
            shown("COMPLETED", &json!({})),
            shown("A_WORD_OF_TOMORROW", &json!({})),
            shown("COMPLETED", &authorized("PENDING")),
            shown("COMPLETED", &authorized("CAPTURED")),
            shown("COMPLETED", &captured("PENDING", &json!([]))),
            shown("COMPLETED", &captured("COMPLETED", &yen)),
            read::<Order>(StatusCode::OK, b"<html>").and_then(Order::shown),
        ];
        for answer in unknown {
            assert!(matches!(answer, Err(ProviderError::Unknown(_))), "{answer:?}");
        }
    }

    #[test]
    fn a_refund_is_found_by_our_name_and_stands_as_paypal_says() {
        let refunds = json!([part("one", "PENDING", "3.00"), part("two", "FAILED", "3.00"), part("x", "ODD", "3.00")]);
        let order = order("COMPLETED", &captured("COMPLETED", &refunds)).to_string();
        let order: Order = read(StatusCode::OK, order.as_bytes()).unwrap();
        let standing = |name| order.refund(name).map(|refund| refund.shown().map(|shown| shown.standing));
        assert_eq!(standing("one"), Some(Ok(RefundStanding::Pending)));
        assert_eq!(standing("two"), Some(Ok(RefundStanding::Failed("failed".to_owned()))));
        assert!(matches!(standing("x"), Some(Err(ProviderError::Unknown(_)))));
        assert_eq!(standing("three"), None);
    }

    fn failed(status: u16, name: &str, issue: &str) -> ProviderError {
        let details = json!([{ "issue": issue, "description": "In words." }]);
        let answer = json!({ "name": name, "message": "In words.", "debug_id": "90957fca61718", "details": details });
        check(StatusCode::from_u16(status).unwrap(), answer.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn only_paypals_own_no_is_a_refusal() {
        let refused = [
            failed(400, "INVALID_REQUEST", "INVALID_PARAMETER_SYNTAX"),
            failed(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID"),
            failed(422, "UNPROCESSABLE_ENTITY", "ORDER_NOT_APPROVED"),
            failed(422, "UNPROCESSABLE_ENTITY", "AUTHORIZATION_VOIDED"),
        ];
        for error in refused {
            assert!(matches!(&error, ProviderError::Refused(said) if said.contains("90957fca61718")), "{error}");
        }
        let unknown = [
            failed(422, "UNPROCESSABLE_ENTITY", "DUPLICATE_INVOICE_ID"),
            failed(401, "AUTHENTICATION_FAILURE", ""),
            failed(403, "NOT_AUTHORIZED", "PERMISSION_DENIED"),
            failed(409, "RESOURCE_CONFLICT", "PREVIOUS_REQUEST_IN_PROGRESS"),
            failed(429, "RATE_LIMIT_REACHED", ""),
            failed(500, "INTERNAL_SERVER_ERROR", ""),
            // A machine in between that knows no such page.
            check(StatusCode::NOT_FOUND, b"<html>404</html>").unwrap_err(),
            check(StatusCode::FOUND, b"").unwrap_err(),
        ];
        for error in unknown {
            assert!(matches!(error, ProviderError::Unknown(_)), "{error}");
        }
    }

    #[test]
    fn a_decline_is_told_from_what_else_is_refused() {
        let said = |status, issue: &str| {
            let answer = json!({ "name": "UNPROCESSABLE_ENTITY", "details": [{ "issue": issue }] });
            declined(status, answer.to_string().as_bytes())
        };
        let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
        assert_eq!(said(unprocessable, "INSTRUMENT_DECLINED").as_deref(), Some("instrument_declined"));
        assert_eq!(said(unprocessable, "ORDER_NOT_APPROVED"), None);
        assert_eq!(said(StatusCode::BAD_GATEWAY, "INSTRUMENT_DECLINED"), None);
    }
}
