//! Signing in, with and without a guest's things.

use std::net::Ipv4Addr;

use futures_util::future::join;
use region_core_web::ClientAddress;
use shared::api::account::{Password, SignIn};
use shared::api::cart::Cart;
use shared::token::Role;
use shared::{ProblemKind, UserId};

use crate::world::{PASSWORD, Region, World};

fn held(cart: &Cart) -> Vec<(String, u32)> {
    cart.lines.iter().map(|line| (line.sku.to_string(), line.quantity.units())).collect()
}

async fn knows(region: &Region, user: UserId, guest: UserId) -> bool {
    owners(region, guest).await == [user]
}

/// Whose the guest is, as that region knows it.
async fn owners(region: &Region, guest: UserId) -> Vec<UserId> {
    let owners = sqlx::query_scalar!("SELECT user_id FROM user_aliases WHERE guest_id = $1", guest.as_i64());
    owners.fetch_all(&region.pool).await.unwrap().into_iter().map(|id| UserId::from_i64(id).unwrap()).collect()
}

#[tokio::test]
async fn unknown_and_wrong_look_the_same() {
    let world = World::new().await;
    let (known, unknown) = (world.email(true), world.email(true));
    world.us.sign_up(&known, None).await.unwrap();
    let wrong = world.eu.sign_in_with(&known, "battery staple", None).await.unwrap_err();
    assert!(wrong.is(ProblemKind::WrongCredentials));
    assert_eq!(world.eu.sign_in(&unknown, None).await.unwrap_err(), wrong);
    assert_eq!(world.eu.sign_in_with(&known, "", None).await.unwrap_err(), wrong);
}

#[tokio::test]
async fn an_account_is_guarded_against_guessing() {
    let world = World::new().await;
    let email = world.email(false);
    let mut last = None;
    for _ in 0..21 {
        last = world.eu.sign_in_with(&email, "short", None).await.err();
    }
    let last = last.unwrap();
    assert!(last.is(ProblemKind::SlowDown) && last.retry_after_seconds.is_some(), "{last:?}");
}

