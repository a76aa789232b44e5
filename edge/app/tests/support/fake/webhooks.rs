//! The fake core's endpoints for webhooks.

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::Value;
use shared::api::webhook::{
    ChangeEndpoint, Delivery, DeliveryPage, DeliveryState, Endpoint, EndpointPage, EndpointState, EndpointWithSecret,
    NewEndpoint, Switch,
};
use shared::{EndpointId, EventId, Problem};
use time::OffsetDateTime;

use super::{Answer, Core, ok, read};

impl Core {
    pub(super) fn webhooks(&mut self, request: &Request<Bytes>, now_ms: u64, rest: &[&str]) -> Answer {
        let number = self.number();
        let event_id = EventId::mint(now_ms, [number.to_be_bytes()[7]; 10]);
        let secret =
            |endpoint: &Endpoint| EndpointWithSecret { endpoint: endpoint.clone(), secret: format!("whsec_{number}") };
        if let ("POST", []) = (request.method().as_str(), rest) {
            let NewEndpoint { url, event_types, description } = read(request)?;
            if !url.starts_with("https://") {
                return Err(Problem::invalid("url", "https alone"));
            }
            let endpoint_id = EndpointId::mint(now_ms, [number.to_be_bytes()[7]; 10]);
            let created_at = OffsetDateTime::UNIX_EPOCH;
            let state = EndpointState::Active;
            let (disabled_reason, failing_since, previous_secret_until) = (None, None, None);
            self.endpoints.push(Endpoint {
                endpoint_id,
                url,
                description,
                event_types,
                state,
                disabled_reason,
                failing_since,
                previous_secret_until,
                created_at,
            });
            return ok(&secret(&self.endpoints[self.endpoints.len() - 1]));
        }
        if rest.is_empty() {
            return ok(&EndpointPage { items: self.endpoints.clone(), next_cursor: None });
        }
        let at = self.endpoints.iter().position(|own| own.endpoint_id.to_string() == rest[0]);
        let at = at.ok_or(Problem::not_found())?;
        let endpoint = &mut self.endpoints[at];
        match (request.method().as_str(), &rest[1..]) {
            ("GET", []) => ok(endpoint),
            ("PATCH", []) => {
                endpoint.state = match read::<ChangeEndpoint>(request)?.state.unwrap() {
                    Switch::Active => EndpointState::Active,
                    Switch::Paused => EndpointState::Paused,
                };
                ok(endpoint)
            }
            ("DELETE", []) => {
                self.endpoints.remove(at);
                Ok((StatusCode::NO_CONTENT, Value::Null))
            }
            ("POST", ["rotate-secret"]) => ok(&secret(endpoint)),
            ("POST", ["test"] | ["deliveries", _, "replay"]) => Ok((StatusCode::ACCEPTED, Value::Null)),
            ("GET", ["deliveries"]) => {
                let failed = Delivery {
                    event_id,
                    event_type: "order.confirmed".to_owned(),
                    order_id: None,
                    state: DeliveryState::Failed,
                    attempts: 10,
                    next_attempt_at: None,
                    last_status: Some(500),
                    last_error: Some("the receiver answered <500>".to_owned()),
                    last_answer: None,
                    created_at: endpoint.created_at,
                    delivered_at: None,
                };
                ok(&DeliveryPage { items: vec![failed], next_cursor: Some(event_id), missing: Vec::new() })
            }
            _ => Err(Problem::not_found()),
        }
    }
}
