//! From the bytes of a message to an event: the job's first door for bad data.
//!
//! The data set quotes nothing, so a line is split at its commas; a quote is refused rather than guessed at.

use std::str::FromStr;

use chrono::DateTime;
use millstream_state::text::Str;

use crate::event::{FlightEvent, Plane};

/// What the data set writes where it knows nothing.
const NOTHING: &str = "NA";
const MINUTE: i64 = 60_000;

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// The bytes are not UTF-8.
    #[error("not UTF-8 from byte {0} on")]
    NotText(usize),
    /// Quotes, or more than one line.
    #[error("broken CSV: a quote or a line break inside the line")]
    BrokenCsv,
    /// Too few columns or too many.
    #[error("{found} columns, {expected} expected")]
    ColumnCount {
        /// As many as the line has.
        found: usize,
        /// As many as it should have.
        expected: usize,
    },
    /// Something else where a number belongs, or a number out of range.
    #[error("column {column} should be a number, found {found:?}")]
    BadNumber {
        /// The column's name.
        column: &'static str,
        /// Its text, cut after 40 characters.
        found: String,
    },
    /// `time_hour` is no instant.
    #[error("column time_hour should be a time such as 2013-01-01T10:00:00Z, found {0:?}")]
    BadTime(String),
    /// A column that must be filled is empty or `NA`.
    #[error("column {0} is empty")]
    Empty(&'static str),
    /// Which aircraft sent it is not known.
    #[error("no tail number")]
    NoTailNumber,
}

/// The flight a line of `flights.raw` tells of.
pub fn flight(line: &[u8]) -> Result<FlightEvent, BadMessage> {
    let line = std::str::from_utf8(line).map_err(|error| BadMessage::NotText(error.valid_up_to()))?;
    // year, month, day, hour and the scheduled times say again what time_hour and minute say; arr_time follows too.
    let [
        _,
        _,
        _,
        dep_time,
        _,
        dep_delay,
        _,
        _,
        arr_delay,
        carrier,
        flight,
        tail,
        origin,
        dest,
        air_time,
        distance,
        _,
        minute,
        time_hour,
    ] = columns(line)?;
    if tail.is_empty() || tail == NOTHING {
        return Err(BadMessage::NoTailNumber);
    }
    Ok(FlightEvent {
        tail: Str::from(tail),
        carrier: text("carrier", carrier)?,
        flight: required("flight", flight)?,
        origin: text("origin", origin)?,
        dest: text("dest", dest)?,
        scheduled: scheduled(time_hour, minute)?,
        cancelled: dep_time == NOTHING,
        dep_delay: number("dep_delay", dep_delay)?,
        arr_delay: number("arr_delay", arr_delay)?,
        air_time: number("air_time", air_time)?,
        distance: required("distance", distance)?,
    })
}

/// When the message of this line came in: when the flight left, or should have if it never did.
pub fn arrival(line: &str) -> Result<i64, BadMessage> {
    let [
        _,
        _,
        _,
        dep_time,
        _,
        dep_delay,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        minute,
        time_hour,
    ] = columns(line)?;
    let scheduled = scheduled(time_hour, minute)?;
    if dep_time == NOTHING {
        return Ok(scheduled);
    }
    Ok(scheduled + i64::from(required::<i32>("dep_delay", dep_delay)?) * MINUTE)
}

/// The plane a line of `planes.csv` tells of.
pub fn plane(line: &str) -> Result<Plane, BadMessage> {
    let [tail, year, kind, manufacturer, model, engines, seats, speed, engine] = columns(line)?;
    Ok(Plane {
        tail: text("tailnum", tail)?,
        year: number("year", year)?,
        kind: known(kind),
        manufacturer: known(manufacturer),
        model: known(model),
        engines: number("engines", engines)?,
        seats: number("seats", seats)?,
        speed: number("speed", speed)?,
        engine: known(engine),
    })
}

fn columns<const N: usize>(line: &str) -> Result<[&str; N], BadMessage> {
    if line.contains(['"', '\n', '\r']) {
        return Err(BadMessage::BrokenCsv);
    }
    let mut cells = line.split(',');
    let mut row = [""; N];
    for (filled, column) in row.iter_mut().enumerate() {
        *column = cells.next().ok_or(BadMessage::ColumnCount {
            found: filled,
            expected: N,
        })?;
    }
    match cells.count() {
        0 => Ok(row),
        more => Err(BadMessage::ColumnCount {
            found: N + more,
            expected: N,
        }),
    }
}

