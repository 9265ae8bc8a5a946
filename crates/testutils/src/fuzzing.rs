//! Five seconds of fuzzing for each reader (a minute in `scripts/nightly`): what is kept in tests/fixtures/fuzz/READER/,
//! and what becomes of it by chance. A reader may refuse anything; it may not panic.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// How long each reader is fuzzed.
fn time() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "the switch of scripts/nightly")]
    let nightly = std::env::var_os("NIGHTLY").is_some();
    Duration::from_secs(if nightly { 60 } else { 5 })
}

/// What is put in the place of something else: numbers and times at the edges of what
/// can be computed with, and what ends or begins something.
const PIECES: [&str; 30] = [
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "-9223372036854775808",
    "-1",
    "0",
    "1e308",
    "-0.0",
    "NaN",
    "1e-400",
    "9999-12-31T23:59:59-23:59",
    "0000-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59Z",
    "1969-12-31T23:59:59Z",
    "2024-02-30T00:00:00Z",
    "null",
    "[]",
    "{}",
    "\"\"",
    "[[[[",
    "\u{202e}",
    "\u{0}",
    "\r\n",
    "\u{feff}",
    "é",
    "${a/b.c}",
    "&a *a",
    "!!binary",
    "\\ud800",
    "../../etc",
];

/// Reads the corpus and its mutations. The seed is the same each time; how far it gets is
/// the machine's affair.
#[track_caller]
pub fn five_seconds(reader: &str, read: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/fuzz").join(reader);
    let mut corpus: Vec<Vec<u8>> = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        corpus.push(std::fs::read(entry.unwrap().path()).unwrap());
    }
    corpus.sort();
    assert!(!corpus.is_empty(), "{} has nothing to begin with", folder.display());
    let mut random = StdRng::seed_from_u64(7);
    let (began, time) = (Instant::now(), time());
    let mut inputs: u64 = 0;
    for input in corpus.clone() {
        tried(reader, &input, &read);
    }
    while began.elapsed() < time {
        let mut input = corpus[random.random_range(0..corpus.len())].clone();
        for _ in 0..random.random_range(1..6) {
            mutate(&mut input, &corpus, &mut random);
        }
        tried(reader, &input, &read);
        inputs += 1;
    }
    assert!(inputs > 10, "{reader}: {inputs} inputs in {time:?}: it is too slow");
}

#[track_caller]
fn tried(reader: &str, input: &[u8], read: &impl Fn(&[u8])) {
    if std::panic::catch_unwind(AssertUnwindSafe(|| read(input))).is_err() {
        panic!("{reader} panics; keep this in its corpus: {:?}", String::from_utf8_lossy(input));
    }
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut StdRng) {
    let at = random.random_range(0..=input.len());
    let end = (at + random.random_range(0..24)).min(input.len());
    match random.random_range(0..6) {
        0 => drop(input.splice(at..end, [])),
        1 => drop(input.splice(at..at, PIECES[random.random_range(0..PIECES.len())].bytes())),
        2 => {
            // A number or a word becomes another one.
            let of_a_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-:.+".contains(byte);
            let begin = input[..at].iter().rposition(|byte| !of_a_word(byte)).map_or(0, |before| before + 1);
            let end =
                input[at..].iter().position(|byte| !of_a_word(byte)).map_or(input.len(), |next| at + next);
            input.splice(begin..end, PIECES[random.random_range(0..PIECES.len())].bytes());
        }
        3 => {
            let other = &corpus[random.random_range(0..corpus.len())];
            let from = random.random_range(0..=other.len());
            let to = (from + random.random_range(0..64)).min(other.len());
            input.splice(at..end, other[from..to].iter().copied());
        }
        4 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.random_range(0..=255);
            }
        }
        _ => {
            let copy = input[at..end].to_vec();
            input.splice(at..at, copy);
        }
    }
}
