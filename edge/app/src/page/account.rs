//! The account: signing up, in and out, and what we know of the shopper.

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use serde::Deserialize;
use shared::api::account::{Account, MailPreferences, Password, Refresh, RefreshToken, SignIn, SignUp, Tokens};
use shared::{EmailAddress, Problem, ProblemKind};

use super::checkout::Trouble;
use super::{Shell, answer};
use crate::app::App;
use crate::core::Call;
use crate::platform::Platform;
use crate::session::Visit;

/// Where the cores keep what a member wants to be told.
const MAILS: &str = "/v1/account/mail-preferences";

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    shell: Shell,
    account: Account,
    /// Whether news of parcels is told by mail; absent if nobody could be told.
    parcels: Option<bool>,
    keeps_store: bool,
}

#[derive(Template)]
#[template(path = "credentials.html")]
struct Credentials {
    shell: Shell,
    signing_up: bool,
    heading: &'static str,
    lead: &'static str,
    action: &'static str,
    next: &'static str,
    next_query: String,
    name: String,
    email: String,
    problem: Option<Trouble>,
}

/// Where to go afterwards.
#[derive(Deserialize)]
pub(crate) struct Next {
    #[serde(default)]
    next: String,
}

/// Only places of ours, by name: never an address from the request.
fn next(name: &str) -> (&'static str, &'static str) {
    match name {
        "checkout" => ("checkout", "/checkout"),
        "orders" => ("orders", "/orders"),
        "cart" => ("cart", "/cart"),
        "desk" => ("desk", "/desk"),
        _ => ("", "/account"),
    }
}

/// What the form sent.
#[derive(Deserialize)]
pub(crate) struct CredentialsForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    next: String,
}

/// `GET /account`.
pub(crate) async fn show<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
) -> Result<Response, Problem> {
    let Some(user) = visit.member() else { return Ok(Redirect::to("/sign-in").into_response()) };
    let account = Call::get("/v1/account").bearer(&user.token).json(&app.platform, visit.client).await?;
    let keeps_store = user.claims.keeps_store();
    let asked = Call::get(MAILS).bearer(&user.token).json(&app.platform, visit.client).await;
    // The page is worth showing without.
    let parcels = asked.ok().map(|MailPreferences { parcels }| parcels);
    answer(&AccountPage { shell: Shell::personal(&app, &visit, "Your account").await, account, parcels, keeps_store })
}

/// What the form for mails sent.
#[derive(Deserialize)]
pub(crate) struct MailsForm {
    #[serde(default)]
    parcels: String,
}

/// `POST /account/mails`.
pub(crate) async fn mails<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Form(MailsForm { parcels }): Form<MailsForm>,
) -> Result<Response, Problem> {
    let Some(user) = visit.member() else { return Ok(Redirect::to("/sign-in").into_response()) };
    let wanted = MailPreferences { parcels: parcels == "yes" };
    Call::post(MAILS, &wanted).bearer(&user.token).send(&app.platform, visit.client).await?;
    Ok(Redirect::to("/account").into_response())
}

/// `GET /sign-in`.
pub(crate) async fn sign_in_form<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Query(query): Query<Next>,
) -> Result<Response, Problem> {
    form(&app, &visit, false, CredentialsForm::to(query.next), None).await
}

/// `GET /sign-up`.
pub(crate) async fn sign_up_form<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Query(query): Query<Next>,
) -> Result<Response, Problem> {
    form(&app, &visit, true, CredentialsForm::to(query.next), None).await
}

impl CredentialsForm {
    fn to(next: String) -> Self {
        Self { name: String::new(), email: String::new(), password: String::new(), next }
    }

    /// Address and password, or what a person must mend.
    fn checked(&self, signing_up: bool) -> Result<(EmailAddress, Password), Vec<(&'static str, &'static str)>> {
        let mut errors = Vec::new();
        let email =
            self.email.parse().map_err(|_| errors.push(("email", "Enter an e-mail address like name@example.org")));
        let length = self.password.chars().count();
        if signing_up && !(8..=128).contains(&length) {
            errors.push(("password", "Choose a password of 8 to 128 characters"));
        } else if length == 0 {
            errors.push(("password", "Enter your password"));
        }
        match email {
            Ok(email) if errors.is_empty() => Ok((email, Password(self.password.clone()))),
            _ => Err(errors),
        }
    }
}

