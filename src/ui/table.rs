//! Columns that line up, by the width that the text takes on a terminal; where that
//! is too narrow for them, rows that are a few lines each.

use super::text::{hang, outdent, pad, visible, width, wrap};
use super::{Role, Style};

const GAP: &str = "  ";
/// Columns that the last cell of a row needs, to stand beside the others.
const LEAST: usize = 20;

/// Rows of cells under optional headers. The last column goes on
/// below itself at the terminal's width; the others are as wide as their widest cell.
#[derive(Clone, Debug, Default)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<(Role, String)>>,
    indent: usize,
}

impl Table {
    pub fn new<S: Into<String>>(headers: impl IntoIterator<Item = S>) -> Self {
        Self { headers: headers.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Without a line of headers.
    pub fn bare() -> Self {
        Self::default()
    }

    /// Spaces before every line.
    pub fn indent(mut self, columns: usize) -> Self {
        self.indent = columns;
        self
    }

    /// Adds a row; cells may hold text from outside.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = (Role, S)>) {
        let clean = |text: &str| visible(text).replace(['\n', '\t'], " ");
        self.rows.push(cells.into_iter().map(|(role, text)| (role, clean(text.as_ref()))).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table's lines, each with its line end; nothing for an empty table.
    pub fn render(&self, style: &Style) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let columns = self.rows.iter().map(Vec::len).chain([self.headers.len()]).max().unwrap_or(0);
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|(_, text)| width(text));
            cells.chain(self.headers.get(column).map(|header| width(header))).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(widest).collect();

        let mut lines = String::new();
        let others = self.indent + widths.iter().rev().skip(1).map(|width| width + GAP.len()).sum::<usize>();
        let last = widths.last().copied().unwrap_or(0);
        if style.wraps && columns > 1 && others + last.min(LEAST) > style.width {
            self.rows.iter().for_each(|row| self.stacked(row, columns, style, &mut lines));
            return lines;
        }
        if !self.headers.is_empty() {
            let headers: Vec<_> = self.headers.iter().map(|header| (Role::Faint, header.clone())).collect();
            self.line(&headers, &widths, style, &mut lines);
        }
        for row in &self.rows {
            self.line(row, &widths, style, &mut lines);
        }
        lines
    }

    /// A row as lines: what is short, and below it, further in, what is long or has a header.
    fn stacked(&self, cells: &[(Role, String)], columns: usize, style: &Style, lines: &mut String) {
        let titles = if self.headers.is_empty() { columns - 1 } else { 1 };
        let (titles, rest) = cells.split_at(titles.min(cells.len()));
        let titles: Vec<String> = titles
            .iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(role, text)| style.paint(*role, text))
            .collect();
        let inner = self.indent + 4;
        let title = outdent(&titles.join(GAP), self.indent, inner, style);
        lines.push_str(&format!("{}{title}\n", " ".repeat(self.indent)));
        for (nth, (role, text)) in rest.iter().enumerate().filter(|(_, (_, text))| !text.is_empty()) {
            let text = match self.headers.get(nth + 1) {
                Some(header) => format!("{}: {text}", header.to_lowercase()),
                None => text.clone(),
            };
            let text = style.paint(*role, hang(&text, inner, style));
            lines.push_str(&format!("{}{text}\n", " ".repeat(inner)));
        }
    }

    fn line(&self, cells: &[(Role, String)], widths: &[usize], style: &Style, lines: &mut String) {
        let last = cells.iter().rposition(|(_, text)| !text.is_empty()).unwrap_or(0);
        let mut used = self.indent;
        lines.extend(std::iter::repeat_n(' ', self.indent));
        for (column, (role, text)) in cells.iter().enumerate().take(last + 1) {
            if column > 0 {
                lines.push_str(GAP);
                used += GAP.len();
            }
            if column == last {
                let room = if column + 1 == widths.len() {
                    style.width.saturating_sub(used).max(LEAST)
                } else {
                    usize::MAX
                };
                for (nth, part) in wrap(text, room).into_iter().enumerate() {
                    if nth > 0 {
                        lines.push('\n');
                        lines.extend(std::iter::repeat_n(' ', used));
                    }
                    lines.push_str(&style.paint(*role, part));
                }
            } else {
                let padded = pad(text, widths[column]);
                let (text, spaces) = padded.split_at(text.len());
                lines.push_str(&style.paint(*role, text));
                lines.push_str(spaces);
            }
            used += widths[column];
        }
        lines.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_goes_on_below() {
        let mut table = Table::new(["NAME", "STATE", "DETAIL"]).indent(2);
        table.row([(Role::Plain, "日本"), (Role::Good, "running"), (Role::Faint, "all is well")]);
        table.row([
            (Role::Plain, "pushgateway"),
            (Role::Bad, "stopped"),
            (Role::Faint, "no output\nfor 90 seconds, which is long"),
        ]);
        table.row([(Role::Plain, "generator"), (Role::Good, "running"), (Role::Plain, "")]);
        insta::assert_snapshot!(table.render(&Style { width: 50, ..Style::plain() }));
    }

    #[test]
    fn where_there_is_no_room_for_columns_rows_are_lines() {
        let mut table = Table::bare().indent(2);
        table.row([
            (Role::Good, "✓"),
            (Role::Plain, "compute.instance/dorainfra-mimir"),
            (Role::Faint, "as the configuration says"),
        ]);
        table.row([
            (Role::Bad, "✗"),
            (Role::Plain, "storage.bucket/my-gcp-dorainfra-mimir"),
            (Role::Plain, ""),
        ]);
        let narrow = Style { width: 40, wraps: true, ..Style::plain() };
        insta::assert_snapshot!(table.render(&narrow), @r"
          ✓  compute.instance/dorainfra-mimir
              as the configuration says
          ✗  storage.bucket/
              my-gcp-dorainfra-mimir
        ");
        let mut table = Table::new(["SOURCE", "TEAM", "DEPLOYMENTS"]);
        table.row([(Role::Plain, "a-repository-with-a-name"), (Role::Plain, "orders"), (Role::Plain, "12")]);
        insta::assert_snapshot!(table.render(&narrow), @r"
        a-repository-with-a-name
            team: orders
            deployments: 12
        ");
    }

    #[test]
    fn colour_does_not_move_columns() {
        let mut table = Table::bare();
        table.row([(Role::Good, "ok"), (Role::Plain, "one")]);
        table.row([(Role::Bad, "failed"), (Role::Plain, "two")]);
        let plain = table.render(&Style::plain());
        let coloured = table.render(&Style { colour: true, ..Style::plain() });
        assert_eq!(console::strip_ansi_codes(&coloured), plain);
        assert_ne!(coloured, plain);
    }

    #[test]
    fn an_empty_table_is_nothing() {
        assert_eq!(Table::new(["NAME"]).render(&Style::plain()), "");
    }
}
