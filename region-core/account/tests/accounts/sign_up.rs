//! Guests and signing up.

use futures_util::future::join_all;
use shared::api::account::Tokens;
use shared::token::Role;
use shared::{Problem, ProblemKind, UserId};

use crate::world::{Region, World};

#[tokio::test]
async fn a_guest_lives_in_a_slot_of_the_region_that_met_him() {
    let world = World::new().await;
    for _ in 0..10 {
        let tokens = world.us.guest().await;
        let claims = world.claims(&tokens);
        assert_eq!((claims.sub, &claims.roles[..]), (tokens.user_id, &[Role::Guest][..]));
        assert!(tokens.user_id.slot().number() >= 2048);
        assert_eq!(claims.sid.slot(), tokens.user_id.slot());
        assert_eq!(world.us.accounts.account(tokens.user_id).await.unwrap().roles, [Role::Guest]);
    }
}

#[tokio::test]
async fn a_guest_finds_a_slot_that_takes_users_while_others_move() {
    let world = World::new().await;
    sqlx::query!("UPDATE slots SET state = 'frozen' WHERE slot % 4 = 0").execute(&world.eu.pool).await.unwrap();
    for _ in 0..20 {
        assert_ne!(world.eu.guest().await.user_id.slot().number() % 4, 0);
    }
}

#[tokio::test]
async fn signing_up_keeps_the_guests_id_wherever_the_login_lives() {
    let world = World::new().await;
    for in_us in [false, true] {
        let (guest, email) = (world.eu.guest().await.user_id, world.email(in_us));
        let tokens = world.eu.sign_up(&email, Some(guest)).await.unwrap();
        assert_eq!(tokens.user_id, guest);
        assert_eq!(world.claims(&tokens).roles, [Role::Customer]);
        let account = world.eu.accounts.account(guest).await.unwrap();
        assert_eq!((account.email, account.name.as_deref()), (Some(email.clone()), Some("Ada")));
        assert_eq!(world.us.sign_in(&email, None).await.unwrap().user_id, guest);
    }
}

async fn stored_epoch(region: &Region, user: UserId) -> u32 {
    let epoch = sqlx::query_scalar!("SELECT revocation_epoch FROM users WHERE user_id = $1", user.as_i64());
    u32::try_from(epoch.fetch_one(&region.pool).await.unwrap()).unwrap()
}

#[tokio::test]
async fn nothing_that_was_handed_to_the_guest_becomes_the_accounts() {
    let world = World::new().await;
    let (guest, email) = (world.eu.guest().await, world.email(true));
    // Somebody got hold of a token that the guest has used.
    let planted = world.eu.refresh(&guest).await.unwrap();
    let tokens = world.eu.sign_up(&email, Some(guest.user_id)).await.unwrap();
    for old in [&planted, &guest] {
        assert_eq!(world.eu.refresh(old).await.unwrap_err().status, 401, "a guest's session became the account's");
    }
    let epoch = stored_epoch(&world.eu, guest.user_id).await;
    assert!(world.claims(&planted).epoch < epoch, "a guest's access token was not revoked");
    assert_eq!(world.claims(&tokens).epoch, epoch);
    let refreshed = world.eu.refresh(&tokens).await.unwrap();
    assert_eq!(world.claims(&refreshed).roles, [Role::Customer]);
    // Another device: only becoming an account ends what was before.
    world.us.sign_in(&email, None).await.unwrap();
    assert!(world.eu.refresh(&refreshed).await.is_ok(), "a sign-in ended the other device's session");
}

#[tokio::test]
async fn a_winner_who_is_settled_late_loses_the_guests_sessions_too() {
    let world = World::new().await;
    let (guest, email) = (world.eu.guest().await, world.email(true));
    // The answer to the login's activation is lost: the account is there, and nobody has noted it with the guest.
    world.wire.lose_after(1);
    world.eu.sign_up(&email, Some(guest.user_id)).await.unwrap_err();
    assert!(world.wire.has_lost());
    sqlx::query!("UPDATE credentials SET changed_at = changed_at - interval '2 hours'")
        .execute(&world.eu.pool)
        .await
        .unwrap();
    assert_eq!(world.eu.accounts.sweep().await.unwrap(), 1);
    assert_eq!(world.eu.accounts.account(guest.user_id).await.unwrap().roles, [Role::Customer]);
    assert_eq!(world.eu.refresh(&guest).await.unwrap_err().status, 401, "a guest's session became the account's");
    assert!(world.claims(&guest).epoch < stored_epoch(&world.eu, guest.user_id).await);
}

