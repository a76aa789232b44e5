//! A guardian for programs that cannot be their own, such as test binaries. `xtask` is its own.

fn main() -> std::process::ExitCode {
    let Some(lock) = std::env::args_os().nth(1) else {
        eprintln!("usage: meridian-guardian LOCK < PIPE");
        return std::process::ExitCode::from(2);
    };
    match xtask_system::guardian::run(std::path::Path::new(&lock)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meridian-guardian: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
