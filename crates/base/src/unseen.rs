//! Characters that nobody sees, and that change what is read: they turn the direction of
//! what follows, or make two names look like one.

/// Whether a character is a control character, a mark of direction, a separator of lines
/// or without any width. (U+200D joins emoji; names of people's languages need U+200C.)
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
