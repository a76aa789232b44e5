//! A Rust that compiles for `wasm32-unknown-unknown`.
//!
//! The ordinary way is rustup's. Where its server cannot be reached, Debian brings a second compiler with the sources of
//! the standard library, which is then built once and linked as the rustup toolchain `debian-wasm`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::error::{SystemError, file};
use crate::tools::{Tools, apt, clean_command, run};

const TARGET: &str = "wasm32-unknown-unknown";
const TOOLCHAIN: &str = "debian-wasm";
/// Where a server cannot be reached rustup hangs rather than fails.
const RUSTUP_WITHIN: Duration = Duration::from_secs(60);
const BUILT_WITHIN: Duration = Duration::from_secs(600);
const DEBIAN_LIBRARY: &str = "/usr/lib/rustlib/wasm32-unknown-unknown/lib";
const PACKAGES: [&str; 5] = ["rustc-web", "cargo-web", "rust-web-src", "libstd-rust-web-dev", "lld-19"];

/// Which toolchain compiles for the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasmToolchain {
    /// Variables that make `cargo` use it; none for the ordinary one.
    pub variables: Vec<(&'static str, &'static str)>,
    /// What the compiler calls itself. What one has compiled, another cannot use.
    pub compiler: String,
}

/// Finds a toolchain or makes one.
///
/// # Errors
/// [`SystemError::Missing`], saying what to install, if neither way is open.
pub async fn toolchain(tools: &Tools) -> Result<WasmToolchain, SystemError> {
    if let Some(found) = find().await {
        return Ok(found);
    }
    let _lock = tools.lock("wasm").await?;
    if let Some(found) = find().await {
        return Ok(found);
    }
    tools.say(&format!("adding the target {TARGET} with rustup"));
    let added = run("rustup", clean_command("rustup").args(["target", "add", TARGET]), RUSTUP_WITHIN).await;
    if ordinary().await.is_none() {
        if let (Err(refused), false) = (added, apt::may_install()) {
            return Err(refused);
        }
        tools.say("rustup cannot; using Debian's compiler instead");
        from_debian(tools).await?;
    }
    find().await.ok_or_else(|| SystemError::Missing {
        tool: "a Rust toolchain for wasm32-unknown-unknown",
        advice: format!("try `rustup target add {TARGET}`"),
    })
}

async fn find() -> Option<WasmToolchain> {
    match ordinary().await {
        Some(found) => Some(found),
        None => debian().await,
    }
}

/// The default toolchain has the target.
async fn ordinary() -> Option<WasmToolchain> {
    let sysroot = said(clean_command("rustc").args(["--print", "sysroot"])).await?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib");
    let compiler = said(clean_command("rustc").arg("--version")).await?;
    holds_libraries(&library).then(|| WasmToolchain { variables: Vec::new(), compiler })
}

/// Debian's toolchain is linked, and its standard library was built by the compiler that is installed now.
async fn debian() -> Option<WasmToolchain> {
    let compiler = said(Command::new("/usr/bin/rustc").arg("--version")).await?;
    let toolchains = said(clean_command("rustup").args(["toolchain", "list"])).await?;
    let linked = toolchains.lines().any(|line| line.split_whitespace().next() == Some(TOOLCHAIN));
    let library = Path::new(DEBIAN_LIBRARY);
    let built_by = std::fs::read_to_string(library.join("built-by")).ok()?;
    let usable = linked && built_by == compiler && holds_libraries(library);
    usable.then(|| WasmToolchain {
        variables: vec![("RUSTUP_TOOLCHAIN", TOOLCHAIN), ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19")],
        compiler,
    })
}

async fn from_debian(tools: &Tools) -> Result<(), SystemError> {
    apt::install(tools, "Debian's Rust for the web", &PACKAGES).await?;
    tools.say("building the standard library for wasm32");
    let work = std::env::temp_dir().join(format!("meridian-std-{}", std::process::id()));
    let built = build_library(&work).await;
    let installed = built.and_then(|library| install_library(&library));
    let _ = std::fs::remove_dir_all(&work);
    installed?;
    let compiler = said(Command::new("/usr/bin/rustc").arg("--version")).await.unwrap_or_default();
    let mark = Path::new(DEBIAN_LIBRARY).join("built-by");
    std::fs::write(&mark, compiler).map_err(file("write", &mark))?;
    run("rustup", clean_command("rustup").args(["toolchain", "link", TOOLCHAIN, "/usr"]), RUSTUP_WITHIN).await?;
    Ok(())
}

/// Compiles the standard library as the dependency of an empty crate; gives the folder where it then lies.
async fn build_library(work: &Path) -> Result<PathBuf, SystemError> {
    let source = work.join("src");
    std::fs::create_dir_all(&source).map_err(file("create", &source))?;
    let manifest = "[package]\nname = \"meridian-empty\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n\n\
                    [profile.release]\npanic = \"abort\"\n";
    for (name, text) in [("Cargo.toml", manifest), ("src/lib.rs", "")] {
        let path = work.join(name);
        std::fs::write(&path, text).map_err(file("write", &path))?;
    }
    let mut cargo = clean_command("/usr/bin/cargo");
    cargo
        .args(["build", "--release", "-Z", "build-std=std,panic_abort,panic_unwind,test", "--target", TARGET])
        .current_dir(work)
        .env("RUSTC", "/usr/bin/rustc")
        // Debian's compiler is a stable one; building the standard library is allowed to it only so.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-Cembed-bitcode=yes")
        .env("CARGO_TARGET_DIR", work.join("target"));
    run("the standard library for wasm32", &mut cargo, BUILT_WITHIN).await?;
    Ok(work.join("target").join(TARGET).join("release/deps"))
}

/// Copies the libraries, without the empty crate's own, over whatever an older compiler left.
fn install_library(built: &Path) -> Result<(), SystemError> {
    let place = Path::new(DEBIAN_LIBRARY);
    if place.exists() {
        std::fs::remove_dir_all(place).map_err(file("remove", place))?;
    }
    std::fs::create_dir_all(place).map_err(file("create", place))?;
    for library in libraries(built).filter(|library| !library.to_string_lossy().contains("meridian_empty")) {
        let name = library.file_name().unwrap_or_default();
        std::fs::copy(&library, place.join(name)).map_err(file("copy", &library))?;
    }
    Ok(())
}

fn holds_libraries(folder: &Path) -> bool {
    libraries(folder)
        .any(|library| library.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libcore-")))
}

fn libraries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rlib"))
}

async fn said(command: &mut Command) -> Option<String> {
    run("a Rust toolchain", command, RUSTUP_WITHIN).await.ok()
}
