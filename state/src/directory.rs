//! The folder of a task on disk, with one owner at a time.
//!
//! ```text
//! <state.dir>/<application.id>/owner              which application this is
//! <state.dir>/<application.id>/<task>/lock        locked by the process that owns the task; holds its process id
//! <state.dir>/<application.id>/<task>/db/         the database
//! ```
//! The lock is the operating system's: it is gone when its process is, however that ended. Network file systems without
//! locks are refused.

use crate::error::{Result, StateError};
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

const OWNER: &str = "owner";
const LOCK: &str = "lock";
const DATABASE: &str = "db";

/// A task's folder, locked for as long as this value lives.
#[derive(Debug)]
pub struct TaskDirectory {
    path: PathBuf,
    _lock: File,
}

impl TaskDirectory {
    /// Makes the folder if it is not there and takes it. Refuses a folder that is in use or belongs to another application.
    pub fn open(state_dir: &Path, application_id: &str, task: &str) -> Result<Self> {
        let application = application_dir(state_dir, application_id)?;
        check_name("task", task)?;
        create(&application)?;
        check_owner(&application, application_id)?;
        let path = application.join(task);
        create(&path)?;
        let lock = lock(&path)?;
        Ok(TaskDirectory { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database lies.
    pub fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Deletes the database, which must be closed: the stores are rebuilt from their changelogs.
    pub fn wipe(&self) -> Result<()> {
        let database = self.database();
        match fs::remove_dir_all(&database) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(StateError::io("deleting", &database, &error)),
            _ => Ok(()),
        }
    }
}

/// The tasks that have a folder here, sorted: where their state need not be fetched from the changelogs.
pub fn tasks(state_dir: &Path, application_id: &str) -> Result<Vec<String>> {
    let application = application_dir(state_dir, application_id)?;
    let entries = match fs::read_dir(&application) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StateError::io("reading", &application, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| StateError::io("reading", &application, &error))?;
        if entry.path().join(DATABASE).is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn application_dir(state_dir: &Path, application_id: &str) -> Result<PathBuf> {
    check_name("application.id", application_id)?;
    Ok(state_dir.join(application_id))
}

/// Names become folder names, so they must not lead elsewhere.
fn check_name(what: &str, name: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name == "." || name == ".." || !name.chars().all(legal) {
        return Err(StateError::Misuse(format!(
            "{what} '{}' cannot name a folder: use letters, digits, '.', '_' and '-'",
            name.escape_default()
        )));
    }
    Ok(())
}

fn create(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| StateError::io("creating", path, &error))
}

/// The first application to come signs; others must have the same name. (A folder may have been copied or renamed.)
fn check_owner(application: &Path, id: &str) -> Result<()> {
    let path = application.join(OWNER);
    let signed = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return sign(application, &path, id),
        Err(error) => return Err(StateError::io("reading", &path, &error)),
        Ok(signed) => signed,
    };
    if signed.trim_end() == owner_line(id) {
        return Ok(());
    }
    Err(StateError::Misuse(format!(
        "{} belongs to another application ({}), not to '{id}': use another state.dir, or delete the folder if that state is \
         not needed",
        application.display(),
        signed.trim_end().escape_default()
    )))
}

/// Written beside and renamed, so that no reader sees half a line. Two processes that sign at once sign the same.
fn sign(application: &Path, path: &Path, id: &str) -> Result<()> {
    let draft = application.join(format!("{OWNER}.{}", std::process::id()));
    fs::write(&draft, owner_line(id) + "\n")
        .and_then(|()| fs::rename(&draft, path))
        .map_err(|error| StateError::io("writing", path, &error))
}

fn owner_line(id: &str) -> String {
    format!("application.id={id}")
}

fn lock(task: &Path) -> Result<File> {
    let path = task.join(LOCK);
    let fault = |error: &std::io::Error| StateError::io("locking", &path, error);
    let open = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path);
    let mut file = open.map_err(|error| fault(&error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(task, &mut file)),
        Err(TryLockError::Error(error)) => return Err(fault(&error)),
    }
    let pid = std::process::id().to_string();
    file.set_len(0)
        .and_then(|()| file.write_all(pid.as_bytes()))
        .map_err(|error| fault(&error))?;
    Ok(file)
}

fn in_use(task: &Path, file: &mut File) -> StateError {
    let mut pid = String::new();
    let owner = match file.read_to_string(&mut pid) {
        Ok(_) if pid.parse::<u32>() == Ok(std::process::id()) => "this process".to_owned(),
        Ok(_) if !pid.is_empty() => format!("process {}", pid.escape_default()),
        _ => "another process".to_owned(),
    };
    StateError::Misuse(format!(
        "{} is in use by {owner}: stop it, or give this instance another state.dir",
        task.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misuse(result: Result<impl std::fmt::Debug>) -> String {
        match result {
            Err(StateError::Misuse(text)) => text,
            other => panic!("expected a misuse, got {other:?}"),
        }
    }

    #[test]
    fn a_folder_has_one_owner_until_it_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let first = TaskDirectory::open(dir.path(), "app", "0_1").unwrap();
        assert_eq!(first.path(), dir.path().join("app/0_1"));
        let text = misuse(TaskDirectory::open(dir.path(), "app", "0_1"));
        assert!(text.contains("app/0_1 is in use by this process"), "{text}");
        TaskDirectory::open(dir.path(), "app", "0_2").unwrap();
        drop(first);
        TaskDirectory::open(dir.path(), "app", "0_1").unwrap();
    }

    #[test]
    fn the_process_that_holds_a_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let held = TaskDirectory::open(dir.path(), "app", "0_0").unwrap();
        fs::write(held.path().join(LOCK), "4711").unwrap();
        let text = misuse(TaskDirectory::open(dir.path(), "app", "0_0"));
        assert!(text.contains("in use by process 4711"), "{text}");
    }

    #[test]
    fn another_applications_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(TaskDirectory::open(dir.path(), "one", "0_0").unwrap());
        fs::rename(dir.path().join("one"), dir.path().join("two")).unwrap();
        let text = misuse(TaskDirectory::open(dir.path(), "two", "0_0"));
        assert!(
            text.contains("belongs to another application (application.id=one), not to 'two'"),
            "{text}"
        );
    }

    #[test]
    fn names_cannot_lead_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "..", "a/b", "a\0b", "ü"] {
            misuse(TaskDirectory::open(dir.path(), name, "0_0"));
            misuse(TaskDirectory::open(dir.path(), "app", name));
        }
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        misuse(TaskDirectory::open(&file, "app", "0_0"));
    }

    #[test]
    fn tasks_with_a_database_are_listed_until_they_are_wiped() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(tasks(dir.path(), "app").unwrap(), Vec::<String>::new());
        let task = TaskDirectory::open(dir.path(), "app", "0_1").unwrap();
        fs::create_dir_all(task.database()).unwrap();
        assert_eq!(tasks(dir.path(), "app").unwrap(), ["0_1"]);
        task.wipe().unwrap();
        task.wipe().unwrap();
        assert_eq!(tasks(dir.path(), "app").unwrap(), Vec::<String>::new());
    }
}
