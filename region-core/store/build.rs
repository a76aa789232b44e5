//! Migrations are part of the library: a new file is a reason to build it anew.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
