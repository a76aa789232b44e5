//! `/v1` for shoppers; `/internal` for the steps that other regions' cores ask for.

use axum::Router;
use axum::extract::State;
use axum::routing::{MethodRouter, get, post};
use http::StatusCode;
use region_core_web::{ClientAddress, Json, SignedIn};
use shared::api::account::{Account, Refresh, SignIn, SignUp, Tokens};
use shared::{Problem, UserId};
use utoipa::OpenApi;

use crate::Accounts;
use crate::sign_in::SignInAtHome;
use crate::step::{
    ActivateLogin, DrainCart, EndSession, FindLogin, FreezeCart, RecordAlias, RefreshSession, ReleaseLogin,
    ReserveLogin, Step,
};

/// What the routes say of themselves.
#[derive(OpenApi)]
#[openapi(paths(guest, sign_up, sign_in, refresh, end, account))]
pub struct Api;

/// The account's public routes.
pub fn router(accounts: Accounts) -> Router {
    Router::new()
        .route("/v1/guests", post(guest))
        .route("/v1/accounts", post(sign_up))
        .route("/v1/sessions", post(sign_in))
        .route("/v1/sessions/refresh", post(refresh))
        .route("/v1/sessions/end", post(end))
        .route("/v1/account", get(account))
        .with_state(accounts)
}

/// The steps, for cores alone: never to be served where a PoP or anyone else could reach them.
pub fn internal_router(accounts: Accounts) -> Router {
    Router::new()
        .route(ReserveLogin::PATH, step::<ReserveLogin>())
        .route(ActivateLogin::PATH, step::<ActivateLogin>())
        .route(ReleaseLogin::PATH, step::<ReleaseLogin>())
        .route(FindLogin::PATH, step::<FindLogin>())
        .route(SignInAtHome::PATH, step::<SignInAtHome>())
        .route(FreezeCart::PATH, step::<FreezeCart>())
        .route(DrainCart::PATH, step::<DrainCart>())
        .route(RecordAlias::PATH, step::<RecordAlias>())
        .route(RefreshSession::PATH, step::<RefreshSession>())
        .route(EndSession::PATH, step::<EndSession>())
        .with_state(accounts)
}

fn step<S: Step>() -> MethodRouter<Accounts> {
    post(run::<S>)
}

async fn run<S: Step>(State(accounts): State<Accounts>, Json(step): Json<S>) -> Result<Json<S::Answer>, Problem> {
    Ok(Json(step.run(&accounts).await?))
}

type Created = Result<(StatusCode, Json<Tokens>), Problem>;

/// Begins a session of somebody who has no account.
#[utoipa::path(
    post, path = "/v1/guests", operation_id = "create_guest", tag = "accounts",
    responses((status = 201, description = "A session", body = Tokens)),
)]
async fn guest(State(accounts): State<Accounts>, from: ClientAddress) -> Created {
    Ok((StatusCode::CREATED, Json(accounts.guest(from).await?)))
}

/// Makes an account. A guest's token brings his cart along.
#[utoipa::path(
    post, path = "/v1/accounts", operation_id = "create_account", tag = "accounts",
    responses((status = 201, description = "A session of the new account", body = Tokens)),
    security((), ("bearer" = [])),
)]
async fn sign_up(
    State(accounts): State<Accounts>,
    caller: Option<SignedIn>,
    from: ClientAddress,
    Json(request): Json<SignUp>,
) -> Created {
    Ok((StatusCode::CREATED, Json(accounts.sign_up(request, guest_of(caller.as_ref()), from).await?)))
}

/// Signs in. A guest's token brings his cart along.
#[utoipa::path(
    post, path = "/v1/sessions", operation_id = "create_session", tag = "accounts",
    responses((status = 201, description = "A session", body = Tokens)),
    security((), ("bearer" = [])),
)]
async fn sign_in(
    State(accounts): State<Accounts>,
    caller: Option<SignedIn>,
    from: ClientAddress,
    Json(request): Json<SignIn>,
) -> Created {
    Ok((StatusCode::CREATED, Json(accounts.sign_in(request, guest_of(caller.as_ref()), from).await?)))
}

/// The caller, if a guest. Whoever is signed in to an account has nothing to bring along.
fn guest_of(caller: Option<&SignedIn>) -> Option<UserId> {
    caller.filter(|caller| caller.claims.is_guest()).map(SignedIn::user_id)
}

/// Trades a refresh token for new tokens.
#[utoipa::path(
    post, path = "/v1/sessions/refresh", operation_id = "refresh_session", tag = "accounts",
    responses((status = 200, description = "The session goes on with these", body = Tokens)),
)]
async fn refresh(State(accounts): State<Accounts>, Json(request): Json<Refresh>) -> Result<Json<Tokens>, Problem> {
    Ok(Json(accounts.refresh(request.refresh_token).await?))
}

/// Ends a session. Repeats are harmless.
#[utoipa::path(
    post, path = "/v1/sessions/end", operation_id = "end_session", tag = "accounts",
    responses((status = 204, description = "Ended")),
)]
async fn end(State(accounts): State<Accounts>, Json(request): Json<Refresh>) -> Result<StatusCode, Problem> {
    accounts.end(request.refresh_token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The caller's account.
#[utoipa::path(
    get, path = "/v1/account", operation_id = "get_account", tag = "accounts",
    responses((status = 200, description = "The account", body = Account)),
    security(("bearer" = [])),
)]
async fn account(State(accounts): State<Accounts>, user: SignedIn) -> Result<Json<Account>, Problem> {
    Ok(Json(accounts.account(user.user_id()).await?))
}