#[tokio::test]
async fn a_repeated_sign_up_finishes_what_was_begun() {
    let world = World::new().await;
    // Each call that crosses over loses its answer once.
    for lost in 0..3 {
        let (guest, email) = (world.eu.guest().await.user_id, world.email(true));
        world.wire.lose_after(lost);
        let first = world.eu.sign_up(&email, Some(guest)).await;
        assert_eq!(first.is_err(), world.wire.has_lost(), "answer {lost}");
        assert_eq!(world.eu.sign_up(&email, Some(guest)).await.unwrap().user_id, guest, "answer {lost}");
        assert_eq!(world.eu.sign_in(&email, None).await.unwrap().user_id, guest, "answer {lost}");
    }
}

fn is_taken(answer: &Result<Tokens, Problem>) -> bool {
    answer.as_ref().is_err_and(|problem| problem.is(ProblemKind::EmailTaken))
}

#[tokio::test]
async fn an_email_goes_to_one_of_many_who_want_it_at_once() {
    let world = World::new().await;
    let email = world.email(true);
    let tries = (0..8).map(|number| if number % 2 == 0 { &world.eu } else { &world.us });
    let answers = join_all(tries.map(|region| region.sign_up(&email, None))).await;
    assert!(answers.iter().all(|answer| answer.is_ok() || is_taken(answer)), "{answers:?}");
    let winners: Vec<_> = answers.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(world.eu.sign_in(&email, None).await.unwrap().user_id, winners[0].user_id);
}

#[tokio::test]
async fn an_email_that_has_an_account_takes_no_other() {
    let world = World::new().await;
    let email = world.email(false);
    let owner = world.eu.sign_up(&email, None).await.unwrap().user_id;
    let guest = world.us.guest().await.user_id;
    assert!(is_taken(&world.us.sign_up(&email, Some(guest)).await));
    assert!(is_taken(&world.us.sign_up(&email, None).await));
    let other = world.email(true);
    assert!(is_taken(&world.eu.sign_up(&other, Some(owner)).await), "one account got two e-mails");
    assert!(world.us.sign_up(&other, Some(guest)).await.is_ok(), "a refused e-mail was left reserved or half-written");
}

#[tokio::test]
async fn a_reservation_holds_for_fifteen_minutes() {
    let world = World::new().await;
    let email = world.email(true);
    let (first, second) = (world.us.guest().await.user_id, world.us.guest().await.user_id);
    // A core that died after its first step.
    let slot = i16::from(email.slot());
    sqlx::query!(
        "INSERT INTO logins VALUES ($1, $2, $3, 'reserved', shard_now() + interval '15 minutes')",
        &email.digest(),
        slot,
        first.as_i64(),
    )
    .execute(&world.us.pool)
    .await
    .unwrap();
    let held = world.us.sign_up(&email, Some(second)).await.unwrap_err();
    assert!(held.is(ProblemKind::EmailTaken) && held.retry_after_seconds.unwrap() > 800, "{held:?}");
    sqlx::query!("UPDATE logins SET reserved_until = shard_now()").execute(&world.us.pool).await.unwrap();
    assert_eq!(world.us.sign_up(&email, Some(second)).await.unwrap().user_id, second);
    assert!(is_taken(&world.us.sign_up(&email, Some(first)).await), "the late loser got in");
}

#[tokio::test]
async fn a_late_loser_is_swept_and_a_late_winner_settled() {
    let world = World::new().await;
    let (lost, won) = (world.email(true), world.email(true));
    world.us.sign_up(&lost, None).await.unwrap();
    let winner = world.us.sign_up(&won, None).await.unwrap().user_id;
    let loser = world.eu.guest().await.user_id;
    sqlx::query!(
        "INSERT INTO credentials (user_id, email, password_hash) VALUES ($1, $2, 'x')",
        loser.as_i64(),
        lost.as_str()
    )
    .execute(&world.eu.pool)
    .await
    .unwrap();
    sqlx::query!("UPDATE credentials SET activated_at = NULL WHERE user_id = $1", winner.as_i64())
        .execute(&world.us.pool)
        .await
        .unwrap();
    for pool in [&world.eu.pool, &world.us.pool] {
        sqlx::query!("UPDATE credentials SET changed_at = changed_at - interval '2 hours'")
            .execute(pool)
            .await
            .unwrap();
    }
    assert_eq!(world.eu.accounts.sweep().await.unwrap() + world.us.accounts.sweep().await.unwrap(), 2);
    assert!(world.eu.sign_up(&world.email(false), Some(loser)).await.is_ok(), "the loser's credentials are in the way");
    assert_eq!(world.us.accounts.account(winner).await.unwrap().email, Some(won));
}
