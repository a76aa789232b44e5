//! Where merchants' systems are told of events: the rows behind `/v1/webhook-endpoints`, on a catalog database.
//!
//! Changes go to the primary; every region follows its own copy.

use std::time::Duration;

use secrecy::SecretSlice;
use shared::EndpointId;
use shared::api::webhook::{Endpoint, EndpointState, EventType, Switch};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::ControlError;

/// Serialises who takes places: `webhook` in ASCII.
const PLACES: i64 = 0x77_6562_686f_6f6b;
/// Most endpoints of a store, as the table says too.
pub const MOST_ENDPOINTS: usize = 32;

/// An endpoint with what signs for it.
#[derive(Clone, Debug)]
pub struct KeptEndpoint {
    /// What people are shown.
    pub shown: Endpoint,
    /// Its live secrets, the newest first: one, or two while it is rotated.
    pub secrets: Vec<SecretSlice<u8>>,
}

/// An endpoint to be kept.
#[derive(Clone, Debug)]
pub struct NewKept {
    /// Its id, if it is new.
    pub endpoint_id: EndpointId,
    /// What the request is called, and its SHA-256: a repeat makes nothing.
    pub key: String,
    /// Of the request.
    pub request_hash: [u8; 32],
    /// Where events are posted to.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// Of what it is told.
    pub event_types: Vec<EventType>,
    /// What signs, if it is new.
    pub secret: [u8; 32],
}

/// What is to change about an endpoint; what is absent stays.
#[derive(Clone, Default, Debug)]
pub struct Changed {
    /// Where events are posted to.
    pub url: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Of what it is told.
    pub event_types: Option<Vec<EventType>>,
    /// Whether it is told.
    pub state: Option<Switch>,
}

/// What came of making an endpoint.
#[derive(Clone, Debug)]
pub enum Made {
    /// It stands: made now, or by the first request under this key.
    Stands(KeptEndpoint),
    /// The key belongs to another request.
    OtherRequest,
    /// There are [`MOST_ENDPOINTS`].
    Full,
}

/// What attempts of late say about endpoints.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// Took something.
    pub answered: Vec<EndpointId>,
    /// Failed, and took nothing.
    pub failed: Vec<EndpointId>,
    /// Said at this URL that they are gone.
    pub gone: Vec<(EndpointId, String)>,
}

/// Every endpoint, oldest first.
///
/// # Errors
/// [`ControlError`].
pub async fn list_endpoints(pool: &PgPool) -> Result<Vec<KeptEndpoint>, ControlError> {
    read(&mut *pool.acquire().await?, None).await
}

/// The endpoint, if there is one.
///
/// # Errors
/// [`ControlError`].
pub async fn find_endpoint(pool: &PgPool, id: EndpointId) -> Result<Option<KeptEndpoint>, ControlError> {
    Ok(read(&mut *pool.acquire().await?, Some(id.as_uuid())).await?.pop())
}