async fn form<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    signing_up: bool,
    sent: CredentialsForm,
    problem: Option<Trouble>,
) -> Result<Response, Problem> {
    let (heading, lead, action) = if signing_up {
        ("Create an account", "Keep your orders in one place. What is in your basket stays there.", "/sign-up")
    } else {
        ("Sign in", "Your basket comes with you.", "/sign-in")
    };
    let (next, _) = next(&sent.next);
    let page = Credentials {
        shell: Shell::personal(app, visit, heading).await,
        signing_up,
        heading,
        lead,
        action,
        next,
        next_query: if next.is_empty() { String::new() } else { format!("?next={next}") },
        name: sent.name,
        email: sent.email,
        problem,
    };
    let failed = page.problem.is_some();
    let mut response = answer(&page)?;
    if failed {
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    }
    Ok(response)
}

/// `POST /sign-in`. A guest's basket comes along.
pub(crate) async fn sign_in<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Form(sent): Form<CredentialsForm>,
) -> Result<Response, Problem> {
    let (email, password) = match sent.checked(false) {
        Ok(checked) => checked,
        Err(fields) => return form(&app, &visit, false, sent, Some(mend(fields))).await,
    };
    let call = as_visitor(Call::post("/v1/sessions", &SignIn { email, password }), &visit);
    finish(&app, &visit, false, sent, call).await
}

/// `POST /sign-up`. A guest keeps his user id, so his basket and orders stay.
pub(crate) async fn sign_up<P: Platform>(
    State(app): State<App<P>>,
    Extension(visit): Extension<Visit>,
    Form(sent): Form<CredentialsForm>,
) -> Result<Response, Problem> {
    let (email, password) = match sent.checked(true) {
        Ok(checked) => checked,
        Err(fields) => return form(&app, &visit, true, sent, Some(mend(fields))).await,
    };
    let name = Some(sent.name.trim().chars().take(100).collect::<String>()).filter(|name| !name.is_empty());
    let call = as_visitor(Call::post("/v1/accounts", &SignUp { email, password, name }), &visit);
    finish(&app, &visit, true, sent, call).await
}

/// Guests bring their token; somebody who is signed in already starts anew.
fn as_visitor(call: Call, visit: &Visit) -> Call {
    match visit.user().filter(|user| user.claims.is_guest()) {
        Some(guest) => call.bearer(&guest.token),
        None => call,
    }
}

async fn finish<P: Platform>(
    app: &App<P>,
    visit: &Visit,
    signing_up: bool,
    sent: CredentialsForm,
    call: Call,
) -> Result<Response, Problem> {
    match call.json::<Tokens>(&app.platform, visit.client).await {
        Ok(tokens) => {
            visit.forget_cart();
            visit.adopt(app, tokens).await?;
            Ok(Redirect::to(next(&sent.next).1).into_response())
        }
        Err(problem) if problem.status >= 500 => Err(problem),
        Err(problem) => form(app, visit, signing_up, sent, Some(trouble(&problem))).await,
    }
}

fn mend(fields: Vec<(&'static str, &'static str)>) -> Trouble {
    Trouble { title: "Please look at these fields again", text: String::new(), fields, way_out: None, again: false }
}

fn trouble(problem: &Problem) -> Trouble {
    let say =
        |title, text: &str| Trouble { title, text: text.to_owned(), fields: Vec::new(), way_out: None, again: false };
    if problem.is(ProblemKind::WrongCredentials) {
        say("That did not match", "E-mail and password do not belong together. Please try again.")
    } else if problem.is(ProblemKind::EmailTaken) {
        say("You have an account already", "This e-mail address has an account. Sign in instead.")
    } else if problem.is(ProblemKind::SlowDown) {
        say("One moment, please", "There were too many attempts. Please wait a little before the next one.")
    } else {
        say("That did not work", problem.detail.as_deref().unwrap_or("Please try again."))
    }
}

/// `POST /sign-out`: ends the session at the core, and in this browser in any case.
pub(crate) async fn sign_out<P: Platform>(State(app): State<App<P>>, Extension(visit): Extension<Visit>) -> Response {
    if let Some(token) = visit.refresh_token() {
        let body = Refresh { refresh_token: RefreshToken(token) };
        // A core that cannot be reached must not keep anybody signed in here; the token ends by itself.
        drop(Call::post("/v1/sessions/end", &body).send(&app.platform, visit.client).await);
    }
    visit.forget();
    Redirect::to("/").into_response()
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for evil in ["https://evil.example", "//evil.example", "/\\evil", "javascript:alert(1)"] {
            assert_eq!(next(evil), ("", "/account"));
        }
        assert_eq!(next("checkout").1, "/checkout");
    }
}
