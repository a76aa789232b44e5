//! region-core-payment
