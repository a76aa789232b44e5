//! The sandbox over HTTP: it lists money that moved, and nothing else.

use super::{Account, Accounts, Part};
use crate::movements::{Movement, MovementKind, MovementLog};

/// The list, with the last number that it had before the cut.
#[derive(Debug)]
pub(in crate::audit) struct Movements {
    log: MovementLog,
    before: u64,
}

impl Movements {
    pub(super) async fn up_to_now(origin: &str) -> anyhow::Result<Self> {
        let mut movements = Self { log: MovementLog::at(origin)?, before: 0 };
        while let Some(last) = movements.log.page(movements.before).await?.last() {
            movements.before = last.sequence;
        }
        Ok(movements)
    }

    pub(super) async fn accounts(&self, part: Part) -> anyhow::Result<(u64, Accounts)> {
        let (mut accounts, mut facts, mut after) = (Accounts::new(), 0, 0);
        loop {
            let page = self.log.page(after).await?;
            let Some(last) = page.last() else { return Ok((facts, accounts)) };
            after = last.sequence;
            facts += page.len() as u64;
            for movement in page.into_iter().filter(|movement| part.has(&movement.reference)) {
                note(&mut accounts, movement, self.before);
            }
        }
    }
}

fn note(accounts: &mut Accounts, movement: Movement, last_before: u64) {
    let Movement { sequence, kind, reference, merchant_reference, amount } = movement;
    let before = sequence <= last_before;
    let account = accounts.entry(reference).or_insert_with(|| Account {
        merchant_reference,
        currency: amount.currency().code().to_owned(),
        ..Account::default()
    });
    account.moved_before |= before;
    match kind {
        MovementKind::Capture => {
            account.captures += 1;
            account.captures_before += u32::from(before);
            account.captured_minor += amount.minor();
        }
        MovementKind::Refund => {
            account.refunded_minor += amount.minor();
            account.refunded_before_minor += if before { amount.minor() } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::{Currency, Money};

    use super::*;

    #[test]
    fn movements_of_a_payment_are_added_up_as_of_the_cut() {
        let moved = |sequence, kind| Movement {
            sequence,
            kind,
            reference: "pay_1".to_owned(),
            merchant_reference: "m".to_owned(),
            amount: Money::new(5, Currency::GBP).unwrap(),
        };
        let mut accounts = Accounts::new();
        for movement in [moved(3, MovementKind::Capture), moved(9, MovementKind::Refund)] {
            note(&mut accounts, movement, 8);
        }
        let account = &accounts["pay_1"];
        assert_eq!((account.captures, account.captures_before, account.captured_minor), (1, 1, 5));
        assert_eq!((account.refunded_minor, account.refunded_before_minor, account.currency.as_str()), (5, 0, "GBP"));
    }
}
