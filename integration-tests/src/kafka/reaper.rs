//! Ends what a test process started, even if that process panics, exits from a test harness that runs no
//! destructors of statics, or is killed.
//!
//! A shell waits on a pipe whose other end only this process holds. When the process is gone, however it went,
//! the kernel closes the pipe, and the shell runs the clean-up.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// Runs its clean-up when dropped, or when this process ends without dropping it.
#[derive(Debug)]
pub(super) struct Reaper {
    shell: Child,
    script: String,
}

impl Reaper {
    /// `script` is run by `sh -c`.
    pub(super) fn new(script: String) -> Result<Self, String> {
        let shell = Command::new("sh")
            .arg("-c")
            .arg(format!("read -r _; {script}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // Ctrl-C at the terminal must not end it before its work is done
            .spawn()
            .map_err(|e| format!("cannot start sh: {e}"))?;
        Ok(Self { shell, script })
    }

    /// Gives the clean-up back undone: what it would end is meant to stay.
    pub(super) fn dismiss(mut self) -> String {
        // Killed while it still reads, the shell never comes to the script.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        std::mem::take(&mut self.script)
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
