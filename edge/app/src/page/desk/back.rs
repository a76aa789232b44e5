//! What goes back, at the desk: parts of the money, and goods.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::response::Response;
use shared::api::order::{Inspection, NewReturn, Order, OrderItem, Return, ReturnedItem};
use shared::api::refund::{NewRefund, Refund, RefundStatus};
use shared::{Currency, Money, OrderId, Problem, ReturnId, Sku};

use super::{act, counted, field, order_id};
use crate::app::App;
use crate::core::Call;
use crate::page::order::moment;
use crate::platform::Platform;
use crate::session::Visit;

/// A part of the money that goes back, as people read it.
pub(super) struct GivenBack {
    pub(super) amount: Money,
    pub(super) reason: String,
    pub(super) said: String,
}

/// Goods that came back, and where to say what became of them.
pub(super) struct CameBack {
    pub(super) lines: Vec<BackLine>,
    pub(super) reason: String,
    pub(super) said: String,
    pub(super) inspection: Option<String>,
}

/// One SKU of them.
pub(super) struct BackLine {
    pub(super) item: ReturnedItem,
    pub(super) title: String,
}

impl From<Refund> for GivenBack {
    fn from(refund: Refund) -> Self {
        let why = refund.last_error.map(|error| format!(": {error}")).unwrap_or_default();
        let said = match refund.status {
            RefundStatus::Pending => format!("The bank is being asked{why}"),
            RefundStatus::Refunded => "Given back".to_owned(),
            RefundStatus::Refused => format!("The bank refused{why}"),
        };
        Self { amount: refund.amount, reason: refund.reason, said }
    }
}

/// The order's returns.
pub(super) fn came_back(order: &Order) -> Vec<CameBack> {
    let title = |sku: &Sku| {
        let line = order.lines.iter().find(|line| line.sku == *sku);
        line.map_or_else(|| sku.to_string(), |line| line.title.clone())
    };
    let line = |item: &ReturnedItem| BackLine { title: title(&item.sku), item: item.clone() };
    let back = |back: &Return| CameBack {
        lines: back.items.iter().map(line).collect(),
        reason: back.reason.clone(),
        said: match back.inspected_at {
            Some(at) => format!("{}, {}", found(back), moment(at)),
            None => format!("registered {}, nobody has looked yet", moment(back.registered_at)),
        },
        inspection: back
            .inspected_at
            .is_none()
            .then(|| format!("/desk/orders/{}/returns/{}/inspection", order.order_id, back.return_id)),
    };
    order.returns.iter().map(back).collect()
}

fn found(back: &Return) -> String {
    let all: u32 = back.items.iter().map(|item| item.quantity.units()).sum();
    let restocked: u32 = back.items.iter().filter_map(|item| item.restocked).sum();
    format!("{restocked} for sale again, {} written off", all.saturating_sub(restocked))
}

/// Units of each SKU that have left and not come back.
pub(super) fn with_the_shopper(order: &Order) -> BTreeMap<Sku, u32> {
    let mut out: BTreeMap<Sku, u32> = BTreeMap::new();
    for item in order.shipments.iter().flat_map(|shipment| &shipment.items) {
        *out.entry(item.sku.clone()).or_default() += item.quantity.units();
    }
    for item in order.returns.iter().flat_map(|back| &back.items) {
        let left = out.entry(item.sku.clone()).or_default();
        *left = left.saturating_sub(item.quantity.units());
    }
    out
}

/// `POST /desk/orders/{order_id}/refunds`: a part of the money goes back.
pub(crate) async fn refund<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let (id, key) = (order_id(&id)?, field(&fields, "key"));
    let reason = field(&fields, "reason");
    let calls = amount(&fields).and_then(|amount| {
        let amount = amount.ok_or_else(|| "How much goes back? An amount, please.".to_owned())?;
        Ok(vec![asked(id, NewRefund { amount, reason }, &key)])
    });
    act(&app, &visit, id, calls, Some(key)).await
}

fn asked(id: OrderId, refund: NewRefund, key: &str) -> Call {
    Call::post(&format!("/v1/orders/{id}/refunds"), &refund).idempotency_key(key)
}

/// The amount that the form names, if it names one.
fn amount(fields: &[(String, String)]) -> Result<Option<Money>, String> {
    let typed = field(fields, "amount");
    if typed.is_empty() {
        return Ok(None);
    }
    let wrong = || format!("How much goes back? An amount such as 12.50, please, not {typed}.");
    let currency: Currency = field(fields, "currency").parse().map_err(|_| wrong())?;
    let amount = Money::parse_decimal(typed.trim_start_matches(&currency.symbol()).trim(), currency);
    amount.ok().filter(|amount| amount.minor() > 0).map(Some).ok_or_else(wrong)
}

/// `POST /desk/orders/{order_id}/returns`: goods come back.
pub(crate) async fn take_back<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let (id, key) = (order_id(&id)?, field(&fields, "key"));
    let calls = counted(&fields).and_then(|items| {
        if items.is_empty() {
            return Err("Something comes back: say how many of what.".to_owned());
        }
        let back = NewReturn { items, reason: field(&fields, "reason") };
        Ok(vec![Call::post(&format!("/v1/orders/{id}/returns"), &back).idempotency_key(&key)])
    });
    act(&app, &visit, id, calls, Some(key)).await
}

/// `POST /desk/orders/{order_id}/returns/{return_id}/inspection`: somebody has looked at goods that came back, and gives some
/// money back for them in the same breath, if he likes.
pub(crate) async fn inspect<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path((id, return_id)): Path<(String, String)>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let (id, return_id) = (order_id(&id)?, return_id.parse::<ReturnId>().map_err(|_| Problem::not_found())?);
    act(&app, &visit, id, looked(id, return_id, &fields), None).await
}

/// Both steps may be repeated: the second is asked for under the name of the return, so that it happens once.
fn looked(id: OrderId, return_id: ReturnId, fields: &[(String, String)]) -> Result<Vec<Call>, String> {
    let restock: Vec<OrderItem> = counted(fields)?;
    let path = format!("/v1/orders/{id}/returns/{return_id}/inspection");
    let mut calls = vec![Call::post(&path, &Inspection { restock })];
    if let Some(amount) = amount(fields)? {
        let refund = NewRefund { amount, reason: field(fields, "reason") };
        calls.push(asked(id, refund, &format!("return-{return_id}")));
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(amount: &str) -> Result<Option<i64>, String> {
        let fields = [("amount", amount), ("currency", "GBP")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        super::amount(&fields).map(|amount| amount.map(Money::minor))
    }

    #[test]
    fn an_amount_is_read_as_people_write_it_or_asked_for_again() {
        assert_eq!(typed(" 12.50 "), Ok(Some(1250)));
        assert_eq!(typed("£3"), Ok(Some(300)));
        assert_eq!(typed("  "), Ok(None));
        for bad in ["0", "-1", "1.234", "some", "1,5", "£"] {
            assert!(typed(bad).is_err(), "{bad:?}");
        }
    }
}
