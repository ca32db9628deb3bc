//! The tables of `benches/README.md`, between two markers, from the lines of results.

use crate::Result;
use crate::args::Args;
use crate::cases::{Case, L1, R1, S1, THROUGHPUT};
use crate::plot;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- results: written by `make bench-peer` -->";
const END: &str = "<!-- end of results -->";
/// Below this share of its core a system waited for something else: its figure counts waiting.
const BUSY: f64 = 0.85;

/// What one side did in a case, over all its runs.
pub struct Runs {
    lines: Vec<Value>,
}

/// Least, median, greatest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The one in the middle, or the mean of the two there.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of these numbers; `None` if there are none.
    pub fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let (min, max) = (*numbers.first()?, *numbers.last()?);
        let (low, high) = (numbers.get((numbers.len() - 1) / 2)?, numbers.get(numbers.len() / 2)?);
        Some(Self {
            min,
            median: (low + high) / 2.0,
            max,
        })
    }

    /// `median (min-max)`, with so many digits behind the point.
    fn show(self, digits: usize) -> String {
        match self.min == self.max {
            true => format!("{:.digits$}", self.median),
            false => format!("{:.digits$} ({:.digits$}-{:.digits$})", self.median, self.min, self.max),
        }
    }
}

impl Runs {
    fn of(all: &[Value], case: &str, system: &str) -> Self {
        let is = |line: &&Value| line["case"] == case && line["system"] == system;
        Self {
            lines: all.iter().filter(is).cloned().collect(),
        }
    }

    /// A figure of these runs.
    pub fn spread(&self, field: &str) -> Option<Spread> {
        Spread::of(self.lines.iter().filter_map(|line| line[field].as_f64()).collect())
    }

    fn median(&self, field: &str) -> Option<f64> {
        self.spread(field).map(|spread| spread.median)
    }

    fn equal(&self) -> bool {
        self.lines.iter().all(|line| line["equal"] == true)
    }

    fn at(&self, rate: u64, linger: u64) -> Self {
        let is = |line: &&Value| line["rate"] == rate && line["linger_ms"] == linger;
        Self {
            lines: self.lines.iter().filter(is).cloned().collect(),
        }
    }
}

/// A case that both sides ran.
pub struct Comparison {
    /// Which.
    pub case: &'static Case,
    /// Millstream.
    pub ours: Runs,
    /// Kafka Streams.
    pub peer: Runs,
}

impl Comparison {
    fn of(all: &[Value], case: &'static Case) -> Self {
        let (ours, peer) = (
            Runs::of(all, case.name, "millstream"),
            Runs::of(all, case.name, "kafka-streams"),
        );
        Self { case, ours, peer }
    }

    /// How many times our CPU the peer needs for a record: the median of the pairs, and their range.
    pub fn ratio(&self) -> Option<Spread> {
        let figure = |runs: &Runs, pair: &Value| {
            let run = runs.lines.iter().find(|line| line["pair"] == *pair)?;
            run["us_per_record"].as_f64()
        };
        let pairs = self.ours.lines.iter().map(|line| &line["pair"]);
        let ratios = pairs.filter_map(|pair| Some(figure(&self.peer, pair)? / figure(&self.ours, pair)?));
        Spread::of(ratios.collect())
    }
}

/// Writes the tables into the README and the plot beside it.
pub fn write(args: &Args) -> Result<()> {
    let text = fs::read_to_string(&args.results)?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let throughput: Vec<Comparison> = THROUGHPUT
        .iter()
        .chain([&R1])
        .map(|case| Comparison::of(&lines, case))
        .collect();
    let compared: Vec<Comparison> = throughput.into_iter().filter(|c| c.ratio().is_some()).collect();

    let mut tables = String::new();
    ratios(&mut tables, &compared)?;
    details(&mut tables, &compared)?;
    latency(&mut tables, &lines)?;
    start(&mut tables, &lines)?;
    print!("{tables}");

    let svg = args.results.with_extension("svg");
    fs::write(&svg, plot::svg(&compared)?)?;
    let markdown = args.results.with_extension("md");
    fs::write(&markdown, &tables)?;
    eprintln!(
        "written: {}, {}, {}",
        args.results.display(),
        markdown.display(),
        svg.display()
    );
    match args.readme() {
        Some(readme) => into(readme, &tables, &svg),
        None => Ok(()),
    }
}

