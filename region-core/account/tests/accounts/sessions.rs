//! Refresh tokens: they rotate, forgive a lost answer, and never a theft.

use futures_util::future::join_all;
use shared::Problem;
use shared::api::account::{RefreshToken, Tokens};

use crate::world::World;

/// Days pass for every session of the region.
async fn let_days_pass(world: &World, days: i32) {
    sqlx::query!("UPDATE sessions SET expires_at = expires_at - make_interval(days => $1)", days)
        .execute(&world.eu.pool)
        .await
        .unwrap();
}

fn secret(tokens: &Tokens) -> &str {
    &tokens.refresh_token.0
}

#[tokio::test]
async fn a_refresh_token_is_replaced_wherever_it_is_shown() {
    let world = World::new().await;
    let first = world.eu.guest().await;
    let second = world.us.refresh(&first).await.unwrap();
    assert_ne!(secret(&first), secret(&second));
    assert_eq!(world.claims(&second).sid, world.claims(&first).sid);
    let third = world.eu.refresh(&second).await.unwrap();
    assert_eq!(third.user_id, first.user_id);
}

#[tokio::test]
async fn a_lost_answer_locks_nobody_out() {
    let world = World::new().await;
    let first = world.eu.guest().await;
    let answers = join_all((0..20).map(|_| world.eu.refresh(&first))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|tokens| secret(tokens) == secret(&answers[0])), "two tabs got different tokens");
    assert!(world.eu.refresh(&answers[7]).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_never_arrived_is_given_again_days_later() {
    let world = World::new().await;
    let first = world.eu.guest().await;
    let lost = world.eu.refresh(&first).await.unwrap();
    for _ in 0..2 {
        let_days_pass(&world, 29).await;
        let again = world.eu.refresh(&first).await.unwrap();
        assert_eq!(secret(&again), secret(&lost));
    }
    let next = world.eu.refresh(&lost).await.unwrap();
    assert_eq!(world.eu.refresh(&first).await.unwrap_err().status, 401, "its successor was used");
    assert_eq!(world.eu.refresh(&next).await.unwrap_err().status, 401, "the session went on");
}

#[tokio::test]
async fn a_stolen_token_ends_the_session_once_either_holder_falls_behind() {
    let world = World::new().await;
    let stolen = world.eu.guest().await;
    let thief = world.eu.refresh(&stolen).await.unwrap();
    let thief = world.eu.refresh(&thief).await.unwrap();
    assert_eq!(world.eu.refresh(&stolen).await.unwrap_err().status, 401);
    assert_eq!(world.eu.refresh(&thief).await.unwrap_err().status, 401, "the session went on");
}

#[tokio::test]
async fn a_token_two_turns_old_ends_the_session_at_once() {
    let world = World::new().await;
    let first = world.eu.guest().await;
    let second = world.eu.refresh(&first).await.unwrap();
    let third = world.eu.refresh(&second).await.unwrap();
    assert_eq!(world.eu.refresh(&first).await.unwrap_err().status, 401);
    assert_eq!(world.eu.refresh(&third).await.unwrap_err().status, 401);
}

#[tokio::test]
async fn only_a_hash_of_the_token_is_kept() {
    let world = World::new().await;
    let tokens = world.eu.guest().await;
    let rows = sqlx::query_scalar!("SELECT sessions::text FROM sessions").fetch_all(&world.eu.pool).await.unwrap();
    let secret = secret(&tokens).split_once('.').unwrap().1;
    assert!(rows.iter().flatten().all(|row| !row.contains(secret)));
}

#[tokio::test]
async fn an_ended_or_expired_session_gives_nothing() {
    let world = World::new().await;
    let tokens = world.eu.guest().await;
    for _ in 0..2 {
        world.us.accounts.end(tokens.refresh_token.clone()).await.unwrap();
    }
    assert_eq!(world.eu.refresh(&tokens).await.unwrap_err().status, 401);
    let expired = world.eu.guest().await;
    sqlx::query!("UPDATE sessions SET expires_at = shard_now()").execute(&world.eu.pool).await.unwrap();
    assert_eq!(world.eu.refresh(&expired).await.unwrap_err().status, 401);
    for made_up in ["", "x", "01890a5d-ac96-774b-bcce-b302099a8057.x", &format!("{}x", secret(&tokens))] {
        let refused = world.eu.accounts.refresh(RefreshToken(made_up.to_owned())).await;
        assert_eq!(Problem::from(refused.unwrap_err()).status, 401, "{made_up:?}");
    }
}

#[tokio::test]
async fn revoking_ends_every_session_and_raises_the_epoch() {
    let world = World::new().await;
    let email = world.email(false);
    let guest = world.eu.guest().await.user_id;
    let first = world.eu.sign_up(&email, Some(guest)).await.unwrap();
    let second = world.eu.sign_in(&email, None).await.unwrap();
    let before = world.claims(&second).epoch;
    assert_eq!(world.eu.accounts.revoke(email.clone()).await.unwrap(), guest);
    for tokens in [&first, &second] {
        assert_eq!(world.eu.refresh(tokens).await.unwrap_err().status, 401);
    }
    assert_eq!(world.claims(&world.eu.sign_in(&email, None).await.unwrap()).epoch, before + 1);
    assert_eq!(Problem::from(world.eu.accounts.revoke(world.email(false)).await.unwrap_err()).status, 404);
}

#[tokio::test]
async fn old_sessions_and_reservations_are_forgotten() {
    let world = World::new().await;
    world.eu.guest().await;
    let kept = world.eu.guest().await;
    let digest = world.email(false).digest();
    sqlx::query!("INSERT INTO logins VALUES ($1, 1, 1, 'reserved', shard_now() - interval '2 hours')", &digest)
        .execute(&world.eu.pool)
        .await
        .unwrap();
    sqlx::query!(
        "UPDATE sessions SET expires_at = shard_now() - interval '8 days' WHERE user_id <> $1",
        kept.user_id.as_i64(),
    )
    .execute(&world.eu.pool)
    .await
    .unwrap();
    assert_eq!(world.eu.accounts.sweep().await.unwrap(), 2);
    assert_eq!(world.eu.accounts.sweep().await.unwrap(), 0);
    assert!(world.eu.refresh(&kept).await.is_ok());
}
