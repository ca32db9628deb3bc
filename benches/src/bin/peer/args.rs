//! The command line of the driver.

use crate::Result;
use crate::cases::{Case, Scale};
use crate::process::Side;
use std::path::{Path, PathBuf};

const USAGE: &str = "usage: peer [report | latency] [--quick | --full | --records N] [--pairs N] [--only CASE,CASE] [--side NAME] \
                     [--ours PROGRAM] [--peer DIRECTORY] [--results FILE] [--readme FILE]";

const SIDES: [Side; 2] = [Side::Peer, Side::Ours];

/// What a run of the driver does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All cases but L1.
    Cases,
    /// L1, which has a broker of its own; its results take the place of earlier ones of L1.
    Latency,
    /// Nothing is run, only the tables are written again.
    Report,
}

/// What to run, and where things are.
pub struct Args {
    /// What of it.
    pub part: Part,
    /// How much data.
    pub scale: Scale,
    /// `millstream-workloads`.
    pub ours: PathBuf,
    /// The peer's Maven `target` directory.
    pub peer: PathBuf,
    /// One JSON line for each run.
    pub results: PathBuf,
    readme: Option<PathBuf>,
    pairs: Option<usize>,
    only: Vec<String>,
    side: Option<Side>,
}

impl Args {
    /// Reads it.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let beside = std::env::current_exe()?.with_file_name("millstream-workloads");
        let mut parsed = Self {
            part: Part::Cases,
            scale: Scale::Standard,
            ours: beside,
            peer: "benches/peer/target".into(),
            results: PathBuf::new(),
            readme: None,
            pairs: None,
            only: Vec::new(),
            side: None,
        };
        let mut results = None;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
            match arg.as_str() {
                "report" => parsed.part = Part::Report,
                "latency" => parsed.part = Part::Latency,
                "--quick" => parsed.scale = Scale::Quick,
                "--full" => parsed.scale = Scale::Full,
                "--records" => parsed.scale = Scale::AtMost(value()?.parse()?),
                "--pairs" => parsed.pairs = Some(value()?.parse()?),
                "--only" => parsed.only = value()?.split(',').map(|name| name.trim().to_lowercase()).collect(),
                "--side" => {
                    let name = value()?;
                    let side = SIDES.into_iter().find(|side| side.name() == name);
                    parsed.side = Some(side.ok_or_else(|| format!("no system {name}"))?);
                }
                "--ours" => parsed.ours = value()?.into(),
                "--peer" => parsed.peer = value()?.into(),
                "--readme" => parsed.readme = Some(value()?.into()),
                "--results" => results = Some(value()?.into()),
                _ => return Err(format!("{arg}: {USAGE}").into()),
            }
        }
        let name = match parsed.scale {
            Scale::Quick => "quick",
            Scale::Standard => "standard",
            Scale::Full => "full",
            Scale::AtMost(_) => "trial",
        };
        parsed.results = results.unwrap_or_else(|| format!("benches/results/{name}.jsonl").into());
        Ok(parsed)
    }

    /// The document to write the tables into.
    pub fn readme(&self) -> Option<&Path> {
        self.readme.as_deref()
    }

    /// Is this case to be run? `--only W3b` means all cases of that workload.
    pub fn wants(&self, case: &Case) -> bool {
        let (name, workload) = (case.name.to_lowercase(), case.workload.to_lowercase());
        self.only.is_empty() || self.only.iter().any(|only| *only == name || *only == workload)
    }

    /// Which systems take their turns, in order: the peer first.
    pub fn sides(&self) -> impl Iterator<Item = Side> {
        SIDES
            .into_iter()
            .filter(|side| self.side.is_none_or(|only| only == *side))
    }

    /// How many pairs of runs.
    pub fn pairs(&self, case: &Case) -> usize {
        match (self.pairs, self.scale) {
            (Some(pairs), _) => pairs,
            (None, Scale::Quick) => usize::from(!case.once),
            (None, Scale::AtMost(_)) => 1,
            (None, _) if case.once => 1,
            (None, _) => 3,
        }
    }
}
