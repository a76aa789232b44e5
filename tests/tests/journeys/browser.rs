//! Journeys in a real browser, through the Worker: Chromium driven by the scripts in `tests/browser`.

use std::time::Duration;

use tests::place;
use tokio::process::Command;
use tokio::sync::Mutex;
use xtask_system::tools::node::NodeTools;
use xtask_system::tools::{Tools, servers};

use crate::store::worker;

/// Two browsers at once would make each other late on a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
/// The longest scenario looks at every page twice.
const PATIENCE: Duration = Duration::from_secs(240);

async fn scenario(name: &str) {
    let origin = worker();
    let tools = Tools::new(|line| eprintln!("{line}")).unwrap();
    let (node, chromium) =
        tokio::try_join!(NodeTools::install(&tools, place::repository()), servers::chromium(&tools)).unwrap();
    let _turn = ONE_AT_A_TIME.lock().await;
    let script = place::repository().join("tests/browser").join(format!("{name}.mjs"));
    let mut command = Command::new(&node.node);
    command.arg(script).env("SHOP_ORIGIN", origin).env("NODE_MODULES", &node.modules).env("CHROMIUM", chromium);
    command.env("SCREENSHOTS", place::screenshots()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{name} took longer than {} s", PATIENCE.as_secs())).unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_shopper_searches_buys_and_sees_the_order_confirmed() {
    scenario("purchase").await;
}

#[tokio::test]
async fn a_shopper_without_javascript_does_the_same() {
    scenario("without_javascript").await;
}

#[tokio::test]
async fn a_shopper_buys_with_the_keyboard_alone() {
    scenario("keyboard").await;
}

#[tokio::test]
async fn every_page_is_accessible_and_fits_phone_and_desktop() {
    scenario("pages").await;
}
