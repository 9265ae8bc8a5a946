//! Words of a POSIX shell: what is printed to be copied into one has to arrive as it is.

use std::fmt::Display;

/// The word that a shell takes for `text`: as it is where nothing in it is special, else in quotes.
pub fn quoted(text: impl Display) -> String {
    let text = text.to_string();
    // Of other alphabets a shell makes nothing; a person sees where such a path begins and ends.
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+=".contains(c);
    // `~` and `=` mean something at the beginning only.
    match !text.is_empty() && text.chars().all(plain) && !text.starts_with('=') {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_arrives_as_it_was() {
        for text in [
            "plain",
            "/home/ada/my project/key.json",
            "/home/åda/schlüssel/key.json",
            "it's",
            "''",
            "",
            "$HOME `id` \"x\" \\ * ? [a] {b,c} ~ # ! & ; | < > ( )",
            "~/x",
            "two\nlines",
            "\t",
            "https://h:1/a?b=c&d=e",
        ] {
            let script = format!("printf %s {}", quoted(text));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text, "{script}");
        }
        assert_eq!(quoted("http://127.0.0.1:80/compute/v1/"), "http://127.0.0.1:80/compute/v1/");
    }
}