fn scheduled(time_hour: &str, minute: &str) -> Result<i64, BadMessage> {
    let hour = DateTime::parse_from_rfc3339(time_hour).map_err(|_| BadMessage::BadTime(short(time_hour)))?;
    let minute: u8 = required("minute", minute)?;
    if minute > 59 {
        return Err(BadMessage::BadNumber {
            column: "minute",
            found: minute.to_string(),
        });
    }
    Ok(hour.timestamp_millis() + i64::from(minute) * MINUTE)
}

fn number<T: FromStr>(column: &'static str, cell: &str) -> Result<Option<T>, BadMessage> {
    if cell == NOTHING {
        return Ok(None);
    }
    required(column, cell).map(Some)
}

fn required<T: FromStr>(column: &'static str, cell: &str) -> Result<T, BadMessage> {
    cell.parse().map_err(|_| BadMessage::BadNumber {
        column,
        found: short(cell),
    })
}

fn text(column: &'static str, cell: &str) -> Result<Str, BadMessage> {
    known(cell).ok_or(BadMessage::Empty(column))
}

fn known(cell: &str) -> Option<Str> {
    (!cell.is_empty() && cell != NOTHING).then(|| Str::from(cell))
}

/// Enough of a bad cell to find it by; a message of 10 MiB must not come back in an error text.
fn short(cell: &str) -> String {
    cell.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z";
    const CANCELLED: &str = "2013,1,1,NA,1500,NA,NA,1825,NA,AA,1925,N3EVAA,LGA,MIA,NA,1096,15,0,2013-01-01T20:00:00Z";

    fn refused(line: impl AsRef<[u8]>) -> String {
        flight(line.as_ref()).unwrap_err().to_string()
    }

    #[test]
    fn a_flight_is_read() {
        let event = flight(GOOD.as_bytes()).unwrap();
        assert_eq!(
            (event.tail.as_ref(), event.origin.as_ref(), event.flight, event.distance),
            ("N14228", "EWR", 1545, 1400)
        );
        assert_eq!(
            (event.scheduled, event.dep_delay, event.cancelled),
            (1_357_035_300_000, Some(2), false)
        );
        assert_eq!(arrival(GOOD).unwrap(), event.scheduled + 2 * MINUTE);
    }

    #[test]
    fn a_cancelled_flight_comes_in_when_it_should_have_left() {
        let event = flight(CANCELLED.as_bytes()).unwrap();
        assert_eq!((event.cancelled, event.dep_delay, event.air_time), (true, None, None));
        assert_eq!(arrival(CANCELLED).unwrap(), event.scheduled);
    }

    #[test]
    fn every_kind_of_bad_line_is_refused_for_its_reason() {
        let cases = [
            (GOOD.replace("N14228", "NA"), "no tail number"),
            (GOOD.replace("N14228", ""), "no tail number"),
            (String::new(), "1 columns, 19 expected"),
            (GOOD[5..].to_string(), "18 columns, 19 expected"),
            (format!("{GOOD},more"), "20 columns, 19 expected"),
            (
                GOOD.replace("N14228", "\"N14228\""),
                "broken CSV: a quote or a line break inside the line",
            ),
            (
                format!("{GOOD}\n{GOOD}"),
                "broken CSV: a quote or a line break inside the line",
            ),
            (
                GOOD.replace(",2,", ",soon,"),
                "column dep_delay should be a number, found \"soon\"",
            ),
            (
                GOOD.replace("1400", "-1"),
                "column distance should be a number, found \"-1\"",
            ),
            (
                GOOD.replace(",15,2013", ",75,2013"),
                "column minute should be a number, found \"75\"",
            ),
            (GOOD.replace("EWR", ""), "column origin is empty"),
        ];
        for (line, reason) in cases {
            assert_eq!(refused(&line), reason, "{line}");
        }
        assert!(refused(GOOD.replace("2013-01-01T10:00:00Z", "yesterday")).ends_with("found \"yesterday\""));
        assert_eq!(
            refused([GOOD.as_bytes(), &[0xff]].concat()),
            "not UTF-8 from byte 87 on"
        );
    }

    #[test]
    fn an_error_text_stays_short() {
        let error = flight(GOOD.replace("1400", &"9".repeat(10 << 20)).as_bytes()).unwrap_err();
        assert!(error.to_string().len() < 120);
    }
}
