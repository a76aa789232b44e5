//! Who is asking: cookies in, a verified user out, and the cookies to set on the way back.
//!
//! The access token is believed only once its signature has verified with a published key. An expired one is traded for a
//! new one without the shopper noticing. A guest is made only at a first write. Deliberately absent: passwords and
//! anything that decides what a user may do; the cores check every token again.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{HeaderMap, HeaderValue, SET_COOKIE};
use http::request::Parts;
use shared::api::account::{Refresh, RefreshToken, Tokens};
use shared::api::cart::Cart;
use shared::token::{self, Claims, KeySet, TokenError};
use shared::{Problem, ProblemKind};

use crate::app::App;
use crate::cookie;
use crate::core::{self, Call};
use crate::platform::{ClientAddress, Platform};
use crate::route::DocumentRoute;

/// Seconds before its end at which a token is traded, so that it does not end on the way to the core.
const TRADE_BEFORE_SECONDS: u64 = 10;

/// A user whose token has verified.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// What the token says.
    pub claims: Claims,
    /// The token itself, for the cores.
    pub token: String,
}

/// One request's visitor.
#[derive(Clone)]
pub(crate) struct Visit {
    /// Where the request came from.
    pub client: IpAddr,
    /// The lowest cart version that may be shown, if the shopper has a cart.
    pub min_version: Option<u64>,
    seen: Arc<Mutex<Seen>>,
}

/// What is learned and decided while the request is answered.
#[derive(Default)]
struct Seen {
    user: Option<User>,
    refresh: Option<String>,
    cookies: Vec<HeaderValue>,
}

impl Visit {
    /// Reads the cookies and, where needed, trades the refresh token.
    ///
    /// # Errors
    /// When a session exists but no core can say whether it still does.
    pub(crate) async fn begin<P: Platform>(app: &App<P>, parts: &Parts) -> Result<Self, Problem> {
        let client = parts.extensions.get::<ClientAddress>().copied().unwrap_or_default().0;
        let visit = Self {
            client,
            min_version: cookie::cart(&parts.headers).map(|(_, version)| version),
            seen: Arc::default(),
        };
        visit.recognise(app, &parts.headers).await?;
        Ok(visit)
    }

    async fn recognise<P: Platform>(&self, app: &App<P>, headers: &HeaderMap) -> Result<(), Problem> {
        let refresh = cookie::read(headers, cookie::REFRESH).map(ToOwned::to_owned);
        self.with(|seen| seen.refresh.clone_from(&refresh));
        if let Some(token) = cookie::read(headers, cookie::SESSION)
            && let Ok(user) = verify(app, token).await
        {
            self.with(|seen| seen.user = Some(user));
            return Ok(());
        }
        match refresh {
            Some(refresh) => self.trade(app, refresh).await,
            None => Ok(()),
        }
    }

    /// Trades the refresh token. Only a core that says so ends the session; whatever else went wrong says nothing about it,
    /// and the cookies stay for a better moment.
    async fn trade<P: Platform>(&self, app: &App<P>, refresh: String) -> Result<(), Problem> {
        let body = Refresh { refresh_token: RefreshToken(refresh) };
        match Call::post("/v1/sessions/refresh", &body).json::<Tokens>(&app.platform, self.client).await {
            Ok(tokens) => self.adopt(app, tokens).await.map(drop),
            Err(problem) if problem.is(ProblemKind::NotSignedIn) => {
                self.forget();
                Ok(())
            }
            Err(problem) if core::is_passing(&problem) => Err(problem),
            // In words about the refresh route, which is none of the shopper's business.
            Err(_) => Err(ProblemKind::BadGateway.into()),
        }
    }

    /// Makes new tokens this visitor's, in this request and in his cookies.
    ///
    /// # Errors
    /// When the core's token does not verify.
    pub(crate) async fn adopt<P: Platform>(&self, app: &App<P>, tokens: Tokens) -> Result<User, Problem> {
        let user = verify(app, &tokens.access_token).await.map_err(|_| Problem::new(ProblemKind::BadGateway))?;
        let refresh = &tokens.refresh_token.0;
        self.with(|seen| {
            seen.cookies.extend(cookie::set(cookie::SESSION, &tokens.access_token, tokens.expires_in));
            seen.cookies.extend(cookie::set(cookie::REFRESH, refresh, tokens.refresh_expires_in));
            seen.refresh = Some(refresh.clone());
            seen.user = Some(user.clone());
        });
        Ok(user)
    }

