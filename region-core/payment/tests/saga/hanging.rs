//! A provider that hangs holds up whoever waits for it, and nobody else: no connection to the database waits with them.

use shared::PaymentId;
use shared::api::refund::NewRefund;
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Longer than this test takes.
const LONG: Duration = Duration::from_secs(60);

/// A provider that takes every call and answers none; tells how many there are.
async fn silent() -> (SocketAddr, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, (count, asked)) = (listener.local_addr().unwrap(), watch::channel(0));
    tokio::spawn(async move {
        let mut held: Vec<TcpStream> = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
            count.send_replace(held.len());
        }
    });
    (address, asked)
}

/// An order with its payment, which waits for its creation or is captured.
async fn order(shard: &Shard, number: u8, state: &'static str) -> OrderId {
    let slot = Slot::new(9).unwrap();
    let (order, payment) = (OrderId::mint(MS, slot, [number; 8]), PaymentId::mint(MS, slot, [number; 8]));
    let sql = "WITH users AS (INSERT INTO users (user_id) VALUES (7) ON CONFLICT DO NOTHING), placed AS (
            INSERT INTO orders (order_id, user_id, payment_token, currency, subtotal_minor, shipping_minor, total_minor,
                                catalog_version, shipping_address, expires_at)
            VALUES ($1, 7, 'tok_success', 'GBP', 1250, 0, 1250, 1, '{}', shard_now() + interval '15 minutes'))
        INSERT INTO payments (payment_id, order_id, provider, payment_token, currency, amount_minor, state,
                              provider_reference, captured_minor)
        VALUES ($2, $1, 'sandbox', 'tok_success', 'GBP', 1250, $3, CASE WHEN $3 = 'captured' THEN 'pay_' || $1 END,
                CASE WHEN $3 = 'captured' THEN 1250 ELSE 0 END)";
    let placed = sqlx::query(sql).bind(order.as_uuid()).bind(payment.as_uuid()).bind(state);
    placed.execute(&mut *shard.read().await.unwrap()).await.unwrap();
    order
}

promises! {
    no_connection_to_the_database_is_held_while_the_provider_thinks,
}

async fn no_connection_to_the_database_is_held_while_the_provider_thinks(_: Home) {
    let (shards, (address, mut asked)) = (test_support::one_shard().await, silent().await);
    let shard = shards.all().next().unwrap();
    for number in 1..=4 {
        order(shard, number, "to_create").await;
    }
    let paid = order(shard, 5, "captured").await;
    let sandbox = Sandbox::within(&format!("http://{address}"), Deadlines { connect: LONG, total: LONG }).unwrap();
    let wakes = Wakes::new(shards.all().map(Shard::id));
    let settings = Settings { poll: Duration::from_millis(20), lease: LONG, ..Settings::default() };
    let payments = Payments::new(shards.clone(), wakes, Arc::new(sandbox), Clock::system(), Entropy::seeded(3));
    let payments = payments.bounded_by(settings);
    let body = NewRefund { amount: Money::new(300, Currency::GBP).unwrap(), reason: "a crack".to_owned() };
    let keeper = UserId::mint(MS, Slot::new(77).unwrap(), 1).unwrap();
    payments.give_back(paid, "k".parse().unwrap(), keeper, body).await.unwrap();
    let driving = tokio::spawn(payments.drive(CancellationToken::new()));
    tokio::time::timeout(LONG, asked.wait_for(|asked| *asked == 5)).await.unwrap().unwrap();
    // Four creations and a refund hang, and nothing else is due: the drivers look now and then, and give back what they took.
    let quiet = async {
        while shard.connections() as usize != shard.idle_connections() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG / 2, quiet).await.expect("a connection waits for the provider");
    let taken = "SELECT (SELECT count(*) FROM payments WHERE leased_until > shard_now())
                      + (SELECT count(*) FROM refunds WHERE leased_until > shard_now())";
    let taken: i64 = sqlx::query_scalar(taken).fetch_one(&mut *shard.read().await.unwrap()).await.unwrap();
    assert_eq!((taken, *asked.borrow()), (5, 5), "all of them still hang");
    driving.abort();
}