#[tokio::test]
async fn strangers_who_guess_do_not_lock_the_owner_out() {
    let world = World::new().await;
    let email = world.email(false);
    world.eu.sign_up(&email, None).await.unwrap();
    let attempt = async |last, password: &str| {
        let request = SignIn { email: email.clone(), password: Password(password.into()) };
        world.eu.accounts.sign_in(request, None, ClientAddress(Ipv4Addr::new(198, 51, last, 7).into())).await
    };
    for _ in 0..30 {
        attempt(100, "short").await.unwrap_err();
    }
    attempt(100, PASSWORD).await.unwrap_err();
    assert!(attempt(101, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn a_guest_becomes_one_account_and_never_a_second() {
    let world = World::new().await;
    let emails = [world.email(false), world.email(true)];
    let mut accounts = Vec::new();
    for email in &emails {
        accounts.push(world.us.sign_up(email, None).await.unwrap().user_id);
    }
    for _ in 0..4 {
        let guest = world.eu.guest().await.user_id;
        world.add(&world.eu, guest, "MUG", 1).await.unwrap();
        let before = units(&world.us, &accounts).await;
        let both = join(world.eu.sign_in(&emails[0], Some(guest)), world.us.sign_in(&emails[1], Some(guest))).await;
        assert_eq!([both.0.unwrap().user_id, both.1.unwrap().user_id], accounts[..]);
        let [owner] = owners(&world.eu, guest).await[..] else { panic!("the guest is nobody, or two at once") };
        assert_eq!(owners(&world.us, guest).await, [owner], "the regions disagree");
        assert_eq!(units(&world.us, &accounts).await, before + 1, "a cart was lost or came twice");
        for email in &emails {
            world.eu.sign_in(email, Some(guest)).await.unwrap();
        }
        assert_eq!(owners(&world.eu, guest).await, [owner], "a later sign-in took the guest over");
    }
}

async fn units(region: &Region, accounts: &[UserId]) -> u64 {
    let mut units = 0;
    for account in accounts {
        units += region.carts.view(*account, 0).await.unwrap().units;
    }
    units
}

#[tokio::test]
async fn a_guest_who_signs_up_and_in_at_once_is_one_or_the_other() {
    let world = World::new().await;
    let older = world.email(true);
    let account = world.us.sign_up(&older, None).await.unwrap().user_id;
    for _ in 0..6 {
        let (guest, email) = (world.eu.guest().await.user_id, world.email(false));
        let (up, old) = join(world.eu.sign_up(&email, Some(guest)), world.us.sign_in(&older, Some(guest))).await;
        assert_eq!(old.unwrap().user_id, account);
        let aliased = knows(&world.eu, account, guest).await;
        assert_eq!(up.is_err(), aliased, "account and alias at once, or neither");
        assert!(up.is_ok() || up.is_err_and(|problem| problem.is(ProblemKind::EmailTaken)));
    }
}

#[tokio::test]
async fn a_guest_half_way_through_signing_up_is_nobody_elses() {
    let world = World::new().await;
    let (email, older) = (world.email(true), world.email(false));
    let guest = world.eu.guest().await.user_id;
    world.us.sign_up(&older, None).await.unwrap();
    // The answer to the login's activation is lost.
    world.wire.lose_after(1);
    world.eu.sign_up(&email, Some(guest)).await.unwrap_err();
    assert!(world.wire.has_lost());
    world.eu.sign_in(&older, Some(guest)).await.unwrap();
    assert!(owners(&world.eu, guest).await.is_empty(), "account and alias at once");
    assert_eq!(world.us.sign_in(&email, None).await.unwrap().user_id, guest);
}

#[tokio::test]
async fn a_guests_cart_and_orders_come_along_across_regions() {
    let world = World::new().await;
    let email = world.email(true);
    let account = world.us.sign_up(&email, None).await.unwrap().user_id;
    world.add(&world.us, account, "MUG", 1).await.unwrap();
    let guest = world.eu.guest().await;
    world.add(&world.eu, guest.user_id, "MUG", 2).await.unwrap();
    world.add(&world.eu, guest.user_id, "PEN", 5).await.unwrap();
    assert_eq!(world.eu.sign_in(&email, Some(guest.user_id)).await.unwrap().user_id, account);
    let cart = world.us.carts.view(account, 2).await.unwrap();
    assert_eq!(held(&cart), [("MUG".into(), 3), ("PEN".into(), 5)]);
    assert_eq!(world.eu.carts.view(guest.user_id, 0).await.unwrap().units, 0);
    assert!(knows(&world.eu, account, guest.user_id).await && knows(&world.us, account, guest.user_id).await);
    assert!(!knows(&world.us, guest.user_id, account).await, "a guest may see the account");
    assert_eq!(world.eu.refresh(&guest).await.unwrap_err().status, 401, "the guest's session goes on");
    let taken = world.eu.sign_up(&world.email(true), Some(guest.user_id)).await.unwrap_err();
    assert!(taken.is(ProblemKind::EmailTaken), "a guest who is somebody became somebody else");
}

#[tokio::test]
async fn no_lost_answer_loses_or_doubles_a_cart() {
    let world = World::new().await;
    // Five calls cross over: find, sign in, and from there freeze, alias, drain.
    for lost in 0..6 {
        let email = world.email(true);
        let account = world.us.sign_up(&email, None).await.unwrap().user_id;
        let guest = world.eu.guest().await.user_id;
        world.add(&world.eu, guest, "MUG", 2).await.unwrap();
        world.wire.lose_after(lost);
        let first = world.eu.sign_in(&email, Some(guest)).await;
        assert_eq!(first.is_err(), world.wire.has_lost(), "answer {lost}");
        assert_eq!(first.is_err(), lost < 5, "answer {lost}");
        world.eu.sign_in(&email, Some(guest)).await.unwrap();
        assert_eq!(held(&world.us.carts.view(account, 0).await.unwrap()), [("MUG".into(), 2)], "answer {lost}");
        assert!(world.add(&world.eu, guest, "PEN", 1).await.is_ok(), "answer {lost}: the guest's cart stayed frozen");
    }
}

#[tokio::test]
async fn an_account_brings_nothing_into_another() {
    let world = World::new().await;
    let (first, second) = (world.email(false), world.email(true));
    let ada = world.eu.sign_up(&first, None).await.unwrap().user_id;
    world.us.sign_up(&second, None).await.unwrap();
    world.add(&world.eu, ada, "MUG", 2).await.unwrap();
    // As with a guest's token that is a minute older than the account.
    let other = world.eu.sign_in(&second, Some(ada)).await.unwrap().user_id;
    assert!(!knows(&world.us, other, ada).await);
    assert_eq!(world.eu.carts.view(ada, 0).await.unwrap().units, 2);
}

#[tokio::test]
async fn an_old_hash_is_renewed_at_the_next_sign_in() {
    use argon2::password_hash::{PasswordHasher, SaltString};
    let world = World::new().await;
    let email = world.email(false);
    let user = world.eu.sign_up(&email, None).await.unwrap().user_id;
    let weak = argon2::Argon2::new(
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        argon2::Params::new(8, 1, 1, None).unwrap(),
    );
    let weak = weak.hash_password(PASSWORD.as_bytes(), &SaltString::encode_b64(&[1; 16]).unwrap()).unwrap().to_string();
    let pool = &world.eu.pool;
    let region = if user.slot().number() < 2048 { pool } else { &world.us.pool };
    sqlx::query!("UPDATE credentials SET password_hash = $1", weak).execute(region).await.unwrap();
    world.eu.sign_in(&email, None).await.unwrap();
    let now = sqlx::query_scalar!("SELECT password_hash FROM credentials").fetch_one(region).await.unwrap();
    assert!(now.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{now}");
    world.eu.sign_in(&email, None).await.unwrap();
}

#[tokio::test]
async fn an_operator_is_made_once_and_only_of_an_account() {
    let world = World::new().await;
    let email = world.email(true);
    let user = world.eu.sign_up(&email, None).await.unwrap().user_id;
    for _ in 0..2 {
        assert_eq!(world.eu.accounts.grant_operator(email.clone()).await.unwrap(), user);
    }
    let tokens = world.us.sign_in(&email, None).await.unwrap();
    assert_eq!(world.claims(&tokens).roles, [Role::Customer, Role::Operator]);
    assert!(world.eu.accounts.grant_operator(world.email(true)).await.is_err());
}
