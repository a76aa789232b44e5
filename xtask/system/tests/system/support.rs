//! A place and a guardian for each test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use shared_clock::Entropy;
use xtask_system::ServiceUser;
use xtask_system::guardian::{Guardian, GuardianProgram};
use xtask_system::layout::Layout;
use xtask_system::ports::Ports;
use xtask_system::postgres::{PostgresPlan, PostgresPrograms, PostgresServer};

/// A folder of this test's own that the databases' user can reach.
pub(crate) fn place(test: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    if place.exists() {
        std::fs::remove_dir_all(&place).unwrap();
    }
    std::fs::create_dir_all(&place).unwrap();
    place
}

pub(crate) fn guardian(place: &Path) -> Guardian {
    let program = GuardianProgram { program: env!("CARGO_BIN_EXE_meridian-guardian").into(), arguments: Vec::new() };
    Guardian::start(&program, &place.join("guardian.lock")).unwrap()
}

pub(crate) fn ports() -> Ports {
    Ports::Free(Entropy::system())
}

/// A server with the given settings.
pub(crate) async fn postgres(name: &str, settings: &[&str], layout: &Layout, guardian: &Guardian) -> PostgresServer {
    let user = ServiceUser::for_databases().unwrap();
    let plan = PostgresPlan {
        name: name.to_owned(),
        port: ports().get(name, 0).unwrap(),
        password: hex::encode(Entropy::system().bytes::<8>()),
        settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
    };
    let programs = PostgresPrograms::find().expect("Postgres' server programs");
    PostgresServer::start(&programs, plan, layout, user.as_ref(), guardian).await.unwrap()
}

pub(crate) fn layout(place: &Path) -> Layout {
    Layout::create(&place.join("instance"), ServiceUser::for_databases().unwrap().as_ref()).unwrap()
}

/// Foreign processes tell nobody that they have come or gone: looks until `holds`, and fails after `most`.
pub(crate) async fn eventually(what: &str, most: Duration, holds: impl Fn() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(most, look).await.unwrap_or_else(|_| panic!("not within {} s: {what}", most.as_secs()));
}
