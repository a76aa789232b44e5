//! region-core-payment-sandbox
