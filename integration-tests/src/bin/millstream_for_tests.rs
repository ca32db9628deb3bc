//! The `millstream` binary under a name of its own: cargo builds it together with the tests that kill it.

fn main() -> std::process::ExitCode {
    millstream_cli::main()
}
