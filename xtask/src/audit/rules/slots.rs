//! Rows against the slots that their shard owns.
//!
//! A slot that moved away leaves its rows behind for a while. Nothing may be written to them any more: a row that a
//! later transaction wrote than the one that let the slot go was written past the fence. Only tables whose every write
//! takes the fence can tell.

use super::{Check, LocalRule, SLOTS_ROWS, slot_of_user, slot_of_uuid};

/// Rows of a table: which, of which slot, and who wrote them.
macro_rules! rows {
    ($table:literal, $key:literal, $slot:expr) => {
        concat!("(SELECT ", $key, "::text AS key, ", $slot, " AS slot, xmin AS writer FROM ", $table, ") AS rows")
    };
}

macro_rules! never_owned {
    ($table:literal, $key:literal, $slot:expr) => {
        Check {
            table: $table,
            sql: concat!(
                "SELECT key, format('is of slot %s, which this shard does not know', slot) AS problem FROM ",
                rows!($table, $key, $slot),
                " WHERE slot NOT IN (SELECT slots.slot FROM slots)"
            ),
        }
    };
}

macro_rules! written_late {
    ($table:literal, $key:literal, $slot:expr) => {
        Check {
            table: $table,
            sql: concat!(
                "SELECT key, format('was written to slot %s after it had left this shard', slot) AS problem FROM ",
                rows!($table, $key, $slot),
                " JOIN slots USING (slot) WHERE state = 'moved' AND age(rows.writer) < age(slots.xmin)"
            ),
        }
    };
}

pub(super) const RULES: &[LocalRule] = &[LocalRule {
    rule: SLOTS_ROWS,
    looks_at: &[
        "users",
        "carts",
        "orders",
        "idempotency_records",
        "payments",
        "money_entries",
        "refunds",
        "shipments",
        "labels",
        "returns",
        "logins",
    ],
    checks: &[
        never_owned!("users", "user_id", slot_of_user!("user_id")),
        never_owned!("carts", "cart_id", slot_of_uuid!("cart_id")),
        never_owned!("orders", "order_id", slot_of_uuid!("order_id")),
        never_owned!("idempotency_records", "order_id", slot_of_user!("user_id")),
        never_owned!("payments", "payment_id", slot_of_uuid!("payment_id")),
        never_owned!("money_entries", "payment_id", slot_of_uuid!("payment_id")),
        never_owned!("refunds", "refund_id", slot_of_uuid!("refund_id")),
        never_owned!("shipments", "shipment_id", slot_of_uuid!("shipment_id")),
        never_owned!("labels", "shipment_id", slot_of_uuid!("shipment_id")),
        never_owned!("returns", "return_id", slot_of_uuid!("return_id")),
        never_owned!("logins", "user_id", "logins.slot"),
        written_late!("users", "user_id", slot_of_user!("user_id")),
        written_late!("carts", "cart_id", slot_of_uuid!("cart_id")),
        written_late!("shipments", "shipment_id", slot_of_uuid!("shipment_id")),
        written_late!("returns", "return_id", slot_of_uuid!("return_id")),
        written_late!("idempotency_records", "order_id", slot_of_user!("user_id")),
        Check {
            table: "orders",
            sql: concat!(
                "SELECT order_id::text AS key, format('of slot %s, for user %s of slot %s', ",
                slot_of_uuid!("order_id"),
                ", user_id, ",
                slot_of_user!("user_id"),
                ") AS problem FROM orders WHERE ",
                slot_of_uuid!("order_id"),
                " <> ",
                slot_of_user!("user_id")
            ),
        },
    ],
}];
