//! What every part of the program needs of the outside, within bounds: answers over HTTP
//! ([`answer`]), a small server ([`serve`]), files ([`mod@file`]), other programs ([`child`]),
//! time zones ([`zone`]), and characters that nobody sees ([`unseen`]).

pub mod answer;
pub mod child;
pub mod file;
pub mod serve;
pub mod unseen;
pub mod zone;
