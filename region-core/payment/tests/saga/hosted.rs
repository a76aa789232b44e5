//! Payments on the provider's own page: coming back proves nothing, staying away loses nothing, too late moves nothing.

use super::*;

impl Shop {
    /// Orders that are paid on the bank's page, and where those pages are.
    async fn led_away<const N: usize>(&mut self) -> ([OrderId; N], [String; N]) {
        let orders: [OrderId; N] = self.orders("tok_hosted", N).await.try_into().unwrap();
        self.until(&orders, &["challenge_required"]).await;
        let mut pages = Vec::new();
        for order in orders {
            pages.push(self.page(order).await.unwrap());
        }
        (orders, pages.try_into().unwrap())
    }

    /// The bank's page on which the order's shopper is to answer.
    async fn page(&self, order: OrderId) -> Option<String> {
        let kept = "SELECT next_action_url FROM payments WHERE order_id = $1 AND next_action_url IS NOT NULL";
        self.text(kept, order).await
    }

    /// The shopper answers on the page, and is led to where the answer says.
    async fn answer(&self, page: &str, choice: &str) -> (u16, Option<String>) {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let form = ("content-type", "application/x-www-form-urlencoded");
        let sent = http.post(page).header(form.0, form.1).body(format!("choice={choice}")).send().await.unwrap();
        let location = sent.headers().get("location").map(|location| location.to_str().unwrap().to_owned());
        (sent.status().as_u16(), location)
    }
}

promises! {
    whoever_pays_on_the_banks_page_is_charged_once_whether_he_comes_back_or_not,
    whoever_will_not_pay_or_stays_away_is_charged_nothing,
    what_is_agreed_to_as_the_order_ends_is_paid_for_or_moves_nothing,
}

async fn whoever_pays_on_the_banks_page_is_charged_once_whether_he_comes_back_or_not(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let (orders, pages) = shop.led_away::<3>().await;
    // He looks and comes back without an answer, which changes nothing; he may go there again.
    let back = format!("{SHOP}/orders/{}?notice=back", orders[0]);
    assert_eq!(shop.answer(&pages[0], "cancel").await, (303, Some(back.clone())));
    shop.payments.confirm_challenge(orders[0]).await.unwrap();
    assert_eq!(shop.answer(&pages[0], "pay").await, (303, Some(back)));
    for _ in 0..3 {
        // Until the payment has moved on he may come back as often as he likes.
        let _ = shop.payments.confirm_challenge(orders[0]).await;
    }
    for page in &pages[1..] {
        assert_eq!(shop.answer(page, "pay_and_stay").await, (200, None), "nobody tells us");
    }
    shop.until(&orders, &["captured"]).await;
    assert_eq!(shop.page(orders[0]).await, None);
    shop.audit(3, 0).await;
    shop.close().await;
}

async fn whoever_will_not_pay_or_stays_away_is_charged_nothing(home: Home) {
    let mut shop = Shop::open(1, home).await;
    let (orders, pages) = shop.led_away::<2>().await;
    assert_eq!(shop.answer(&pages[0], "decline").await.0, 303);
    shop.until(&orders[..1], &["declined"]).await;
    assert_eq!(shop.status(orders[0]).await.as_deref(), Some("CANCELLED"));
    shop.expire(orders[1]).await;
    shop.until(&orders[1..], &["voided"]).await;
    assert_eq!(shop.answer(&pages[1], "pay").await, (409, None), "the page is told that it is over");
    assert!(matches!(shop.payments.confirm_challenge(orders[1]).await, Err(ConfirmError::NotAsked(_))));
    shop.audit(0, 0).await;
    shop.close().await;
}

async fn what_is_agreed_to_as_the_order_ends_is_paid_for_or_moves_nothing(home: Home) {
    let mut shop = Shop::open(2, home).await;
    let (orders, pages) = shop.led_away::<6>().await;
    for (order, page) in orders.iter().zip(&pages) {
        // Whichever comes first: he agrees, or the order's time is over.
        let (answered, ()) = tokio::join!(shop.answer(page, "pay"), shop.expire(*order));
        assert!([303, 409].contains(&answered.0), "{answered:?}");
    }
    shop.until(&orders, &["voided", "captured"]).await;
    let mut confirmed = 0;
    for order in orders {
        confirmed += usize::from(shop.status(order).await.as_deref() == Some("CONFIRMED"));
    }
    shop.audit(confirmed, 0).await;
    shop.close().await;
}
