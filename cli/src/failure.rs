//! Why a command ended, and with which exit code.

use std::fmt;
use std::io;
use std::process::ExitCode;

use millstream_processor::broker::{Fault, FaultKind};

/// What the caller of the process does next; each has an exit code, listed in `millstream --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something is broken that we know no remedy for.
    Failed,
    /// The call or the configuration is wrong.
    Misuse,
    /// Bytes cannot be trusted.
    Damaged,
    /// The same call may succeed later.
    Later,
    /// Nobody reads our output any more.
    BrokenPipe,
}

/// A command that did not do what it should.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    text: String,
}

impl Failure {
    /// The call is wrong; `text` says how to mend it.
    pub fn misuse(text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Misuse,
            text: text.into(),
        }
    }

    /// Something is broken.
    pub fn failed(text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Failed,
            text: text.into(),
        }
    }

    /// The same call may succeed later.
    pub fn later(text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Later,
            text: text.into(),
        }
    }

    /// Bytes cannot be trusted.
    pub fn damaged(text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Damaged,
            text: text.into(),
        }
    }

    /// Whether the reader of our output went away.
    pub fn is_broken_pipe(&self) -> bool {
        self.kind == Kind::BrokenPipe
    }

    /// The exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self.kind {
            Kind::BrokenPipe => ExitCode::SUCCESS,
            Kind::Failed => ExitCode::FAILURE,
            Kind::Misuse => ExitCode::from(2),
            // sysexits.h: EX_DATAERR, EX_TEMPFAIL.
            Kind::Damaged => ExitCode::from(65),
            Kind::Later => ExitCode::from(75),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<io::Error> for Failure {
    /// Only for our own output: files and sockets are the seam's, which says where.
    fn from(error: io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::BrokenPipe {
            Kind::BrokenPipe
        } else {
            Kind::Failed
        };
        Self {
            kind,
            text: format!("cannot write the output: {error}"),
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let kind = match fault.kind {
            FaultKind::Retry | FaultKind::Rejoin => Kind::Later,
            FaultKind::Corrupt => Kind::Damaged,
            FaultKind::Misuse => Kind::Misuse,
            FaultKind::Fatal => Kind::Failed,
        };
        Self {
            kind,
            text: chain(&fault),
        }
    }
}

/// The error and everything that caused it, as far as a cause says more than the error above it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
