//! What the bus gave up in all regions, and its way back.

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::StatusCode;
use shared::api::desk::{DeadLetter, DeadLetterPage, ReplayLetters, SkipLetter};
use shared::{EventId, OrderId, Problem};

use super::{Shell, keeper, missing, moment, order_id, said, write};
use crate::app::App;
use crate::core::Call;
use crate::page::answer;
use crate::platform::Platform;
use crate::session::{User, Visit};

/// Where the page is.
const PATH: &str = "/desk/dead-letters";

#[derive(Template)]
#[template(path = "desk_letters.html")]
struct Letters {
    shell: Shell,
    notice: Option<String>,
    letters: Vec<Row>,
    more: bool,
}

struct Row {
    letter: DeadLetter,
    short_id: String,
    died: String,
    kind: String,
    /// Where to put it right, unless it is parked behind another.
    mend: Option<Mend>,
}

struct Mend {
    replay: String,
    skip: String,
}

impl From<DeadLetter> for Row {
    fn from(letter: DeadLetter) -> Self {
        let (order, event) = (letter.order_id, letter.event_id);
        let below = format!("/desk/orders/{order}/dead-letters");
        let mend = Mend { replay: format!("{below}/replay"), skip: format!("{below}/{event}/skip") };
        Self {
            short_id: order.short(),
            died: moment(letter.died_at),
            kind: letter.kind.clone().unwrap_or_else(|| "An event that the outbox has forgotten".to_owned()),
            mend: (!letter.parked).then_some(mend),
            letter,
        }
    }
}

/// `GET /desk/dead-letters`.
pub(crate) async fn list<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
) -> Result<Response, Problem> {
    let user = keeper(&visit)?;
    answer(&page(&app, &visit, &user, None).await?)
}

async fn page<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    user: &User,
    notice: Option<String>,
) -> Result<Letters, Problem> {
    let asked = Call::get("/v1/desk/dead-letters").bearer(&user.token);
    let found: DeadLetterPage = asked.json(&app.platform, visit.client).await?;
    Ok(Letters {
        shell: Shell::personal(app, visit, "Desk: given up").await,
        notice: notice.or_else(|| missing("Events", &found.missing)),
        letters: found.items.into_iter().map(Row::from).collect(),
        more: found.more,
    })
}

/// `POST /desk/orders/{order_id}/dead-letters/replay`.
pub(crate) async fn replay<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Form(body): Form<ReplayLetters>,
) -> Result<Response, Problem> {
    let id = order_id(&id)?;
    mend(&app, &visit, Call::post(&format!("/v1/orders/{id}/dead-letters/replay"), &body)).await
}

/// `POST /desk/orders/{order_id}/dead-letters/{event_id}/skip`.
pub(crate) async fn skip<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Path((id, event)): Path<(String, String)>,
    Form(body): Form<SkipLetter>,
) -> Result<Response, Problem> {
    let (id, event): (OrderId, EventId) = (order_id(&id)?, event.parse().map_err(|_| Problem::not_found())?);
    mend(&app, &visit, Call::post(&format!("/v1/orders/{id}/dead-letters/{event}/skip"), &body)).await
}

/// Has the core do it and leads back to the list, or shows the list with what is in the way.
async fn mend<P: Platform>(app: &App<P>, visit: &Visit, call: Call) -> Result<Response, Problem> {
    let user = keeper(visit)?;
    let (status, notice) = match call.bearer(&user.token).send(&app.platform, visit.client).await {
        Ok(_) => return Ok(Redirect::to(PATH).into_response()),
        Err(problem) if matches!(problem.status, 400 | 409 | 422) => (problem.status, said(&problem)),
        Err(problem) => {
            (problem.status, "That could not be done just now; nobody knows why. Look at the list.".to_owned())
        }
    };
    let html = write(&page(app, visit, &user, Some(notice)).await?)?;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    Ok((status, Html(html)).into_response())
}