/// Makes an endpoint, once under its key.
///
/// # Errors
/// [`ControlError`]; nothing is changed then.
pub async fn make_endpoint(primary: &PgPool, new: &NewKept) -> Result<Made, ControlError> {
    let mut tx = primary.begin().await?;
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", PLACES).execute(&mut *tx).await?;
    let standing = sqlx::query!(
        "SELECT endpoint_id, request_hash FROM control.webhook_endpoints WHERE created_under = $1",
        new.key,
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(standing) = standing {
        if standing.request_hash != new.request_hash {
            return Ok(Made::OtherRequest);
        }
        let kept = read(&mut tx, Some(standing.endpoint_id)).await?.pop();
        return kept.map(Made::Stands).ok_or(ControlError::Sql(sqlx::Error::RowNotFound));
    }
    let types: Vec<_> = new.event_types.iter().map(|kind| kind.name()).collect();
    let made = sqlx::query!(
        "INSERT INTO control.webhook_endpoints
             (endpoint_id, created_under, request_hash, place, url, description, event_types, secret)
         SELECT $1, $2, $3, min(place)::smallint, $4, $5, $6::text[], $7
         FROM generate_series(1, 32) AS free (place)
         WHERE NOT EXISTS (SELECT FROM control.webhook_endpoints AS taken WHERE taken.place = free.place)
         HAVING min(place) IS NOT NULL",
        new.endpoint_id.as_uuid(),
        new.key,
        &new.request_hash[..],
        new.url,
        new.description,
        &types as &[&str],
        &new.secret[..],
    )
    .execute(&mut *tx)
    .await?;
    let kept = read(&mut tx, Some(new.endpoint_id.as_uuid())).await?.pop();
    tx.commit().await?;
    match kept {
        Some(kept) if made.rows_affected() == 1 => Ok(Made::Stands(kept)),
        _ => Ok(Made::Full),
    }
}

/// Changes an endpoint and shows it. One that is switched on again has its failures forgotten.
///
/// # Errors
/// [`ControlError`]; nothing is changed then.
pub async fn change_endpoint(
    primary: &PgPool,
    id: EndpointId,
    changed: &Changed,
) -> Result<Option<KeptEndpoint>, ControlError> {
    let types: Option<Vec<_>> =
        changed.event_types.as_ref().map(|types| types.iter().map(|kind| kind.name().to_owned()).collect());
    let state = changed.state.map(|state| match state {
        Switch::Active => "active",
        Switch::Paused => "paused",
    });
    let mut tx = primary.begin().await?;
    sqlx::query!(
        "UPDATE control.webhook_endpoints SET
             url = coalesce($2, url), description = coalesce($3, description), event_types = coalesce($4, event_types),
             state = coalesce($5, state),
             disabled_reason = CASE WHEN $5::text IS NULL THEN disabled_reason END,
             failing_since = CASE WHEN $5::text IS NULL AND $2::text IS NULL THEN failing_since END
         WHERE endpoint_id = $1",
        id.as_uuid(),
        changed.url,
        changed.description,
        types.as_deref(),
        state,
    )
    .execute(&mut *tx)
    .await?;
    let kept = read(&mut tx, Some(id.as_uuid())).await?.pop();
    tx.commit().await?;
    Ok(kept)
}

/// Gives an endpoint another secret; the one before signs as well for `overlap`. Under the same key it is the same secret.
///
/// # Errors
/// [`ControlError`]; nothing is changed then.
pub async fn rotate_secret(
    primary: &PgPool,
    id: EndpointId,
    key: &str,
    secret: &[u8; 32],
    overlap: Duration,
) -> Result<Option<KeptEndpoint>, ControlError> {
    let mut tx = primary.begin().await?;
    sqlx::query!(
        "UPDATE control.webhook_endpoints SET
             previous_secret = secret, previous_until = now() + make_interval(secs => $4), secret = $3, rotated_under = $2
         WHERE endpoint_id = $1 AND rotated_under IS DISTINCT FROM $2",
        id.as_uuid(),
        key,
        &secret[..],
        overlap.as_secs_f64(),
    )
    .execute(&mut *tx)
    .await?;
    let kept = read(&mut tx, Some(id.as_uuid())).await?.pop();
    tx.commit().await?;
    Ok(kept)
}

/// Forgets an endpoint. `false` if there was none.
///
/// # Errors
/// [`ControlError`].
pub async fn delete_endpoint(primary: &PgPool, id: EndpointId) -> Result<bool, ControlError> {
    let done = sqlx::query!("DELETE FROM control.webhook_endpoints WHERE endpoint_id = $1", id.as_uuid());
    Ok(done.execute(primary).await?.rows_affected() == 1)
}

/// Keeps what attempts say about endpoints, and disables those that have failed for `patience` without taking anything, and
/// those that are gone; tells which and why.
///
/// # Errors
/// [`ControlError`]; nothing is changed then.
pub async fn report(
    primary: &PgPool,
    report: &Report,
    patience: Duration,
) -> Result<Vec<(EndpointId, String)>, ControlError> {
    let ids = |ids: &[EndpointId]| ids.iter().map(|id| id.as_uuid()).collect::<Vec<_>>();
    let (gone, urls): (Vec<_>, Vec<_>) = report.gone.iter().map(|(id, url)| (id.as_uuid(), url.clone())).unzip();
    let mut tx = primary.begin().await?;
    sqlx::query!(
        "UPDATE control.webhook_endpoints SET failing_since = NULL
         WHERE endpoint_id = ANY ($1) AND failing_since IS NOT NULL AND state <> 'disabled'",
        &ids(&report.answered),
    )
    .execute(&mut *tx)
    .await?;
    let failed = sqlx::query!(
        r#"UPDATE control.webhook_endpoints SET
               failing_since = coalesce(failing_since, now()),
               state = CASE WHEN failing_since < now() - make_interval(secs => $2) THEN 'disabled' ELSE state END,
               disabled_reason = CASE WHEN failing_since < now() - make_interval(secs => $2)
                                      THEN 'every attempt has failed since ' || to_char(failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') END
           WHERE endpoint_id = ANY ($1) AND state = 'active'
             AND (failing_since IS NULL OR failing_since < now() - make_interval(secs => $2))
           RETURNING endpoint_id, disabled_reason"#,
        &ids(&report.failed),
        patience.as_secs_f64(),
    )
    .fetch_all(&mut *tx)
    .await?;
    let gone = sqlx::query!(
        r#"UPDATE control.webhook_endpoints AS own SET
               state = 'disabled', disabled_reason = 'the receiver said that it is gone (410)'
           FROM UNNEST($1::uuid[], $2::text[]) AS gone (endpoint_id, url)
           WHERE own.endpoint_id = gone.endpoint_id AND own.url = gone.url AND own.state = 'active'
           RETURNING own.endpoint_id, own.disabled_reason"#,
        &gone,
        &urls,
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let disabled = failed.into_iter().map(|row| (row.endpoint_id, row.disabled_reason));
    let disabled = disabled.chain(gone.into_iter().map(|row| (row.endpoint_id, row.disabled_reason)));
    Ok(disabled.filter_map(|(id, reason)| Some((EndpointId::from_uuid(id), reason?))).collect())
}

/// An endpoint as read; the secret before it only while it is live.
struct Row {
    endpoint_id: Uuid,
    url: String,
    description: String,
    event_types: Vec<String>,
    state: String,
    disabled_reason: Option<String>,
    failing_since: Option<OffsetDateTime>,
    secret: Vec<u8>,
    previous_secret: Option<Vec<u8>>,
    previous_until: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
}

/// One endpoint, or all of them, oldest first.
async fn read(conn: &mut PgConnection, only: Option<Uuid>) -> Result<Vec<KeptEndpoint>, ControlError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT endpoint_id, url, description, event_types, state, disabled_reason, failing_since, secret,
                CASE WHEN previous_until > now() THEN previous_secret END AS previous_secret,
                CASE WHEN previous_until > now() THEN previous_until END AS previous_until, created_at
         FROM control.webhook_endpoints WHERE $1::uuid IS NULL OR endpoint_id = $1 ORDER BY endpoint_id",
        only,
    );
    rows.fetch_all(conn).await?.into_iter().map(KeptEndpoint::try_from).collect()
}

impl TryFrom<Row> for KeptEndpoint {
    type Error = ControlError;

    fn try_from(row: Row) -> Result<Self, ControlError> {
        let state = match row.state.as_str() {
            "active" => EndpointState::Active,
            "paused" => EndpointState::Paused,
            "disabled" => EndpointState::Disabled,
            _ => return Err(ControlError::EndpointState(row.state)),
        };
        Ok(Self {
            shown: Endpoint {
                endpoint_id: EndpointId::from_uuid(row.endpoint_id),
                url: row.url,
                description: row.description,
                // A type that only newer processes know is theirs to tell.
                event_types: row.event_types.iter().filter_map(|name| EventType::parse(name)).collect(),
                state,
                disabled_reason: row.disabled_reason,
                failing_since: row.failing_since,
                previous_secret_until: row.previous_until,
                created_at: row.created_at,
            },
            secrets: std::iter::once(row.secret).chain(row.previous_secret).map(SecretSlice::from).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use region_core_store::test_support::catalog_database;
    use secrecy::ExposeSecret as _;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn new(number: u8) -> NewKept {
        NewKept {
            endpoint_id: EndpointId::mint(1_800_000_000_000, [number; 10]),
            key: format!("key-{number}"),
            request_hash: [number; 32],
            url: format!("https://erp.example/{number}"),
            description: "the books".to_owned(),
            event_types: vec![EventType::OrderConfirmed, EventType::PaymentRefunded],
            secret: [number; 32],
        }
    }

    async fn made(pool: &PgPool, number: u8) -> KeptEndpoint {
        match make_endpoint(pool, &new(number)).await.unwrap() {
            Made::Stands(kept) => kept,
            other => panic!("{other:?}"),
        }
    }

    fn secrets(kept: &KeptEndpoint) -> Vec<u8> {
        kept.secrets.iter().map(|secret| secret.expose_secret()[0]).collect()
    }

    /// Has the endpoint failing for that many hours.
    async fn failing(pool: &PgPool, hours: i32) {
        let sql = "UPDATE control.webhook_endpoints SET failing_since = now() - make_interval(hours => $1)";
        sqlx::query(sql).bind(hours).execute(pool).await.unwrap();
    }

    #[tokio::test]
    async fn an_endpoint_is_made_once_under_its_key() {
        let pool = catalog_database().await.pool;
        let first = made(&pool, 1).await;
        let again = NewKept { endpoint_id: new(2).endpoint_id, secret: [9; 32], ..new(1) };
        let Made::Stands(same) = make_endpoint(&pool, &again).await.unwrap() else { panic!("it is not the same") };
        assert_eq!((same.shown, secrets(&first)), (first.shown, vec![1]));
        let other = NewKept { request_hash: [7; 32], ..new(1) };
        assert!(matches!(make_endpoint(&pool, &other).await.unwrap(), Made::OtherRequest));
        assert_eq!(list_endpoints(&pool).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn there_are_so_many_places_and_one_that_is_left_is_taken_again() {
        let pool = catalog_database().await.pool;
        for number in 1..=32 {
            made(&pool, number).await;
        }
        assert!(matches!(make_endpoint(&pool, &new(33)).await.unwrap(), Made::Full));
        assert!(delete_endpoint(&pool, new(7).endpoint_id).await.unwrap());
        assert!(!delete_endpoint(&pool, new(7).endpoint_id).await.unwrap());
        made(&pool, 33).await;
    }

    #[tokio::test]
    async fn a_change_leaves_what_it_does_not_name_and_an_absent_endpoint_is_not_changed() {
        let pool = catalog_database().await.pool;
        let before = made(&pool, 1).await.shown;
        let paused = Changed { state: Some(Switch::Paused), ..Changed::default() };
        let after = change_endpoint(&pool, before.endpoint_id, &paused).await.unwrap().unwrap().shown;
        assert_eq!(after, Endpoint { state: EndpointState::Paused, ..before.clone() });
        let moved = Changed { url: Some("https://erp.example/new".to_owned()), ..Changed::default() };
        let after = change_endpoint(&pool, before.endpoint_id, &moved).await.unwrap().unwrap().shown;
        assert_eq!((after.url.as_str(), after.state), ("https://erp.example/new", EndpointState::Paused));
        assert!(change_endpoint(&pool, new(2).endpoint_id, &paused).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn two_secrets_are_live_while_one_is_rotated_and_a_repeat_rotates_nothing() {
        let pool = catalog_database().await.pool;
        let id = made(&pool, 1).await.shown.endpoint_id;
        let rotated = rotate_secret(&pool, id, "r1", &[2; 32], DAY).await.unwrap().unwrap();
        assert_eq!((secrets(&rotated), rotated.shown.previous_secret_until.is_some()), (vec![2, 1], true));
        let again = rotate_secret(&pool, id, "r1", &[3; 32], DAY).await.unwrap().unwrap();
        assert_eq!(secrets(&again), [2, 1]);
        let other = rotate_secret(&pool, id, "r2", &[4; 32], Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(secrets(&other), [4], "what is over signs no more");
    }

    #[tokio::test]
    async fn days_of_nothing_but_failure_disable_an_endpoint_and_one_answer_in_between_does_not() {
        let pool = catalog_database().await.pool;
        let id = made(&pool, 1).await.shown.endpoint_id;
        let failed = Report { failed: vec![id], ..Report::default() };
        assert_eq!(report(&pool, &failed, 5 * DAY).await.unwrap(), []);
        assert!(find_endpoint(&pool, id).await.unwrap().unwrap().shown.failing_since.is_some());
        failing(&pool, 119).await;
        assert_eq!(report(&pool, &failed, 5 * DAY).await.unwrap(), []);
        failing(&pool, 121).await;
        report(&pool, &Report { answered: vec![id], ..Report::default() }, 5 * DAY).await.unwrap();
        assert_eq!(report(&pool, &failed, 5 * DAY).await.unwrap(), []);
        failing(&pool, 121).await;
        let disabled = report(&pool, &failed, 5 * DAY).await.unwrap();
        assert_eq!((disabled.len(), disabled[0].0), (1, id));
        assert!(disabled[0].1.starts_with("every attempt has failed since 20"), "{disabled:?}");
        assert_eq!(report(&pool, &failed, 5 * DAY).await.unwrap(), [], "it is told once");
        let on = Changed { state: Some(Switch::Active), ..Changed::default() };
        let shown = change_endpoint(&pool, id, &on).await.unwrap().unwrap().shown;
        assert_eq!((shown.state, shown.disabled_reason, shown.failing_since), (EndpointState::Active, None, None));
    }

    #[tokio::test]
    async fn gone_is_believed_of_the_url_that_said_so() {
        let pool = catalog_database().await.pool;
        let shown = made(&pool, 1).await.shown;
        let gone = |url: &str| Report { gone: vec![(shown.endpoint_id, url.to_owned())], ..Report::default() };
        assert_eq!(report(&pool, &gone("https://erp.example/old"), DAY).await.unwrap(), []);
        assert_eq!(report(&pool, &gone(&shown.url), DAY).await.unwrap().len(), 1);
        let after = find_endpoint(&pool, shown.endpoint_id).await.unwrap().unwrap().shown;
        assert_eq!(after.state, EndpointState::Disabled);
    }
}
