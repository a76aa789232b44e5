//! `GET /v1/keys` and `GET /v1/slot-map`: what edges need to check a token and to find a user's region.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use region_core_store::Shards;
use region_core_web::Verifier;
use shared::SlotMap;
use shared::token::KeySet;

pub(crate) fn router(shards: Shards, verifier: Verifier) -> Router {
    Router::new()
        .route("/v1/keys", get(keys).with_state(verifier))
        .route("/v1/slot-map", get(slot_map).with_state(shards))
}

async fn keys(State(verifier): State<Verifier>) -> Json<KeySet> {
    Json(KeySet::clone(&verifier.keys()))
}

async fn slot_map(State(shards): State<Shards>) -> Json<SlotMap> {
    Json(SlotMap::clone(&shards.map()))
}
