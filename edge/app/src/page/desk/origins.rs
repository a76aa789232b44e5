//! From which regions an order's parcels are to come, and a form for each of them.

use serde::Deserialize;
use shared::api::order::{Order, OrderItem, OrderStatus};
use shared::api::origin::{Origin, Origins};
use shared::{OrderId, Problem, ProblemKind, RegionName, Sku};

use crate::app::App;
use crate::core::Call;
use crate::page::order::held;
use crate::platform::Platform;
use crate::session::{User, Visit};

/// What is asked of an order's page: that its form is filled in for a parcel from there.
#[derive(Deserialize)]
pub(crate) struct Chosen {
    #[serde(default)]
    pub(super) from: String,
}

/// Units that lie in a region, and where the form for their parcel is while they have not left.
pub(super) struct There {
    pub(super) region: RegionName,
    pub(super) holds: String,
    pub(super) form: Option<String>,
}

/// Where the order's units lie: empty if all of it lies in its own region, or nothing is to be sent of it.
pub(super) async fn ask<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    user: &User,
    order: &Order,
) -> Result<Vec<Origin>, Problem> {
    if !matches!(order.status, OrderStatus::Confirmed | OrderStatus::Shipped) {
        return Ok(Vec::new());
    }
    let call = Call::get(&format!("/v1/orders/{}/origins", order.order_id)).bearer(&user.token);
    match call.json::<Origins>(&app.platform, visit.client).await {
        Ok(Origins { items }) => Ok(items),
        // Of the order we know: its core does not tell yet.
        Err(problem) if problem.is(ProblemKind::NotFound) => Ok(Vec::new()),
        Err(problem) => Err(problem),
    }
}

pub(super) fn there(origins: &[Origin], order: &Order) -> Vec<There> {
    let there = |origin: &Origin| There {
        region: origin.region.clone(),
        holds: origin.items.iter().map(|item| held(item, order)).collect::<Vec<_>>().join(", "),
        form: (!origin.left.is_empty()).then(|| form(order.order_id, &origin.region)),
    };
    origins.iter().map(there).collect()
}

fn form(order: OrderId, region: &RegionName) -> String {
    format!("/desk/orders/{order}?from={region}#send")
}

/// The region that was chosen, if something of the order is to be sent from there.
pub(super) fn chosen<'a>(origins: &'a [Origin], from: &str) -> Option<&'a Origin> {
    origins.iter().find(|origin| origin.region.as_str() == from && !origin.left.is_empty())
}

/// Units of a SKU that a parcel from there should hold.
pub(super) fn left_there(origin: &Origin, sku: &Sku) -> u32 {
    let of_it = |item: &&OrderItem| item.sku == *sku;
    origin.left.iter().find(of_it).map_or(0, |item| item.quantity.units())
}
