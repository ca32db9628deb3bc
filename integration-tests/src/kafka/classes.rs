//! Classes that a broker loads, laid ready for those that live for seconds. Most of what starting one costs is loading and
//! checking classes, and compiling them twice: 4.0 s of CPU; with the archive and one compiler, 1.8.

use super::reaper::Reaper;
use super::{START_LIMIT, jars, metadata, poll};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the archive is, beside the jars. Another version of Java, or other jars, leave it aside and load as ever.
pub(super) fn archive(libs: &Path) -> PathBuf {
    libs.with_file_name(format!(
        "{}.jsa",
        libs.file_name().unwrap_or_default().to_string_lossy()
    ))
}

/// Lays the archive, unless there is one: starts a broker, and lets it write down what it has loaded.
pub(super) fn lay(java: &Path, libs: &Path) -> Result<(), String> {
    let archive = archive(libs);
    if archive.exists() {
        return Ok(());
    }
    let dir = tempfile::tempdir().map_err(|e| format!("cannot make a directory: {e}"))?;
    let (port, properties) = jars::format(java, libs, dir.path())?;
    // Into a file of this process, then renamed: others see all of it or nothing.
    let partial = archive.with_extension(format!("{}.jsa", std::process::id()));
    let mut broker = jars::short_lived(java, libs, "-Xmx256m");
    broker
        .arg(format!("-XX:ArchiveClassesAtExit={}", partial.display()))
        .arg("kafka.Kafka")
        .arg(&properties)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let broker = broker.spawn().map_err(|e| format!("cannot start a broker: {e}"))?;
    let (id, path) = (broker.id(), partial.display());
    // It outlives neither this call nor this process; nor does what it has not finished.
    let _reaper = Reaper::new(format!(
        "grep -qaF '{path}' /proc/{id}/cmdline && kill -9 {id}; rm -f '{path}'"
    ))?;
    let broker = RefCell::new(broker);
    let ended = || match broker.borrow_mut().try_wait() {
        Ok(None) => Err("it is still there".to_owned()),
        Ok(Some(_)) => Ok(()),
        Err(e) => Err(format!("its process cannot be looked at: {e}")),
    };
    metadata::wait(&format!("127.0.0.1:{port}"), START_LIMIT, || match ended() {
        Ok(()) => Err("the broker ended by itself".to_owned()),
        Err(_) => Ok(()),
    })?;
    jars::check(
        "asking a broker to end",
        Command::new("kill").arg(id.to_string()).output(),
    )?;
    poll(START_LIMIT, "a broker that was asked to end", || Ok(()), ended)?;
    // Half an archive, as a full disk leaves it, would crash whatever uses it.
    let tried = jars::short_lived(java, libs, "-Xmx128m")
        .arg(format!("-XX:SharedArchiveFile={path}"))
        .args(["kafka.tools.StorageTool", "random-uuid"])
        .output();
    jars::check("trying an archive of classes", tried)?;
    fs::rename(&partial, &archive).map_err(|e| format!("no archive of classes was written: {e}"))
}
