//! Random numbers with the same bits everywhere: no call of a mathematics
//! library, only what IEEE 754 defines to the last bit.

use rand_chacha::rand_core::Rng;

/// Uniform in 0..1, from the top 53 bits of a word.
pub(crate) fn unit(random: &mut impl Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Nearly normal (0, 1): the sum of twelve uniform values, less six.
pub(crate) fn normal(random: &mut impl Rng) -> f64 {
    let mut sum: u64 = 0;
    for _ in 0..6 {
        let word = random.next_u64();
        sum += (word >> 32) + (word & 0xffff_ffff);
    }
    sum as f64 / (1u64 << 32) as f64 - 6.0
}

/// e^x by (1 + x/4096)^4096: products only, so the same bits everywhere.
pub(crate) fn exponential(x: f64) -> f64 {
    let mut result = 1.0 + x / 4096.0;
    for _ in 0..12 {
        result *= result;
    }
    result
}

/// A Poisson count by inversion; `mean` stays far below where that gets slow.
/// The probabilities add up to a little less than one, as [`exponential`] is a
/// little too small: what is drawn from the rest is a count at the far end.
pub(crate) fn poisson(random: &mut impl Rng, mean: f64) -> u64 {
    let mut probability = exponential(-mean);
    let mut reached = probability;
    let drawn = unit(random);
    let mut count = 0;
    while drawn > reached && (probability > 1e-4 || (count as f64) < mean) {
        count += 1;
        probability *= mean / count as f64;
        reached += probability;
    }
    count
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn no_count_is_out_of_all_proportion() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for mean in [0.2, 2.0, 7.0] {
            let counts: Vec<u64> = (0..20_000).map(|_| poisson(&mut random, mean)).collect();
            let most = counts.iter().max().copied().unwrap_or_default() as f64;
            assert!(most < mean + 8.0 * (mean + 1.0).sqrt(), "{mean}: {most}");
            let average = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
            assert!((average / mean - 1.0).abs() < 0.05, "{mean}: {average}");
        }
    }

    #[test]
    fn exponential_is_close_enough_to_the_real_one() {
        for x in [-12.0, -3.0, -0.5, 0.0, 0.7, 2.5] {
            let error = exponential(x) / f64::exp(x) - 1.0;
            assert!(error.abs() < 0.02, "e^{x}: {error}");
        }
    }
}
