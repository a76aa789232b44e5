//! Goods that lie in another region than their shopper are sent from there.

use std::time::Duration;

use serde_json::{Value, json};
use shared::api::desk::DeskPage;
use shared::api::order::{Order, OrderStatus};
use shared::api::origin::Origins;
use shared::{OrderId, RegionName, SlotMap};
use tests::shopper::key;
use tests::{Shopper, goods, until};

use crate::returning::keeper;
use crate::store::{books, pop, sites, worker};

const SOON: Duration = Duration::from_secs(30);

/// Region, units that lie there, and those of them that are still to be sent.
async fn lies(operator: &Shopper, order: OrderId) -> Vec<(String, u32, u32)> {
    let told: Origins = operator.get(&format!("/v1/orders/{order}/origins")).await.expect(200).json();
    let sum = |items: &[shared::api::order::OrderItem]| items.iter().map(|item| item.quantity.units()).sum();
    told.items.iter().map(|origin| (origin.region.to_string(), sum(&origin.items), sum(&origin.left))).collect()
}

async fn is_to_be_sent(operator: &Shopper, from: &str, order: OrderId) -> bool {
    let page: DeskPage = operator.get(&format!("/v1/desk/orders?from={from}&limit=100")).await.expect(200).json();
    assert!(page.missing.is_empty(), "{:?} did not answer", page.missing);
    page.items.iter().any(|item| item.order_id == order)
}

#[tokio::test]
async fn what_lies_in_another_region_is_sold_here_and_sent_from_there() {
    let (operator, sku) = (Shopper::operator(sites()).await, goods::plenty());
    let map: SlotMap = operator.get("/v1/slot-map").await.expect(200).json();
    let shopper = Shopper::guest(pop()).await;
    let (own, here) = (map.shard_of(shopper.tokens.user_id.slot()), map.region_of(shopper.tokens.user_id.slot()));
    let there: RegionName = map.shards().map(|(_, region)| region).find(|region| *region != here).unwrap().clone();
    // All of it is lost here, but for one in the shopper's own shard.
    for (shard, _) in map.shards().filter(|(_, region)| *region == here) {
        let lost = goods::PLENTY_PER_SHARD - i64::from(shard == own);
        let entry = json!({ "ref": key(), "sku": sku, "kind": "shrink", "units": lost, "shard": shard.number() });
        assert!(operator.post("/v1/stock/entries", &entry).await.status < 300);
    }
    let entries: Value = operator.get(&format!("/v1/stock/entries?sku={sku}")).await.expect(200).json();
    let lost: Vec<_> = entries["items"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "shrink").collect();
    let regions = lost.iter().map(|entry| map.region_of_shard(serde_json::from_value(entry["shard"].clone()).unwrap()));
    assert!(!lost.is_empty() && regions.eq(std::iter::repeat_n(Some(here), lost.len())), "{entries}");
    let (wanted, under) = (shopper.order_of(&[(&sku, 3)], "tok_success").await, key());
    let placed = async || Some(shopper.place(&under, &wanted).await).filter(|answer| answer.status == 201);
    let order = until("units have come from the other region", SOON, placed).await.json::<Order>().order_id;
    assert_eq!(shopper.decided(order).await.status, OrderStatus::Confirmed);

    let (here, there) = (here.to_string(), there.to_string());
    let planned = async || Some(lies(&operator, order).await).filter(|lies| !lies.is_empty());
    let planned = until("the order is planned", SOON, planned).await;
    assert_eq!(planned, [(here.clone(), 1, 1), (there.clone(), 2, 2)]);
    assert!(is_to_be_sent(&operator, &here, order).await && is_to_be_sent(&operator, &there, order).await);

    // The page of the desk has a form for each parcel.
    let (visitor, desk) = (keeper(worker()).await, format!("/desk/orders/{order}"));
    let units = format!("units:{sku}");
    for (region, count, still) in
        [(&there, "2", [(&here, true), (&there, false)]), (&here, "1", [(&here, false), (&there, false)])]
    {
        let page = visitor.open(&desk).await.expect(200);
        let links = page.attributes("section[aria-labelledby=origins] a", "href");
        let link = links.iter().find(|link| link.contains(&format!("from={region}"))).unwrap();
        let form = visitor.open(link).await.expect(200).form(&format!("{desk}/shipments"));
        assert_eq!((form.value(&units), form.value("from")), (count, region.as_str()));
        visitor.submit(&form.with("carrier", "Royal Mail")).await.expect(200);
        for (from, due) in still {
            assert_eq!(is_to_be_sent(&operator, from, order).await, due, "{from}, after the parcel from {region}");
        }
    }
    let sent = shopper.order(order).await;
    let from: Vec<_> =
        sent.shipments.iter().filter_map(|parcel| parcel.from.as_ref()).map(RegionName::as_str).collect();
    assert_eq!((sent.status, from), (OrderStatus::Shipped, vec![there.as_str(), here.as_str()]));
    for parcel in &sent.shipments {
        let path = format!("/v1/orders/{order}/shipments/{}/delivered", parcel.shipment_id);
        operator.post(&path, &json!({})).await.expect(200);
    }
    assert_eq!(shopper.order(order).await.status, OrderStatus::Delivered);
    books().money_matches(shopper.tokens.user_id).await;
}
