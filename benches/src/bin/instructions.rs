//! Counts instructions; see the module's place in the README.
fn main() {}