/// Puts the tables between the markers of the README.
fn into(readme: &Path, tables: &str, svg: &Path) -> Result<()> {
    let text = fs::read_to_string(readme)?;
    let broken = || format!("{} lacks the markers {BEGIN} and {END}", readme.display());
    let (before, rest) = text.split_once(BEGIN).ok_or_else(broken)?;
    let (_, after) = rest.split_once(END).ok_or_else(broken)?;
    let plot = svg.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let plot = format!("![CPU per record, how many times ours](results/{plot})");
    fs::write(readme, format!("{before}{BEGIN}\n{tables}\n{plot}\n{END}{after}"))?;
    Ok(())
}

fn ratios(out: &mut String, compared: &[Comparison]) -> Result<()> {
    writeln!(
        out,
        "\n| workload | Millstream, us CPU per record | Kafka Streams, us CPU per record | times | must | target | |"
    )?;
    writeln!(out, "|---|--:|--:|--:|--:|--:|---|")?;
    for comparison in compared {
        let (Some(ours), Some(peer), Some(ratio)) = (
            comparison.ours.spread("us_per_record"),
            comparison.peer.spread("us_per_record"),
            comparison.ratio(),
        ) else {
            continue;
        };
        let asked = |number: Option<f64>| number.map_or(String::new(), |n| n.to_string());
        writeln!(
            out,
            "| {} | {} | {} | **{:.1}** ({:.1}-{:.1}) | {} | {} | {} |",
            comparison.case.name,
            ours.show(3),
            peer.show(2),
            ratio.median,
            ratio.min,
            ratio.max,
            asked(comparison.case.must),
            asked(comparison.case.target),
            verdict(comparison, ratio.median),
        )?;
    }
    Ok(())
}

fn verdict(comparison: &Comparison, ratio: f64) -> &'static str {
    let Case { must, target, .. } = comparison.case;
    if !comparison.ours.equal() || !comparison.peer.equal() {
        return "**results differ**";
    }
    match (must, target) {
        (Some(must), _) if ratio < *must => "**below**",
        (_, Some(target)) if ratio >= *target => "target met",
        (Some(_), _) => "ok",
        _ => "",
    }
}

