//! One exchange with the carrier about one label. No database here: nothing is held while the carrier thinks.

use tokio::time::Instant;

use crate::carrier::{Carrier, CarrierError, CarrierParcel, Consignment, Refund};
use crate::rules::label::{Answer, Asked, Question};

/// Most calls of one exchange: read first, buy, read again what was refused, and fetch what is printed. Leases are longer than they
/// can take.
#[cfg(test)]
pub(crate) const MOST_CALLS: u32 = 4;

/// Asks for what the label waits for. It is always read first: labels are few, and then nothing depends on remembering whether
/// an earlier attempt came through.
pub(crate) async fn exchange<C: Carrier>(carrier: &C, asked: &Asked) -> Answer {
    let started = Instant::now();
    let answer = match asked.question() {
        Question::Create => create(carrier, asked).await,
        Question::Buy { reference } => buy(carrier, reference, &asked.service).await,
        Question::Void { reference: Some(reference) } => void(carrier, reference).await,
        // Nothing is bought before its reference is committed.
        Question::Void { reference: None } => Ok(Answer::Voided),
        Question::Look { reference } => carrier.track(reference).await.map(|parcel| Answer::Shown(parcel.way)),
    };
    let answer = answer.unwrap_or_else(|error| match error {
        CarrierError::Refused(cause) => Answer::Refused(cause),
        CarrierError::Unknown(cause) => Answer::Unknown(cause),
    });
    metrics::histogram!("label_exchange_seconds", "question" => asked.question().name(), "result" => answer.name())
        .record(started.elapsed().as_secs_f64());
    answer
}

async fn create<C: Carrier>(carrier: &C, asked: &Asked) -> Result<Answer, CarrierError> {
    let parcel = match carrier.find(asked.shipment_id).await? {
        Some(known) => known,
        None => {
            let Asked { shipment_id, destination, weight_grams, .. } = asked;
            let new = Consignment { shipment_id: *shipment_id, to: destination, weight_grams: *weight_grams };
            carrier.create(new).await?
        }
    };
    Ok(Answer::Named(parcel.reference))
}

async fn buy<C: Carrier>(carrier: &C, reference: &str, service: &str) -> Result<Answer, CarrierError> {
    let seen = carrier.track(reference).await?;
    let bought = if seen.postage.is_some() { seen } else { buy_now(carrier, seen, service).await? };
    let Some(postage) = bought.postage else {
        return Err(CarrierError::Unknown("it was bought, and is not shown".to_owned()));
    };
    let pdf = carrier.pdf(&postage).await.map_err(|error| CarrierError::Unknown(error.to_string()))?;
    Ok(Answer::Bought { postage, way: bought.way, pdf })
}

async fn buy_now<C: Carrier>(carrier: &C, seen: CarrierParcel, service: &str) -> Result<CarrierParcel, CarrierError> {
    let Some(rate) = seen.rates.iter().find(|rate| rate.service.eq_ignore_ascii_case(service)) else {
        let offered: Vec<&str> = seen.rates.iter().map(|rate| rate.service.as_str()).collect();
        let offered = if offered.is_empty() { "nothing is".to_owned() } else { offered.join(", ") };
        return Err(CarrierError::Refused(format!("{service:?} is not offered for this parcel; offered: {offered}")));
    };
    match carrier.buy(&seen.reference, rate).await {
        // Refused because it was bought: by an attempt of ours that came through after all.
        Err(CarrierError::Refused(cause)) => match carrier.track(&seen.reference).await? {
            bought if bought.postage.is_some() => Ok(bought),
            _ => Err(CarrierError::Refused(cause)),
        },
        answer => answer,
    }
}

async fn void<C: Carrier>(carrier: &C, reference: &str) -> Result<Answer, CarrierError> {
    let seen = carrier.track(reference).await?;
    if seen.postage.is_none() {
        return Ok(Answer::NothingBought);
    }
    if seen.way.has_left() {
        return Err(CarrierError::Refused(format!("the carrier has the parcel: {}", seen.way.name())));
    }
    let refund = match seen.refund {
        Some(Refund::Granted) => Some(Refund::Granted),
        Some(Refund::Rejected) | None => carrier.void(reference).await?.refund,
    };
    match refund {
        Some(Refund::Granted) => Ok(Answer::Voided),
        Some(Refund::Rejected) => Err(CarrierError::Refused("the carrier does not take it back".to_owned())),
        None => Err(CarrierError::Unknown("it is not said whether it is taken back".to_owned())),
    }
}
