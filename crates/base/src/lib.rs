//! What every part of the program needs of the outside, within bounds: answers over HTTP
//! ([`answer`]), what caused an error ([`mod@error`]), a small server ([`serve`]), files ([`mod@file`]), other programs ([`child`]),
//! numbers for people ([`number`]), words of a shell ([`shell`]), time zones ([`zone`]), and characters that nobody sees ([`unseen`]).

pub mod answer;
pub mod child;
pub mod error;
pub mod file;
pub mod number;
pub mod serve;
pub mod shell;
pub mod unseen;
pub mod zone;
