//! The history as a file, for `dorainfra generate --history`: one row for each
//! team and day, sorted by team and date, the same bytes for the same arguments.

use std::io::{self, Write};

use time::{Date, Duration};

use super::seed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With a header line; fields need no quotes.
    Csv,
    /// One object a line, with the header's names as keys.
    JsonLines,
}

/// Writes the history of `teams` teams over `days` days up to `until` (included).
/// Columns: `date`, `timestamp_ms`, `team`, then the four gauges.
pub fn write_seed(
    out: &mut dyn Write,
    format: Format,
    teams: u32,
    seed: u64,
    until: Date,
    days: u32,
) -> io::Result<()> {
    if format == Format::Csv {
        writeln!(out, "date,timestamp_ms,team,{}", seed::METRICS.join(","))?;
    }
    for team in seed::teams(teams) {
        let year = seed::team_year(&team, seed, until, days);
        for (offset, values) in year.days.iter().enumerate() {
            let date = year.first + Duration::days(offset as i64);
            let timestamp = seed::timestamp_ms(date);
            match format {
                Format::Csv => {
                    write!(out, "{date},{timestamp},{team}")?;
                    for value in values {
                        write!(out, ",{value}")?;
                    }
                    writeln!(out)?;
                }
                Format::JsonLines => {
                    write!(out, r#"{{"date":"{date}","timestamp_ms":{timestamp},"team":"{team}""#)?;
                    for (name, value) in seed::METRICS.iter().zip(values) {
                        write!(out, r#","{name}":{value}"#)?;
                    }
                    writeln!(out, "}}")?;
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
        write_seed(&mut out, format, teams, 1, date!(2025 - 12 - 31), days).unwrap();
        out
    }

    /// A change here changes everybody's history: it needs an entry in the changelog.
    #[test]
    fn one_seed_gives_one_year_byte_for_byte() {
        let csv = written(Format::Csv, 39, 365);
        insta::assert_snapshot!(hex::encode(Sha256::digest(csv)), @"6330de8efcf47a4d0c0536e3475ab6c3dcba04b503226f19d7d7578faf36a04c");
    }

    #[test]
    fn rows_are_readable() {
        insta::assert_snapshot!(String::from_utf8(written(Format::Csv, 2, 3)).unwrap(), @r"
        date,timestamp_ms,team,dora_deployment_frequency,dora_lead_time_ms,dora_change_failure_rate,dora_mttr_minutes
        2025-12-29,1766966400000,accounts,0,1670231885,0.4,237.73
        2025-12-30,1767052800000,accounts,0,1670231885,0.4,237.73
        2025-12-31,1767139200000,accounts,0,1731555702,0.4615,237.73
        2025-12-29,1766966400000,analytics,0,148521944,0.0357,114.43
        2025-12-30,1767052800000,analytics,0,158039382,0.0435,114.43
        2025-12-31,1767139200000,analytics,0,158039382,0.0435,114.43
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
            for (column, name) in seed::METRICS.iter().enumerate() {
                assert_eq!(value[name].as_f64().unwrap(), fields[3 + column].parse::<f64>().unwrap());
            }
        }
    }
}
