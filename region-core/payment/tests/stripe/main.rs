//! The Stripe adapter against two fakes of Stripe, each good for what the other is not: `stripe-world` keeps idempotency keys,
//! declines and refunds as Stripe documents them; `localstripe` asks shoppers and signs the events that it sends. What neither
//! has, Checkout, a simulator of our own plays (`checkout.rs`).
//!
//! `cargo xtask test` installs them and says where they are. Where one cannot be installed its tests are counted as skipped,
//! which is why this program brings its own harness.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adapter;
mod asking;
mod checkout;
mod fake;
mod late;
mod shop;

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use fake::Fake;
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

/// What starts stripe-world at a port.
const STRIPE_WORLD: &str = "MERIDIAN_TEST_STRIPE_WORLD";
/// What starts localstripe at a port.
const LOCALSTRIPE: &str = "MERIDIAN_TEST_LOCALSTRIPE";

/// The tests of one fake, which runs while they do.
struct Suite {
    runtime: Arc<Runtime>,
    fake: Option<Arc<Fake>>,
}

impl Suite {
    fn of(runtime: &Arc<Runtime>, variable: &str) -> Self {
        let launcher = std::env::var_os(variable).filter(|launcher| !launcher.is_empty());
        if launcher.is_none() {
            println!(
                "skipped: {variable} is not set, for this fake of Stripe is not installed (`cargo xtask test` does)"
            );
        }
        let start = |launcher: OsString| Arc::new(runtime.block_on(Fake::start(&launcher)));
        Self { runtime: Arc::clone(runtime), fake: launcher.map(start) }
    }

    /// A test that needs no fake but its own.
    fn own<F: Future<Output = ()> + Send + 'static>(
        &self,
        name: &'static str,
        test: impl FnOnce() -> F + Send + 'static,
    ) -> Trial {
        let runtime = Arc::clone(&self.runtime);
        Trial::test(name, move || {
            runtime.block_on(test());
            Ok(())
        })
    }

    fn trial<F: Future<Output = ()> + Send + 'static>(
        &self,
        name: &'static str,
        test: impl FnOnce(Arc<Fake>) -> F + Send + 'static,
    ) -> Trial {
        let (runtime, fake) = (Arc::clone(&self.runtime), self.fake.clone());
        let missing = fake.is_none();
        let run = move || {
            let fake = fake.ok_or("the fake is not installed")?;
            runtime.block_on(test(fake));
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(missing)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let runtime = Arc::new(runtime);
    // `cargo test -- --list` starts nothing.
    let suite = |variable: &str| match arguments.list {
        true => Suite { runtime: Arc::clone(&runtime), fake: None },
        false => Suite::of(&runtime, variable),
    };
    let (world, asking) = (suite(STRIPE_WORLD), suite(LOCALSTRIPE));
    let trials = vec![
        world.trial("the_same_key_twice_is_one_payment", adapter::the_same_key_twice_is_one_payment),
        world.trial("a_refund_asked_for_twice_moves_the_money_back_once", adapter::a_refund_asked_for_twice),
        world.trial("a_part_given_back_is_found_by_our_name_for_it", adapter::a_part_given_back),
        world.trial("a_declined_card_moves_nothing_and_says_why", adapter::a_declined_card),
        world.trial("an_unknown_way_to_pay_is_refused", adapter::an_unknown_way_to_pay),
        world.trial("a_voided_payment_cannot_be_captured", adapter::a_voided_payment),
        world.trial("yen_have_no_decimals", adapter::yen),
        world.trial("a_key_that_stripe_does_not_take_declines_nothing", adapter::a_key_that_is_not_taken),
        world.trial("every_answer_lost_once_is_one_charge", late::every_answer_lost_once),
        world.trial("a_success_after_a_payment_was_over_goes_back", late::a_success_after_it_was_over),
        world.trial("a_forged_an_old_and_a_strange_notice_change_nothing", late::notices_not_to_be_taken),
        asking.trial("a_shopper_who_answers_his_bank_has_paid", asking::a_shopper_who_answers),
        asking.trial("a_signed_event_has_a_payment_read", asking::a_signed_event),
        world.own("whoever_pays_on_stripes_page_is_charged_once", checkout::whoever_pays_on_stripes_page),
        world.own("a_page_ends_with_its_order", checkout::an_order_that_ends_first),
        world.own("who_pays_as_his_order_ends_is_charged_nothing", checkout::a_shopper_who_pays_as_his_order_ends),
        world.own("no_call_about_a_session_takes_longer_than_one_call_may", checkout::a_stripe_that_takes_its_time),
        world.own("a_bank_is_told_where_its_page_leads_back_to", checkout::a_bank_that_asks_on_its_page),
        world.own("no_page_is_offered_that_cannot_lead_back", checkout::a_shop_without_an_address),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
