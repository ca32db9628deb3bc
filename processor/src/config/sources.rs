//! Where settings come from: a YAML or properties file, the environment, and pairs given on the command line.
#![deny(clippy::indexing_slicing)] // reads what comes from outside

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_saphyr::Spanned;

/// What environment variables that set options begin with.
pub const ENV_PREFIX: &str = "MILLSTREAM_";

/// Where a setting was written, for error texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of a file.
    Line(String, u64),
    /// A file as a whole.
    File(String),
    /// An environment variable.
    Env(String),
    /// A flag or pair on the command line, or set by the program.
    Pair,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(file, line) => write!(f, "{file}:{line}"),
            Place::File(file) => f.write_str(file),
            Place::Env(name) => write!(f, "environment {name}"),
            Place::Pair => f.write_str("command line"),
        }
    }
}

/// One `name = value` with its place; nothing about it is checked yet.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Option name as written (an environment variable's is turned into dots).
    pub name: String,
    /// The value as written.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

/// Something wrong with the configuration: where, what, and the mend.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Where it stands, if it stands anywhere.
    pub place: Option<Place>,
    /// What is wrong and what to do.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Reads a file: `.properties` by its ending, else YAML.
pub fn read_file(path: &Path) -> Result<Vec<Setting>, Problem> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Problem {
        place: Some(Place::File(name.clone())),
        text: format!("cannot be read: {error}"),
    })?;
    if path.extension().is_some_and(|ending| ending == "properties") {
        read_properties(&text, &name)
    } else {
        read_yaml(&text, &name)
    }
}

/// Reads a flat YAML mapping of option names to values. An empty value counts as not set.
pub fn read_yaml(text: &str, file: &str) -> Result<Vec<Setting>, Problem> {
    let entries: Entries = serde_saphyr::from_str(text).map_err(|error| {
        let place = match error.location() {
            Some(at) => Place::Line(file.to_owned(), at.line()),
            None => Place::File(file.to_owned()),
        };
        let what = error.without_snippet().to_string();
        Problem {
            place: Some(place),
            text: format!("is not a list of `name: value` lines: {what}"),
        }
    })?;
    let setting = |(name, value): (Spanned<String>, Option<String>)| {
        let place = Place::Line(file.to_owned(), name.referenced.line());
        value.map(|value| Setting {
            name: name.value,
            value,
            place,
        })
    };
    Ok(entries.0.into_iter().filter_map(setting).collect())
}

/// The lines of a YAML mapping in their order, every value as it is written.
struct Entries(Vec<(Spanned<String>, Option<String>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("options, one `name: value` a line")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// Reads Java's properties format as people write it: `name=value` or `name: value`, `#` and `!` comments, a backslash
/// at the end of a line goes on with the next. (No unicode escapes: the file is UTF-8.)
pub fn read_properties(text: &str, file: &str) -> Result<Vec<Setting>, Problem> {
    let mut settings = Vec::new();
    let mut lines = text.lines().zip(1u64..);
    while let Some((first, number)) = lines.next() {
        let mut line = first.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while line.ends_with('\\') {
            line.pop();
            line.push_str(lines.next().map_or("", |(next, _)| next.trim_start()));
        }
        let place = Place::Line(file.to_owned(), number);
        let Some((name, value)) = line.split_once(['=', ':']) else {
            return Err(Problem {
                place: Some(place),
                text: format!("`{line}` is not `name=value`"),
            });
        };
        settings.push(Setting {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
            place,
        });
    }
    Ok(settings)
}

/// Settings among environment variables: `MILLSTREAM_STATE_DIR` sets `state.dir`.
pub fn read_env(vars: impl Iterator<Item = (String, String)>) -> Vec<Setting> {
    let setting = |(name, value): (String, String)| {
        let option = name.strip_prefix(ENV_PREFIX)?.to_lowercase().replace('_', ".");
        (!is_service_link(&name)).then(|| Setting {
            name: option,
            value,
            place: Place::Env(name.clone()),
        })
    };
    let mut settings: Vec<Setting> = vars.filter_map(setting).collect();
    settings.sort_by(|a, b| a.name.cmp(&b.name));
    settings
}

/// Kubernetes gives every pod variables of the services beside it; a service called `millstream` is likely and must not
/// keep the application from starting.
fn is_service_link(name: &str) -> bool {
    let tail = |part: &str| name.split_once(part).map(|(_, tail)| tail);
    name.ends_with("_SERVICE_HOST")
        || tail("_SERVICE_PORT").is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        || tail("_PORT").is_some_and(|rest| rest.is_empty() || rest.contains("_TCP") || rest.contains("_UDP"))
}
