//! The pipeline while it runs: redrawn in place on a terminal, a line for each
//! look elsewhere. What is looked at, and how often, the caller decides.

use std::io;

use dorainfra_deploy::stack::pipeline::{Health, Stage};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style as Paint};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Sparkline, Table};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::text::{count, visible};
use super::{Mode, Printer, Style, View};

/// Rates that are remembered for the small chart of each stage.
const REMEMBERED: usize = 240;

/// The pipeline as it was looked at last, and what the looks before make of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Pipeline {
    deployment: String,
    endpoint: String,
    /// `12:00:05`, UTC.
    at: String,
    stages: Vec<Measured>,
    /// Unix seconds of the last look.
    #[serde(skip)]
    looked: f64,
}

/// A stage, and how many passed it a second between the last two looks.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Measured {
    #[serde(flatten)]
    stage: Stage,
    rate: Option<f64>,
    #[serde(skip)]
    rates: Vec<f64>,
}

impl Pipeline {
    pub fn new(deployment: &str, endpoint: &str) -> Self {
        Self {
            deployment: deployment.into(),
            endpoint: endpoint.into(),
            at: String::new(),
            stages: Vec::new(),
            looked: 0.0,
        }
    }

    /// Takes in another look. `now`: Unix seconds, and the same as a clock shows it.
    pub fn look(&mut self, stages: Vec<Stage>, now: f64, clock: String) {
        let passed = now - self.looked;
        let before = std::mem::take(&mut self.stages);
        let measured = |stage: Stage| {
            let known = before.iter().find(|known| known.stage.name == stage.name);
            let total = known.and_then(|known| known.stage.total);
            // A total that is smaller than before was started again.
            let rate = match (total, stage.total) {
                (Some(a), Some(b)) if b >= a && passed > 0.0 => Some((b - a) / passed),
                _ => None,
            };
            let mut rates = known.map(|known| known.rates.clone()).unwrap_or_default();
            rates.extend(rate);
            rates.drain(..rates.len().saturating_sub(REMEMBERED));
            Measured { stage, rate, rates }
        };
        self.stages = stages.into_iter().map(measured).collect();
        (self.looked, self.at) = (now, clock);
    }

    /// The worst of all stages.
    fn health(&self) -> Health {
        let of = |health| self.stages.iter().any(|one| one.stage.health == health);
        match () {
            () if of(Health::Down) => Health::Down,
            () if of(Health::Trouble) => Health::Trouble,
            () => Health::Good,
        }
    }

    fn draw(&self, frame: &mut Frame<'_>, colour: bool) {
        let paint = |health: Health| match (colour, health) {
            (false, _) => Paint::new(),
            (true, Health::Good) => Paint::new().fg(Color::Green),
            (true, Health::Trouble) => Paint::new().fg(Color::Yellow),
            (true, Health::Down) => Paint::new().fg(Color::Red),
            (true, Health::None) => Paint::new().add_modifier(Modifier::DIM),
        };
        let faint = Paint::new().add_modifier(Modifier::DIM);
        let bold = Paint::new().add_modifier(Modifier::BOLD);
        let rows = self.stages.len() as u16;
        let [title, table, _, charts, errors, keys] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(rows + 1),
            Constraint::Length(1),
            Constraint::Length(rows),
            Constraint::Min(2),
            Constraint::Length(1),
        ])
        .areas(frame.area());

        let heading = Line::from(vec![
            Span::styled(mark(self.health()), paint(self.health())),
            Span::styled(format!(" {}", self.deployment), bold),
            Span::raw(format!("  {}", self.endpoint)),
            Span::styled(format!("  {} UTC", self.at), faint),
        ]);
        frame.render_widget(Paragraph::new(heading), title);

        let head = Row::new(["", "stage", "a second", "behind", "waiting", "total", ""]).style(faint);
        let table_rows = self.stages.iter().map(|one| {
            Row::new([
                Span::styled(mark(one.stage.health), paint(one.stage.health)),
                Span::styled(one.stage.name, bold),
                Span::raw(one.rate.map_or("–".into(), rate)),
                Span::raw(one.stage.lag.map_or("–".into(), seconds)),
                Span::raw(one.stage.queue.map_or("–".into(), |queue| count(queue as u64))),
                Span::raw(one.total()),
                Span::styled(visible(&one.stage.detail), faint),
            ])
        });
        let widths = [
            Constraint::Length(1),
            Constraint::Length(12),
            Constraint::Length(9),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(19),
            Constraint::Min(10),
        ];
        frame.render_widget(Table::new(table_rows, widths).header(head), table);

        let lines = Layout::vertical(vec![Constraint::Length(1); self.stages.len()]).split(charts);
        for (one, area) in self.stages.iter().zip(lines.iter()) {
            let [name, chart] =
                Layout::horizontal([Constraint::Length(15), Constraint::Min(10)]).areas(*area);
            frame.render_widget(Paragraph::new(Span::styled(format!("  {}", one.stage.name), faint)), name);
            // Tenths: a rate below one a second is not nothing.
            let newest = one.rates.len().saturating_sub(usize::from(chart.width));
            let data: Vec<u64> = one.rates[newest..].iter().map(|rate| (rate * 10.0) as u64).collect();
            frame.render_widget(Sparkline::default().data(&data).style(paint(one.stage.health)), chart);
        }

        let told = self.stages.iter().filter_map(|one| {
            let error = one.stage.error.as_deref()?;
            Some(Line::from(vec![
                Span::styled(format!("{}: ", one.stage.name), paint(one.stage.health)),
                Span::raw(visible(error)),
            ]))
        });
        let mut text = vec![Line::default()];
        text.extend(told);
        let errors_text = Paragraph::new(text).wrap(ratatui::widgets::Wrap { trim: true });
        frame.render_widget(errors_text, errors);
        frame.render_widget(Paragraph::new(Span::styled("q ends", faint)), keys);
    }
}

