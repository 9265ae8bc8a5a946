//! What is below `mimir` is part of the program. Its contents are tracked by the compiler; that a file
//! came or went is not, so Cargo is told to look.

#![allow(clippy::print_stdout, reason = "this is how a build script talks to Cargo")]

fn main() {
    println!("cargo::rerun-if-changed=../../mimir");
}
