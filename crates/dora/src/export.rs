//! The gauges' history as a file, for `dorainfra generate --out`: one row for each
//! team and day, sorted by team and date, the same bytes for the same arguments.

use std::io::{self, Write};

use time::Date;

use super::metrics::gauges::{GAUGES, end_of, rows};
use super::metrics::{SIMULATED, Start, observe};
use super::simulator::{self, Team};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With a header line; fields need no quotes. No value: an empty field.
    Csv,
    /// One object a line, with the header's names as keys. No value: `null`.
    JsonLines,
}

/// Writes the history of `teams` simulated teams over `days` days up to `until`
/// (included). Columns: `date`, `timestamp_ms` (the day's end), `team`, then the
/// four gauges, and `simulated`, which is `true`: as the label of the series.
pub fn write_gauges(
    out: &mut dyn Write,
    format: Format,
    teams: u32,
    seed: u64,
    until: Date,
    days: u32,
) -> io::Result<()> {
    if format == Format::Csv {
        writeln!(out, "date,timestamp_ms,team,{},{SIMULATED}", GAUGES.join(","))?;
    }
    let back = days.checked_sub(1).map(|back| time::Duration::days(back.into()));
    let Some(first) = back.and_then(|back| until.checked_sub(back)) else { return out.flush() };
    for name in simulator::teams(teams) {
        let team = Team::new(&name, seed);
        let events: Vec<_> = simulator::deployed(&team, Start::WithTheRange.of(first), until)
            .flat_map(|episode| episode.0)
            .collect();
        for (date, row) in rows(&observe(&events), first, until) {
            let timestamp = end_of(date).unwrap_or_default();
            match format {
                Format::Csv => {
                    write!(out, "{date},{timestamp},{name}")?;
                    for value in row {
                        write!(out, ",{}", value.map(|value| value.to_string()).unwrap_or_default())?;
                    }
                    writeln!(out, ",true")?;
                }
                Format::JsonLines => {
                    write!(out, r#"{{"date":"{date}","timestamp_ms":{timestamp},"team":"{name}""#)?;
                    for (gauge, value) in GAUGES.iter().zip(row) {
                        let value = value.map_or("null".to_owned(), |value| value.to_string());
                        write!(out, r#","{gauge}":{value}"#)?;
                    }
                    writeln!(out, r#","{SIMULATED}":true}}"#)?;
                }
            }
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use time::macros::date;

    fn written(format: Format, teams: u32, days: u32) -> Vec<u8> {
        let mut out = Vec::new();
        write_gauges(&mut out, format, teams, 1, date!(2025 - 12 - 31), days).unwrap();
        out
    }

    /// A change here changes everybody's history: it needs an entry in the changelog.
    #[test]
    fn one_seed_gives_one_year_byte_for_byte() {
        let csv = written(Format::Csv, 39, 365);
        insta::assert_snapshot!(hex::encode(Sha256::digest(csv)), @"2d9ccab10f0495b1a2ca0404a21890e883df65a7c43e3cf7a1068c116956e8f5");
    }

    #[test]
    fn rows_are_readable() {
        insta::assert_snapshot!(String::from_utf8(written(Format::Csv, 2, 3)).unwrap(), @r"
        date,timestamp_ms,team,dora_deployment_frequency,dora_lead_time_ms,dora_change_failure_rate,dora_mttr_minutes,simulated
        2025-12-29,1767052800000,accounts,0,662452837.8378378,0,,true
        2025-12-30,1767139200000,accounts,0,662452837.8378378,0,,true
        2025-12-31,1767225600000,accounts,0,675197958.3333334,0,,true
        2025-12-29,1767052800000,analytics,0,828221410.2564102,0.16666666666666666,328.48333333333335,true
        2025-12-30,1767139200000,analytics,0,759509333.3333334,0.18181818181818182,328.48333333333335,true
        2025-12-31,1767225600000,analytics,0,798968931.0344827,0.1111111111111111,492.18333333333334,true
        ");
    }

    #[test]
    fn json_lines_hold_the_same_values() {
        let csv = String::from_utf8(written(Format::Csv, 3, 40)).unwrap();
        let json = String::from_utf8(written(Format::JsonLines, 3, 40)).unwrap();
        assert_eq!(csv.lines().count() - 1, json.lines().count());
        for (row, line) in csv.lines().skip(1).zip(json.lines()) {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let fields: Vec<&str> = row.split(',').collect();
            assert_eq!(value["team"], fields[2]);
            assert_eq!((&value["simulated"], fields.last()), (&true.into(), Some(&"true")));
            for (column, name) in GAUGES.iter().enumerate() {
                // Text for text: a parser may round the last digit.
                let field = fields[3 + column];
                let written = format!(r#""{name}":{}"#, if field.is_empty() { "null" } else { field });
                assert!(line.contains(&written), "{line} has no {written}");
            }
        }
    }
}
