//! Where a mail's own link leads: stopping mails that an order does not require, without a sign-in.
//!
//! Looking changes nothing, for mail scanners look. A post changes it at once: that is the one click of mail programs (RFC 8058),
//! which send neither cookies nor an origin and follow no redirect. What lets them in is the link's signature, which a core
//! checks.

use askama::Template;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Path, State};
use axum::response::Response;
use http::Uri;
use shared::api::account::MailPreferences;
use shared::{Problem, ProblemKind};

use super::{Shell, answer, message};
use crate::app::App;
use crate::core::Call;
use crate::platform::{ClientAddress, Platform};

/// Most of a form that is read: it says one thing.
const MOST_BYTES: usize = 4 * 1024;

#[derive(Template)]
#[template(path = "unsubscribe.html")]
struct Unsubscribe {
    shell: Shell,
    parcels: bool,
    /// Whether this has just been chosen.
    chosen: bool,
    /// The page's own address.
    here: String,
}

/// `GET /unsubscribe/{token}`.
pub(crate) async fn show<P: Platform>(
    State(app): State<App<P>>,
    client: Option<Extension<ClientAddress>>,
    uri: Uri,
    Path(token): Path<String>,
) -> Response {
    respond(&app, client, &uri, &token, None).await
}

/// `POST /unsubscribe/{token}`: stops these mails, whatever the form says, unless it is ours and says that they are wanted.
pub(crate) async fn choose<P: Platform>(
    State(app): State<App<P>>,
    client: Option<Extension<ClientAddress>>,
    uri: Uri,
    Path(token): Path<String>,
    body: Body,
) -> Response {
    let Ok(form) = to_bytes(body, MOST_BYTES).await else {
        return message::problem(&app, &ProblemKind::BodyTooLarge.into()).await;
    };
    let wanted = MailPreferences { parcels: &form[..] == b"parcels=yes" };
    respond(&app, client, &uri, &token, Some(wanted)).await
}

async fn respond<P: Platform>(
    app: &App<P>,
    client: Option<Extension<ClientAddress>>,
    uri: &Uri,
    token: &str,
    wanted: Option<MailPreferences>,
) -> Response {
    match page(app, client, uri, token, wanted).await {
        Ok(page) => page,
        Err(problem) => message::problem(app, &problem).await,
    }
}

async fn page<P: Platform>(
    app: &App<P>,
    client: Option<Extension<ClientAddress>>,
    uri: &Uri,
    token: &str,
    wanted: Option<MailPreferences>,
) -> Result<Response, Problem> {
    // A token is letters, digits, `-` and `_`: whatever else stands there leads nowhere, at the cores neither.
    if !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        return Err(Problem::not_found());
    }
    let path = format!("/v1/mail-preferences/{token}");
    let call = wanted.map_or_else(|| Call::get(&path), |wanted| Call::post(&path, &wanted));
    let from = client.map(|Extension(client)| client).unwrap_or_default().0;
    let MailPreferences { parcels } = call.json(&app.platform, from).await?;
    let shell = Shell { index: false, ..Shell::public(app).await.0.titled("Mails about parcels") };
    answer(&Unsubscribe { shell, parcels, chosen: wanted.is_some(), here: uri.path().to_owned() })
}
