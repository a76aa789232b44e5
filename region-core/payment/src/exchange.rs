//! One exchange with the provider about one payment. No database here: nothing is held while the provider thinks.

use region_core_store::{Bug, planted};
use shared::{Money, PaymentId};
use tokio::time::Instant;
use uuid::Uuid;

use crate::page::{is_page, return_url};
use crate::provider::{NewPayment, Provider, ProviderError, ProviderPayment, Shown};
use crate::rules::{self, Answer, Call, Payment};

/// Most calls of one exchange: read first, ask, for which a name may have to be looked up, and read again what was refused, or what
/// a refund made of it. Leases are longer than they can take.
#[cfg(test)]
pub(crate) const MOST_CALLS: u32 = 4;

/// Asks for what the payment waits for. After an attempt whose outcome nobody knows the payment is read first, and asked
/// for again, under the same key, only if it did not happen. `shop` is where its pages are, to come back to.
pub(crate) async fn exchange<P: Provider>(provider: &P, payment: &Payment, shop: Option<&str>) -> Answer {
    let Some(call) = payment.call() else {
        return Answer::Unknown("nothing to ask for".to_owned());
    };
    let started = Instant::now();
    let answer = match read_first(provider, payment, &call).await {
        Ok(Some(shown)) => Answer::Shown(shown),
        Ok(None) => ask(provider, payment, &call, shop).await,
        Err(error) => Answer::Unknown(error.to_string()),
    };
    let result = match answer {
        Answer::Shown(_) => "shown",
        Answer::Refused(_) => "refused",
        Answer::Unknown(_) => "unknown",
    };
    metrics::histogram!("payment_exchange_seconds", "call" => call.verb(), "result" => result)
        .record(started.elapsed().as_secs_f64());
    led_safely(provider, answer)
}

/// The same answer, without a page that no shopper may be sent to.
fn led_safely<P: Provider>(provider: &P, answer: Answer) -> Answer {
    let Answer::Shown(mut shown) = answer else { return answer };
    if let Some(url) = &shown.next_action
        && !is_page(url, provider.is_local())
    {
        tracing::error!(payment.reference = shown.reference, "the provider leads shoppers to what is no https page");
        shown.next_action = None;
    }
    Answer::Shown(shown)
}

/// How the payment stands, if an earlier attempt may have happened and did.
async fn read_first<P: Provider>(
    provider: &P,
    payment: &Payment,
    call: &Call,
) -> Result<Option<ProviderPayment>, ProviderError> {
    if payment.attempts <= 1 || *call == Call::Look || planted(Bug::NewPaymentKey) {
        return Ok(None);
    }
    let shown = match &payment.provider_reference {
        Some(reference) => Some(provider.get(reference).await?),
        None => provider.find(payment.payment_id).await?,
    };
    Ok(shown.filter(|shown| rules::settle(payment, &Answer::Shown(shown.clone())).progress))
}

async fn ask<P: Provider>(provider: &P, payment: &Payment, call: &Call, shop: Option<&str>) -> Answer {
    match make(provider, payment, call, shop).await {
        Ok(shown) => Answer::Shown(shown),
        Err(ProviderError::Unknown(cause)) => Answer::Unknown(cause),
        Err(ProviderError::Refused(cause)) => refused(provider, payment, cause).await,
    }
}

async fn make<P: Provider>(provider: &P, payment: &Payment, call: &Call, shop: Option<&str>) -> Shown {
    let key = call.key(payment);
    let Some(reference) = &payment.provider_reference else {
        let Payment { payment_id, amount, payment_token, .. } = payment;
        let back = shop.map(|shop| return_url(shop, payment.order_id));
        let new = NewPayment { payment_id: *payment_id, amount: *amount, payment_token, return_url: back.as_deref() };
        return provider.create(new, &key).await;
    };
    match call {
        Call::Create | Call::Look => provider.get(reference).await,
        Call::Authorize { .. } => {
            let back = shop.map(|shop| return_url(shop, payment.order_id));
            provider.authorize_returning(reference, back.as_deref(), &key).await
        }
        Call::Confirm { challenge_id } => provider.confirm(reference, challenge_id, &key).await,
        Call::Capture if payment.attempts > 1 && planted(Bug::NewPaymentKey) => {
            charge_anew(provider, payment, reference).await
        }
        Call::Capture => provider.capture(reference, &key).await,
        Call::Void => provider.void(reference, &key).await,
        Call::Refund { amount_minor } => {
            let amount = Money::new(*amount_minor, payment.amount.currency());
            let amount = amount.map_err(|error| ProviderError::Refused(error.to_string()))?;
            provider.refund(reference, amount, &key).await
        }
    }
}

/// What a new key on a retry means: a second charge beside the first, which may have succeeded. Only
/// [`Bug::NewPaymentKey`] does this.
async fn charge_anew<P: Provider>(provider: &P, payment: &Payment, reference: &str) -> Shown {
    let attempt = u128::try_from(payment.attempts).unwrap_or_default();
    let twin = PaymentId::from_uuid(Uuid::from_u128(payment.payment_id.as_uuid().as_u128() ^ attempt));
    let charged = Payment { payment_id: twin, ..payment.clone() };
    let key = |call: &Call| call.key(&charged);
    let Payment { amount, payment_token, .. } = payment;
    let new = NewPayment { payment_id: twin, amount: *amount, payment_token, return_url: None };
    let shown = provider.create(new, &key(&Call::Create)).await?;
    provider.authorize(&shown.reference, &key(&Call::Authorize { asked: 0 })).await?;
    provider.capture(&shown.reference, &key(&Call::Capture)).await?;
    provider.capture(reference, &Call::Capture.key(payment)).await
}

/// A payment that is refused stands otherwise than we thought: how it stands decides.
async fn refused<P: Provider>(provider: &P, payment: &Payment, cause: String) -> Answer {
    let Some(reference) = &payment.provider_reference else {
        return Answer::Refused(cause);
    };
    match provider.get(reference).await {
        Ok(shown) if rules::settle(payment, &Answer::Shown(shown.clone())).progress => Answer::Shown(shown),
        Ok(_) => Answer::Refused(cause),
        Err(error) => Answer::Unknown(error.to_string()),
    }
}