impl Measured {
    fn total(&self) -> String {
        self.stage.total.map_or("–".into(), |total| format!("{} {}", count(total as u64), self.stage.unit))
    }
}

fn mark(health: Health) -> &'static str {
    match health {
        Health::Good => "✓",
        Health::Trouble => "~",
        Health::Down => "✗",
        Health::None => "·",
    }
}

fn rate(rate: f64) -> String {
    if rate >= 10.0 { count(rate.round() as u64) } else { format!("{rate:.1}") }
}

fn seconds(seconds: f64) -> String {
    match seconds as u64 {
        0..120 => format!("{seconds:.0} s"),
        120..7200 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.0} h", seconds / 3600.0),
    }
}

impl View for Pipeline {
    /// One line a look, and one for each error.
    fn human(&self, _: &Style) -> String {
        let stage = |one: &Measured| {
            let mut words = format!("{} {}", mark(one.stage.health), one.stage.name);
            match one.rate {
                Some(value) => words.push_str(&format!(" {}/s", rate(value))),
                None if one.stage.total.is_some() => words.push_str(&format!(" {}", one.total())),
                None => {}
            }
            if let Some(lag) = one.stage.lag {
                words.push_str(&format!(", {} behind", seconds(lag)));
            }
            if let Some(queue) = one.stage.queue {
                words.push_str(&format!(", {} waiting", count(queue as u64)));
            }
            words
        };
        let stages: Vec<String> = self.stages.iter().map(stage).collect();
        let mut out = format!("{} {}\n", self.at, stages.join(" → "));
        for one in &self.stages {
            if let Some(error) = &one.stage.error {
                out.push_str(&format!("{}   {}: {}\n", self.at, one.stage.name, visible(error)));
            }
        }
        out
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).expect("a look is plain data with string keys")
    }
}

/// Where looks are shown. A terminal is given back when this is dropped.
pub struct Watch {
    printer: Printer,
    terminal: Option<ratatui::DefaultTerminal>,
}

impl Watch {
    /// # Errors
    /// The terminal does not take the mode that is needed to redraw it.
    pub fn open(printer: &Printer) -> io::Result<Self> {
        let options = printer.options();
        let redraws = options.mode == Mode::Human
            && options.terminals.stdout
            && options.terminals.stdin
            && options.live;
        let terminal = if redraws { Some(ratatui::try_init()?) } else { None };
        Ok(Self { printer: printer.clone(), terminal })
    }

    /// # Errors
    /// The terminal cannot be written to.
    pub fn show(&mut self, pipeline: &Pipeline) -> io::Result<()> {
        let colour = self.printer.options().colour;
        match &mut self.terminal {
            Some(terminal) => terminal.draw(|frame| pipeline.draw(frame, colour)).map(|_| ()),
            None => {
                self.printer.result(pipeline);
                Ok(())
            }
        }
    }

    /// Whether the user wants to end; never waits.
    ///
    /// # Errors
    /// The terminal cannot be read.
    pub fn ended(&self) -> io::Result<bool> {
        while self.terminal.is_some() && event::poll(std::time::Duration::ZERO)? {
            if let Event::Key(key) = event::read()? {
                // In this mode the terminal makes no signal of Ctrl-C.
                let interrupt =
                    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.terminal.is_some() {
            ratatui::restore();
        }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn stages(samples: f64) -> Vec<Stage> {
        let stage = |name, total| Stage { total: Some(total), ..Stage::new(name, "samples") };
        vec![
            Stage { lag: Some(3.0), detail: "39 teams".into(), ..stage("generator", 400.0) },
            Stage { queue: Some(12.0), lag: Some(0.4), ..stage("agent", samples) },
            Stage::new("Mimir", "samples").down("connection refused"),
            Stage { health: Health::None, ..Stage::new("bucket", "objects") },
        ]
    }

    fn pipeline() -> Pipeline {
        let mut pipeline = Pipeline::new("dorainfra", "https://mimir.dorainfra.internal:9009");
        pipeline.look(stages(1000.0), 100.0, "12:00:00".into());
        pipeline.look(stages(3000.0), 102.0, "12:00:02".into());
        pipeline
    }

    #[test]
    fn lines_where_there_is_no_terminal() {
        assert_eq!(
            pipeline().human(&Style::plain()),
            "12:00:02 ✓ generator 0.0/s, 3 s behind → ✓ agent 1,000/s, 0 s behind, 12 waiting → ✗ Mimir → · bucket\n\
             12:00:02   Mimir: connection refused\n"
        );
        assert_eq!(pipeline().json()["stages"][1]["rate"], 1000.0);
    }

    #[test]
    fn a_counter_that_starts_again_has_no_rate() {
        let mut pipeline = pipeline();
        pipeline.look(stages(5.0), 104.0, "12:00:04".into());
        assert_eq!(pipeline.stages[1].rate, None);
        assert_eq!(pipeline.health(), Health::Down);
    }

    #[test]
    fn the_screen_shows_all_of_it() {
        let mut terminal = Terminal::new(TestBackend::new(96, 18)).unwrap();
        let pipeline = pipeline();
        terminal.draw(|frame| pipeline.draw(frame, false)).unwrap();
        insta::assert_snapshot!(terminal.backend());
        // A window that is too small for it is no panic.
        let mut terminal = Terminal::new(TestBackend::new(20, 4)).unwrap();
        terminal.draw(|frame| pipeline.draw(frame, true)).unwrap();
    }
}
