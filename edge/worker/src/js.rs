//! The JavaScript that is called by hand.

use worker::js_sys::{Array, Promise, Uint8Array};
use worker::wasm_bindgen::prelude::wasm_bindgen;
use worker::wasm_bindgen::{self, JsValue};
use worker::web_sys;

#[wasm_bindgen]
extern "C" {
    /// The Worker's own `fetch`: no `worker::Response` is built from its answer, whose conversion can panic.
    #[wasm_bindgen(js_name = fetch)]
    pub(crate) fn fetch(request: &web_sys::Request) -> Promise;

    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues, catch)]
    pub(crate) fn get_random_values(bytes: &mut [u8]) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], js_name = importKey, catch)]
    pub(crate) fn import_key(
        format: &str,
        key: &Uint8Array,
        algorithm: &str,
        extractable: bool,
        usages: &Array,
    ) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], js_name = verify, catch)]
    pub(crate) fn verify(
        algorithm: &str,
        key: &JsValue,
        signature: &Uint8Array,
        message: &Uint8Array,
    ) -> Result<Promise, JsValue>;
}

#[wasm_bindgen(module = "cloudflare:workers")]
extern "C" {
    /// Keeps the isolate alive for a job after the answer; needs no request's context.
    #[wasm_bindgen(js_name = waitUntil, catch)]
    pub(crate) fn wait_until(job: &Promise) -> Result<(), JsValue>;
}
