//! `POST /v1/orders/{order_id}/payment/confirm`: the shopper answered the provider.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use futures::future::BoxFuture;
use region_core_web::{Json, Path, SignedIn};
use shared::api::order::Order;
use shared::{OrderId, Problem, UserId};

use crate::Payments;
use crate::provider::Provider;

/// Finds the caller's own order, or says 404: handed in by the wiring, since payment knows nothing of orders.
pub type FindOrder = Arc<dyn Fn(UserId, OrderId) -> BoxFuture<'static, Result<Order, Problem>> + Send + Sync>;

/// The service's routes.
pub fn router<P: Provider>(payments: Payments<P>, find: FindOrder) -> Router {
    Router::new()
        .route("/v1/orders/{order_id}/payment/confirm", post(confirm::<P>))
        .with_state(Confirming { payments, find })
}

struct Confirming<P> {
    payments: Payments<P>,
    find: FindOrder,
}

impl<P> Clone for Confirming<P> {
    fn clone(&self) -> Self {
        Self { payments: self.payments.clone(), find: Arc::clone(&self.find) }
    }
}

/// Answers with the order as it is now; what came of the challenge shows in it soon.
async fn confirm<P: Provider>(
    State(Confirming { payments, find }): State<Confirming<P>>,
    caller: SignedIn,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Order>, Problem> {
    find(caller.user_id(), order_id).await?;
    payments.confirm_challenge(order_id).await?;
    Ok(Json(find(caller.user_id(), order_id).await?))
}