    /// The visitor as a user; a guest is made if nobody has been here before.
    ///
    /// # Errors
    /// When no core can make one.
    pub(crate) async fn ensure_user<P: Platform>(&self, app: &App<P>) -> Result<User, Problem> {
        if let Some(user) = self.user() {
            return Ok(user);
        }
        let nothing = serde_json::Map::new();
        let tokens = Call::post("/v1/guests", &nothing).json(&app.platform, self.client).await?;
        self.adopt(app, tokens).await
    }

    /// The user, if there is one.
    pub(crate) fn user(&self) -> Option<User> {
        self.with(|seen| seen.user.clone())
    }

    /// The user, if he has credentials.
    pub(crate) fn member(&self) -> Option<User> {
        self.user().filter(|user| !user.claims.is_guest())
    }

    /// The refresh token, for ending the session.
    pub(crate) fn refresh_token(&self) -> Option<String> {
        self.with(|seen| seen.refresh.clone())
    }

    /// Ends the session in this browser.
    pub(crate) fn forget(&self) {
        self.with(|seen| {
            *seen = Seen::default();
            seen.cookies.extend([cookie::SESSION, cookie::REFRESH, cookie::CART].into_iter().filter_map(cookie::clear));
        });
    }

    /// Forgets the access token, which a core refused: the next request trades the refresh token, and that answer decides
    /// about the session.
    pub(crate) fn doubt(&self) {
        self.with(|seen| {
            seen.user = None;
            seen.cookies.extend(cookie::clear(cookie::SESSION));
        });
    }

    /// Forgets which version of a cart was seen, because it may be another cart now.
    pub(crate) fn forget_cart(&self) {
        self.with(|seen| seen.cookies.extend(cookie::clear(cookie::CART)));
    }

    /// Notes the version that the shopper is shown, so that he is never shown an older one.
    pub(crate) fn saw_cart(&self, cart: &Cart) {
        let value = format!("{}:{}", cart.cart_id, cart.version);
        self.with(|seen| seen.cookies.extend(cookie::set(cookie::CART, &value, cookie::CART_SECONDS)));
    }

    /// Adds the cookies to the answer; of several of one name, the last.
    pub(crate) fn set_cookies(&self, headers: &mut HeaderMap) {
        let cookies = self.with(|seen| std::mem::take(&mut seen.cookies));
        let name = |cookie: &HeaderValue| cookie.as_bytes().split(|byte| *byte == b'=').next().map(<[u8]>::to_vec);
        for (at, own) in cookies.iter().enumerate() {
            if cookies[at + 1..].iter().all(|later| name(later) != name(own)) {
                headers.append(SET_COOKIE, own.clone());
            }
        }
    }

    fn with<T>(&self, action: impl FnOnce(&mut Seen) -> T) -> T {
        action(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Checks a token's signature and claims with the published keys.
async fn verify<P: Platform>(app: &App<P>, text: &str) -> Result<User, TokenError> {
    let unverified = token::parse(text)?;
    let key = find_key(app, unverified.key_id()).await.ok_or(TokenError::UnknownKey)?;
    let verified = app.platform.verify_ed25519(&key, unverified.message(), unverified.signature()).await;
    let now = app.platform.now_ms() / 1000;
    let claims = unverified.accept(verified, now)?;
    if now.saturating_add(TRADE_BEFORE_SECONDS) >= claims.exp {
        return Err(TokenError::Expired);
    }
    Ok(User { claims, token: text.to_owned() })
}

/// The key of that name; an unknown name makes us look once whether there are new keys.
async fn find_key<P: Platform>(app: &App<P>, kid: &token::KeyId) -> Option<[u8; 32]> {
    let find = |keys: &KeySet| keys.find(kid).and_then(token::PublicKey::bytes);
    let keys = app.document::<KeySet>(DocumentRoute::Keys).await.ok()?.0;
    if let Some(key) = find(&keys) {
        return Some(key);
    }
    app.renew(DocumentRoute::Keys).await;
    find(&app.document::<KeySet>(DocumentRoute::Keys).await.ok()?.0)
}
