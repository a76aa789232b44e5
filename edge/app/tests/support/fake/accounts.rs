//! Who the fake core's shoppers are, and the tokens that say so.

use std::collections::HashMap;

use bytes::Bytes;
use http::{Request, StatusCode};
use ring::signature::{ED25519, KeyPair, UnparsedPublicKey};
use serde_json::Value;
use shared::api::account::{Account, RefreshToken, SignIn, SignUp, Tokens};
use shared::id::Slot;
use shared::token::{self, Claims, KeyId, KeySet, PublicKey, Role};
use shared::{Problem, ProblemKind, SessionId, UserId};

use super::{Answer, Core, UserState, ok, read};

impl Core {
    pub(super) fn keys(&self) -> KeySet {
        let bytes: [u8; 32] = self.key.public_key().as_ref().try_into().unwrap();
        KeySet { keys: vec![PublicKey::new(KeyId("fake-1".to_owned()), &bytes)] }
    }

    pub(super) fn new_user(&mut self, now_ms: u64) -> usize {
        let number = self.number();
        let id = UserId::mint(now_ms, Slot::from_low_bits(77), (number & 1023) as u16).unwrap();
        self.users.push(UserState {
            id,
            guest: true,
            keeper: false,
            lines: Vec::new(),
            version: 0,
            orders: Vec::new(),
            asked: HashMap::new(),
        });
        self.users.len() - 1
    }

    pub(super) fn tokens(&mut self, at: usize, now_ms: u64) -> Value {
        let number = self.number();
        let user = &self.users[at];
        let now = now_ms / 1000;
        let claims = Claims {
            iss: token::ISSUER.to_owned(),
            aud: token::AUDIENCE.to_owned(),
            sub: user.id,
            sid: SessionId::mint(now_ms, user.id.slot(), number.to_be_bytes()),
            roles: match (user.guest, user.keeper) {
                (true, _) => vec![Role::Guest],
                (false, false) => vec![Role::Customer],
                (false, true) => vec![Role::Customer, Role::Operator],
            },
            epoch: 0,
            iat: now,
            nbf: now,
            exp: now + self.token_seconds,
        };
        let input = token::signing_input(&KeyId("fake-1".to_owned()), &claims);
        let access_token = token::finish(&input, &self.key.sign(input.as_bytes()).as_ref().try_into().unwrap());
        let refresh = format!("{}.secret-{number}", claims.sid);
        self.refresh.insert(refresh.clone(), at);
        let tokens = Tokens {
            user_id: user.id,
            access_token,
            expires_in: u32::try_from(self.token_seconds).unwrap(),
            refresh_token: RefreshToken(refresh),
            refresh_expires_in: 2_592_000,
        };
        serde_json::to_value(tokens).unwrap()
    }

    pub(super) fn spend(&mut self, request: &Request<Bytes>) -> Result<usize, Problem> {
        let body: Value = serde_json::from_slice(request.body()).map_err(|_| ProblemKind::Malformed)?;
        let token = body["refresh_token"].as_str().unwrap_or_default();
        self.refresh.remove(token).ok_or(Problem::new(ProblemKind::NotSignedIn))
    }

    pub(super) fn user(&self, request: &Request<Bytes>, now_ms: u64) -> Result<usize, Problem> {
        let refuse = || Problem::new(ProblemKind::NotSignedIn);
        let header = request.headers().get("authorization").and_then(|value| value.to_str().ok()).ok_or_else(refuse)?;
        let parsed = token::parse(header.strip_prefix("Bearer ").ok_or_else(refuse)?).map_err(|_| refuse())?;
        let key = UnparsedPublicKey::new(&ED25519, self.key.public_key().as_ref());
        let good = key.verify(parsed.message(), parsed.signature()).is_ok();
        let claims = parsed.accept(good, now_ms / 1000).map_err(|_| refuse())?;
        self.users.iter().position(|user| user.id == claims.sub).ok_or_else(refuse)
    }

    pub(super) fn sign_up(&mut self, request: &Request<Bytes>, now_ms: u64) -> Answer {
        let asked: SignUp = read(request)?;
        if self.accounts.contains_key(asked.email.as_str()) {
            return Err(ProblemKind::EmailTaken.into());
        }
        let at = self.user(request, now_ms).unwrap_or_else(|_| self.new_user(now_ms));
        self.users[at].guest = false;
        self.users[at].keeper = asked.email.as_str().starts_with("keeper@");
        self.accounts.insert(asked.email.as_str().to_owned(), (at, asked.password.0, asked.name));
        Ok((StatusCode::CREATED, self.tokens(at, now_ms)))
    }

    pub(super) fn sign_in(&mut self, request: &Request<Bytes>, now_ms: u64) -> Answer {
        let asked: SignIn = read(request)?;
        let known = self.accounts.get(asked.email.as_str()).filter(|(_, password, _)| *password == asked.password.0);
        let at = known.ok_or(Problem::new(ProblemKind::WrongCredentials))?.0;
        if let Ok(guest) = self.user(request, now_ms) {
            let lines = std::mem::take(&mut self.users[guest].lines);
            self.users[at].lines.extend(lines);
            self.users[at].version += 1;
        }
        Ok((StatusCode::CREATED, self.tokens(at, now_ms)))
    }

    pub(super) fn account(&self, request: &Request<Bytes>, now_ms: u64) -> Answer {
        let at = self.user(request, now_ms)?;
        let found = self.accounts.iter().find(|(_, (own, _, _))| *own == at);
        ok(&Account {
            user_id: self.users[at].id,
            email: found.map(|(email, _)| email.parse().unwrap()),
            name: found.and_then(|(_, (_, _, name))| name.clone()),
            roles: vec![Role::Customer],
        })
    }
}
