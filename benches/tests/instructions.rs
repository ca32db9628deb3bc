//! A change that makes a workload's records dearer is noticed before it is merged: instruction counts of a fixed replay
//! against `instructions.json`.

#![allow(clippy::expect_used)] // a test may stop at the first surprise

use std::process::Command;

/// Where valgrind cannot be had the counts cannot be checked; that is said, and not taken for a failure.
#[test]
fn no_workload_became_dearer() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("NOT CHECKED: instruction counts of the workloads, for want of valgrind (apt-get install valgrind)");
        return;
    }
    let check = Command::new(env!("CARGO_BIN_EXE_instructions")).arg("--check").output();
    let check = check.expect("the program of this package can be run");
    let text = [check.stdout, check.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    println!("{}", text.concat());
    assert!(check.status.success(), "{}", text.concat());
}
