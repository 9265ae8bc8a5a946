//! "Did you mean": the nearest of the templates' names.

use strsim::levenshtein;

/// The known name that was probably meant: the nearest one, if near enough.
/// A forgotten folder or ending (`mimir.yaml` for `vm/mimir.yaml.j2`) is near.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let cost = |candidate: &str| {
        let partial = candidate.contains(name) && name.len() > 3;
        if partial { 0 } else { levenshtein(name, candidate) }
    };
    known
        .map(|candidate| (cost(candidate), candidate))
        .filter(|(cost, _)| *cost <= 2 + name.len() / 6)
        .min()
        .map(|(_, candidate)| candidate)
}
