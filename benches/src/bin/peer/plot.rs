//! The plot: for each workload, how many times our CPU per record Kafka Streams needs. A bar of a logarithmic scale, with
//! the range of the runs, and ticks for what is asked and aimed at.

use crate::Result;
use crate::report::Comparison;
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 120.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 28.0;
const TOP: f64 = 56.0;
/// The scale ends at a power of ten, at least here.
const LEAST_END: f64 = 10.0;

/// The drawing.
pub fn svg(compared: &[Comparison]) -> Result<String> {
    let greatest = compared.iter().filter_map(Comparison::ratio).map(|ratio| ratio.max);
    let end = 10_f64.powf(greatest.fold(LEAST_END, f64::max).log10().ceil());
    let height = TOP + ROW * compared.len() as f64 + 34.0;
    let x = |times: f64| LEFT + (WIDTH - LEFT - RIGHT) * (times.max(1.0).ln() / end.ln());
    let mut out = String::new();
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="16" y="24" font-size="16" font-weight="bold">CPU per record: Kafka Streams 4.3.1, how many times Millstream's</text>
<text x="16" y="42" fill="#555555">logarithmic; thin line: range of the runs; ticks: asked (dark), aimed at (light)</text>"##
    )?;
    let bottom = TOP + ROW * compared.len() as f64;
    for step in grid(end) {
        let at = x(step);
        writeln!(
            out,
            r##"<line x1="{at:.1}" y1="{TOP}" x2="{at:.1}" y2="{bottom:.1}" stroke="#dddddd"/>"##
        )?;
        writeln!(
            out,
            r##"<text x="{at:.1}" y="{:.1}" text-anchor="middle" fill="#555555">{step}</text>"##,
            bottom + 18.0
        )?;
    }
    for (row, comparison) in compared.iter().enumerate() {
        if let Some(ratio) = comparison.ratio() {
            let y = TOP + ROW * row as f64;
            let (bar, middle) = (y + 6.0, y + ROW / 2.0);
            let (least, median, most) = (x(ratio.min), x(ratio.median), x(ratio.max));
            let name = comparison.case.name;
            writeln!(
                out,
                r##"<text x="{:.1}" y="{:.1}" text-anchor="end">{name}</text>"##,
                LEFT - 8.0,
                middle + 4.5
            )?;
            writeln!(
                out,
                r##"<rect x="{LEFT}" y="{bar:.1}" width="{:.1}" height="{:.1}" fill="#3b7dd8"/>"##,
                (median - LEFT).max(1.0),
                ROW - 12.0
            )?;
            writeln!(
                out,
                r##"<line x1="{least:.1}" y1="{middle:.1}" x2="{most:.1}" y2="{middle:.1}" stroke="#111111"/>"##
            )?;
            for (asked, colour) in [(comparison.case.must, "#111111"), (comparison.case.target, "#999999")] {
                let Some(at) = asked.map(x) else { continue };
                writeln!(
                    out,
                    r##"<line x1="{at:.1}" y1="{:.1}" x2="{at:.1}" y2="{:.1}" stroke="{colour}" stroke-width="2.5"/>"##,
                    y + 3.0,
                    y + ROW - 3.0
                )?;
            }
            writeln!(
                out,
                r##"<text x="{:.1}" y="{:.1}">{:.1}</text>"##,
                most.max(median) + 8.0,
                middle + 4.5,
                ratio.median
            )?;
        }
    }
    out.push_str("</svg>\n");
    Ok(out)
}

/// 1, 2, 5, 10, 20, ... up to the end.
fn grid(end: f64) -> impl Iterator<Item = f64> {
    let decades = end.log10().round() as i32;
    let steps = (0..decades).flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade)));
    steps.chain([end])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_grid_goes_by_one_two_five() {
        assert_eq!(
            super::grid(100.0).collect::<Vec<_>>(),
            [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
        );
    }
}
