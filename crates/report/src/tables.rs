//! The figures by team as CSV and as Markdown, for pipelines.

use std::fmt::Write as _;

use dorainfra_base::unseen::is_unseen;

use super::{Figures, Key, Report, Standing, Team, attention, words};

/// One line a team, and first one of all together; numbers in their base units,
/// empty where there is nothing to measure.
pub fn csv(report: &Report) -> String {
    let mut out = String::from(
        "team,first,until,deployments,frequency_per_day,lead_time_p50_seconds,change_failure_rate,\
         recovery_p50_seconds,rework_rate,newest_value_age_seconds,days_without_samples,changes,\
         failed_deployments,recoveries,rework_deployments,simulated\n",
    );
    if report.services.is_some() {
        out.insert_str(out.len() - 1, ",service");
    }
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let count = |value: Option<f64>| value.map(|value| format!("{value:.0}")).unwrap_or_default();
    // Of whom nothing is stored no day is known to lack a sample.
    let gaps_of = |team: &Team| team.first_day.map(|_| team.gaps.len());
    let mut line = |name: &str, figures: &Figures, age: Option<f64>, gaps: Option<usize>| {
        let keys = Key::ALL.map(|key| number(figures.of(key))).join(",");
        let _ = writeln!(
            out,
            "{},{},{},{},{keys},{},{},{},{},{},{},{}{}",
            field(name),
            report.first,
            report.until,
            count(figures.deployments),
            number(age),
            gaps.map(|gaps| gaps.to_string()).unwrap_or_default(),
            count(figures.changes),
            count(figures.failed),
            count(figures.recoveries),
            count(figures.rework),
            report.simulated,
            if report.services.is_some() { "," } else { "" },
        );
    };
    line("(all)", &report.all, None, report.teams.iter().filter_map(gaps_of).reduce(|a, b| a + b));
    for team in &report.teams {
        line(&team.name, &team.figures, team.age, gaps_of(team));
    }
    for service in report.services.iter().flatten() {
        let keys = Key::ALL.map(|key| number(service.of(key))).join(",");
        let _ = writeln!(
            out,
            "{},{},{},{:.0},{keys},,,{},{:.0},{},{:.0},{},{}",
            field(&service.team),
            report.first,
            report.until,
            service.deployments,
            number(service.changes),
            service.failed,
            number(service.recoveries),
            service.rework,
            report.simulated,
            field(&service.name),
        );
    }
    out
}

/// RFC 4180: quoted where it has to be; what a spreadsheet would compute, is text; what
/// nobody sees is shown as an escape.
fn field(text: &str) -> String {
    let mut shown = if text.starts_with(['=', '+', '-', '@', '\t']) { "'".to_owned() } else { String::new() };
    for c in text.chars() {
        match is_unseen(c) && !"\t\n\r".contains(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    let text = shown;
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

pub fn markdown(report: &Report) -> String {
    let mut out = format!(
        "# DORA metrics of {}\n\n{} to {} ({} days, {}), environment {}; from {}.\n\n",
        escaped(&report.subject),
        report.first,
        report.until,
        report.days,
        escaped(&report.timezone),
        escaped(&report.environment),
        escaped(&report.source)
    );
    if let Some(caution) = report.caution() {
        let _ = writeln!(out, "> **{caution}**\n");
    }
    for note in [report.left_out(), report.settled()].into_iter().flatten() {
        let _ = writeln!(out, "{note}\n");
    }
    if !report.all.any() {
        out.push_str("**No deployment is stored in this range.**\n\n");
    }
    if report.all.any() {
        let attention = attention::attention(report);
        let _ = writeln!(out, "**{}**\n", escaped(&attention.first));
        for group in &attention.groups {
            let _ = writeln!(out, "- {}:", group.title.to_lowercase());
            for item in &group.items {
                let _ = writeln!(out, "  - {}: {}", escaped(&item.name), escaped(&item.lines.join("; ")));
            }
            if let Some(more) = &group.more {
                let _ = writeln!(out, "  - {}", escaped(more));
            }
        }
        let _ = writeln!(out, "\n{}\n", attention.rule);
    }
    let mut heading = "| team | deployments |".to_owned();
    let mut rule = "| --- | ---: |".to_owned();
    for key in Key::ALL {
        let _ = write!(heading, " {} |", key.column().to_lowercase());
        rule.push_str(" ---: |");
    }
    let _ = writeln!(out, "{heading}\n{rule}");
    let mut row = |name: &str, figures: &Figures| {
        let cell = |key: Key| match (key, figures.of(key)) {
            (Key::Frequency, _) | (_, None) => key.text(figures.of(key)),
            (_, value) => format!("{} ({})", key.text(value), figures.count(key)),
        };
        let keys = Key::ALL.map(cell).join(" | ");
        let _ = writeln!(out, "| {name} | {} | {keys} |", words::known(figures.deployments));
    };
    row("**all**", &report.all);
    for team in &report.teams {
        row(&escaped(&team.name), &team.figures);
    }
    if let Some(services) = &report.services {
        let heading = heading.replacen("| team |", "| team | service |", 1);
        let _ = writeln!(out, "\n{heading}\n| --- {rule}");
        for service in services {
            let keys = Key::ALL.map(|key| service.text(key)).join(" | ");
            let (team, name) = (escaped(&service.team), escaped(&service.name));
            let _ = writeln!(out, "| {team} | {name} | {} | {keys} |", words::count(service.deployments));
        }
    }
    out.push_str("\n| all teams | band |\n| --- | --- |\n");
    for (key, classified) in Key::ALL.iter().zip(&report.bands) {
        let band = match (&classified.band, classified.reason) {
            (Some(band), _) => format!("{band} ({} report)", classified.year),
            (None, reason) => format!("none: {}", reason.unwrap_or("not known")),
        };
        let _ = writeln!(out, "| {} | {band} |", key.name().to_lowercase());
    }
    out.push_str("\n| data | | found |\n| --- | --- | --- |\n");
    for check in &report.integrity.checks {
        let mark = match check.standing {
            Standing::Good => "✓ good",
            Standing::Bad => "✗ problem",
            Standing::Unknown => "? not known",
        };
        let _ = writeln!(out, "| {} | {mark} | {} |", check.title.to_lowercase(), escaped(&check.found));
    }
    out.push('\n');
    for key in Key::ALL {
        let _ = writeln!(out, "- **{}** ({}): {}", key.name(), key.statistic(), key.meaning());
    }
    out
}

/// Nothing of a value is Markdown.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_{}[]<>#|~".contains(c) {
            out.push('\\');
        }
        match c {
            c if c.is_control() => out.push(' '),
            c if is_unseen(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_have_to_be() {
        assert_eq!(field("orders"), "orders");
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(field("=1+2"), "'=1+2");
        assert_eq!(field("team\u{202e}gpj.exe\u{7}"), "team\\u{202e}gpj.exe\\u{7}");
        assert_eq!(escaped("team\u{202e}\u{2066}\u{200f}x"), "team\\u{202e}\\u{2066}\\u{200f}x");
        assert_eq!(field("équipe 👩‍💻"), "équipe 👩‍💻");
        assert_eq!(escaped("a|b\n*c*"), "a\\|b \\*c\\*");
    }
}
