//! HCL as `terraform fmt` lays it out: the signs of equality of lines that follow each other stand below
//! each other. Indentation is the templates' own.

/// The text of a template, laid out, in blocks that are an empty line apart.
pub(super) fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Vec<&str> = Vec::new();
    for line in text.lines() {
        if line.is_empty() {
            blocks.extend(laid_out(&std::mem::take(&mut block)));
        } else {
            block.push(line);
        }
    }
    blocks.extend(laid_out(&block));
    blocks
}

fn laid_out(lines: &[&str]) -> Option<String> {
    if lines.is_empty() {
        return None;
    }
    let mut out = String::new();
    let mut chain: Vec<(&str, &str)> = Vec::new();
    for line in lines {
        match assignment(line) {
            Some(parts) => chain.push(parts),
            None => {
                write_chain(&mut out, &mut chain);
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    write_chain(&mut out, &mut chain);
    Some(out)
}

fn write_chain(out: &mut String, chain: &mut Vec<(&str, &str)>) {
    let width = chain.iter().map(|(key, _)| key.chars().count()).max().unwrap_or_default();
    for (key, value) in chain.drain(..) {
        let gap = " ".repeat(width - key.chars().count());
        out.push_str(&format!("{key}{gap} = {value}\n"));
    }
}

/// What is before and after the sign of a line that assigns something and ends with it.
fn assignment(line: &str) -> Option<(&str, &str)> {
    if line.trim_start().starts_with('#') {
        return None;
    }
    let (mut quoted, mut escaped, mut depth, mut sign) = (false, false, 0_i32, None);
    for (at, c) in line.char_indices() {
        match c {
            _ if std::mem::take(&mut escaped) => {}
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            '=' if sign.is_none() && depth == 0 => sign = Some(at),
            _ => {}
        }
    }
    let at = sign.filter(|_| depth == 0)?;
    Some((line[..at].trim_end(), line[at + 1..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_stand_below_each_other_where_lines_follow_each_other() {
        let text = "resource \"a\" \"b\" {\n  name = \"x = {\"\n  long_name = 1\n  # a = comment\n  c = 1\n  \
                    map = {\n    \"k\" = 1\n    longer = [1, 2]\n  }\n  d = \"\\\" =\"\n}\n\n\nx = 1\n";
        let expected = "resource \"a\" \"b\" {\n  name      = \"x = {\"\n  long_name = 1\n  # a = comment\n  c = 1\n  \
                        map = {\n    \"k\"    = 1\n    longer = [1, 2]\n  }\n  d = \"\\\" =\"\n}\n";
        assert_eq!(blocks(text), [expected, "x = 1\n"]);
    }
}