fn details(out: &mut String, compared: &[Comparison]) -> Result<()> {
    writeln!(out, "\nMillstream / Kafka Streams, medians:\n")?;
    writeln!(
        out,
        "| workload | records/s | share of the core | of the broker's | peak RSS, MiB | written, MiB | output records | changelog | repartition |"
    )?;
    writeln!(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for comparison in compared {
        let both = |field: &str, scale: f64, digits: usize| {
            let show = |runs: &Runs| {
                runs.median(field)
                    .map_or("-".to_owned(), |n| format!("{:.digits$}", n / scale))
            };
            format!("{} / {}", show(&comparison.ours), show(&comparison.peer))
        };
        let waited = |runs: &Runs| runs.median("core_share").is_some_and(|share| share < BUSY);
        let mark = if waited(&comparison.ours) || waited(&comparison.peer) {
            " ¹"
        } else {
            ""
        };
        writeln!(
            out,
            "| {} | {} k | {}{mark} | {} | {} | {} | {} k | {} k | {} k |",
            comparison.case.name,
            both("records_per_s", 1e3, 0),
            both("core_share", 1.0, 2),
            both("broker_core_share", 1.0, 2),
            both("peak_rss_mib", 1.0, 0),
            both("written_mib", 1.0, 0),
            both("output_records", 1e3, 0),
            both("changelog_records", 1e3, 0),
            both("repartition_records", 1e3, 0),
        )?;
    }
    writeln!(
        out,
        "\n¹ a share below {BUSY}: that side waited, for the broker, or for a turn on a shared machine."
    )?;
    Ok(())
}

fn latency(out: &mut String, lines: &[Value]) -> Result<()> {
    let mut points: Vec<(u64, u64)> = lines
        .iter()
        .filter_map(|line| Some((line["rate"].as_u64()?, line["linger_ms"].as_u64()?)))
        .collect();
    points.sort_by_key(|(rate, linger)| (*linger, *rate));
    points.dedup();
    if points.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nLatency ({}), ms, median of the runs (min-max):\n", L1.name)?;
    writeln!(
        out,
        "| bids/s | linger | | p50 | p99 | p99.9 |\n|--:|--:|---|--:|--:|--:|"
    )?;
    for (rate, linger) in points {
        for (system, name) in [
            ("broker", "broker alone"),
            ("relay", "broker twice, a bare relay between"),
            ("millstream", "Millstream"),
            ("kafka-streams", "Kafka Streams"),
        ] {
            let runs = Runs::of(lines, L1.name, system).at(rate, linger);
            let show = |field: &str| runs.spread(field).map(|spread| spread.show(2));
            if let (Some(p50), Some(p99), Some(p999)) = (show("p50_ms"), show("p99_ms"), show("p999_ms")) {
                writeln!(out, "| {rate} | {linger} | {name} | {p50} | {p99} | {p999} |")?;
            }
        }
    }
    Ok(())
}

fn start(out: &mut String, lines: &[Value]) -> Result<()> {
    let both = [("millstream", "Millstream"), ("kafka-streams", "Kafka Streams")];
    let runs: Vec<(&str, Runs)> = both
        .map(|(system, name)| (name, Runs::of(lines, S1.name, system)))
        .into();
    if runs.iter().all(|(_, runs)| runs.lines.is_empty()) {
        return Ok(());
    }
    writeln!(
        out,
        "\nStart ({}): from the start of the process to its first output record, seconds:\n",
        S1.name
    )?;
    writeln!(
        out,
        "| | first output | `main` reached | running | CPU | peak RSS, MiB |\n|---|--:|--:|--:|--:|--:|"
    )?;
    for (name, runs) in runs {
        let show = |field: &str, digits: usize| runs.spread(field).map_or("-".to_owned(), |s| s.show(digits));
        writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} |",
            show("first_output_s", 3),
            show("main_s", 3),
            show("running_s", 3),
            show("cpu_s", 2),
            show("peak_rss_mib", 0)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(ours: &[f64], peer: &[f64]) -> Vec<Value> {
        let of = |system: &'static str, runs: &[f64]| -> Vec<Value> {
            let line =
                |(at, us)| json!({"case": "W1", "system": system, "pair": at, "us_per_record": us, "equal": true});
            runs.iter().enumerate().map(line).collect()
        };
        [of("millstream", ours), of("kafka-streams", peer)].concat()
    }

    #[test]
    fn the_ratio_is_the_median_of_the_pairs() {
        // The last run of ours has no partner.
        let lines = lines(&[0.5, 0.4, 1.0, 9.0], &[3.0, 1.6, 2.0]);
        let comparison = Comparison::of(&lines, &THROUGHPUT[0]);
        assert_eq!(
            comparison.ratio(),
            Some(Spread {
                min: 2.0,
                median: 4.0,
                max: 6.0
            })
        );
        assert_eq!(verdict(&comparison, 4.0), "target met");
        assert_eq!(verdict(&comparison, 3.5), "ok");
        assert_eq!(verdict(&comparison, 2.9), "**below**");
    }

    #[test]
    fn different_results_are_never_ok() {
        let mut lines = lines(&[0.1], &[3.0]);
        lines[0]["equal"] = json!(false);
        assert_eq!(
            verdict(&Comparison::of(&lines, &THROUGHPUT[0]), 30.0),
            "**results differ**"
        );
    }

    #[test]
    fn the_block_between_the_markers_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let readme = dir.path().join("README.md");
        fs::write(&readme, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).expect("written");
        into(&readme, "new", Path::new("x/standard.svg")).expect("markers");
        let text = fs::read_to_string(&readme).expect("read");
        assert!(text.starts_with("before\n") && text.ends_with("\nafter\n"), "{text}");
        assert!(
            text.contains("new") && text.contains("standard.svg") && !text.contains("old"),
            "{text}"
        );
        fs::write(&readme, "no markers").expect("written");
        assert!(into(&readme, "new", Path::new("p")).is_err());
    }
}
