//! Columns that line up, by the width that the text takes on a terminal.

use super::text::{pad, visible, width, wrap};
use super::{Role, Style};

const GAP: &str = "  ";

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
        if !self.headers.is_empty() {
            let headers: Vec<_> = self.headers.iter().map(|header| (Role::Faint, header.clone())).collect();
            self.line(&headers, &widths, style, &mut lines);
        }
        for row in &self.rows {
            self.line(row, &widths, style, &mut lines);
        }
        lines
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
                    style.width.saturating_sub(used).max(20)
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
