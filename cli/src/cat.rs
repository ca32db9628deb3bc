//! `millstream cat`: the records of a topic.

use std::io::Write;

use crate::args::{CatOptions, Format};
use crate::failure::Failure;
use crate::format;
use crate::place::Place;
use crate::reader::Reader;
use crate::stop::Stop;

/// Prints the topic, partition by partition as they arrive; order holds within a partition only.
pub fn run(options: &CatOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let stop = Stop::on_signals()?;
    let broker = Place::of(&options.place).open_to_read()?;
    let mut reader = Reader::open(&*broker, &options.topic)?;
    let mut left = options.limit.unwrap_or(u64::MAX);
    let mut line = Vec::new();
    while left > 0 && !stop.asked() && (options.follow || !reader.at_end()) {
        for chunk in reader.poll()? {
            for record in chunk.records() {
                if left == 0 {
                    break;
                }
                left -= 1;
                line.clear();
                match options.format {
                    Format::Json => format::json_line(&chunk, record, &mut line)
                        .map_err(|error| Failure::failed(format!("cannot print a record as JSON: {error}")))?,
                    Format::Raw => line.extend_from_slice(chunk.value(record).unwrap_or_default()),
                }
                line.push(b'\n');
                out.write_all(&line)?;
            }
        }
        if options.follow {
            out.flush()?;
        }
    }
    Ok(out.flush()?)
}
