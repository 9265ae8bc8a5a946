//! The service-account key file of the sandbox's owner: an RSA key made once
//! for each folder, and the tokens that it buys.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dorainfra_base::error::Why;
use num_bigint::{BigInt, BigUint};
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde_json::{Value, json};

use super::error::SandboxError;

const EXPONENT: u32 = 65_537;

/// An RSA key of 2048 bits.
pub struct RsaKey {
    modulus: BigUint,
    private: BigUint,
    p: BigUint,
    q: BigUint,
}

impl RsaKey {
    pub fn generate() -> Result<Self, SandboxError> {
        let sieve = small_primes();
        loop {
            let (p, q) = (prime(&sieve)?, prime(&sieve)?);
            // ring wants p > q; FIPS 186-4 wants them far apart, which two random primes are.
            let (p, q) = if p > q { (p, q) } else { (q, p) };
            let modulus = &p * &q;
            let one = BigUint::from(1u8);
            let phi = (&p - &one) * (&q - &one);
            let Some(private) = inverse(&BigUint::from(EXPONENT), &phi) else { continue };
            if modulus.bits() == 2048 && private.bits() > 1024 {
                return Ok(Self { modulus, private, p, q });
            }
        }
    }

    /// PKCS#8, DER.
    pub fn to_pkcs8(&self) -> Vec<u8> {
        let one = BigUint::from(1u8);
        let coefficient = inverse(&self.q, &self.p).expect("two different primes are coprime");
        let numbers = [
            BigUint::ZERO,
            self.modulus.clone(),
            BigUint::from(EXPONENT),
            self.private.clone(),
            self.p.clone(),
            self.q.clone(),
            &self.private % (&self.p - &one),
            &self.private % (&self.q - &one),
            coefficient,
        ];
        let rsa = der(0x30, &numbers.iter().flat_map(integer).collect::<Vec<u8>>());
        // rsaEncryption (1.2.840.113549.1.1.1), NULL
        let algorithm =
            [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
        let mut whole = integer(&BigUint::ZERO);
        whole.extend_from_slice(&algorithm);
        whole.extend(der(0x04, &rsa));
        der(0x30, &whole)
    }
}

/// Writes the key file of `email` unless it is there; `port` changes with each
/// start, so the token address is written anew.
pub fn write_key_file(path: &Path, project: &str, email: &str, port: u16) -> Result<Vec<u8>, SandboxError> {
    let kept = std::fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
        .and_then(|file| file["private_key"].as_str().map(str::to_owned))
        .filter(|pem| public_key(pem).is_ok());
    let pem = match kept {
        Some(pem) => pem,
        None => pem(&RsaKey::generate()?.to_pkcs8()),
    };
    let public = public_key(&pem)?;
    let id = hex::encode(&ring::digest::digest(&ring::digest::SHA256, &public).as_ref()[..20]);
    let file = json!({
        "type": "service_account",
        "project_id": project,
        "private_key_id": id,
        "private_key": pem,
        "client_email": email,
        "client_id": super::clock::number_of(email).to_string(),
        "auth_uri": format!("http://127.0.0.1:{port}/auth"),
        "token_uri": format!("http://127.0.0.1:{port}/token"),
    });
    super::files::write_private(path, format!("{file:#}\n").as_bytes())?;
    Ok(public)
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    let (label, dashes) = ("PRIVATE KEY", "-----");
    format!("{dashes}BEGIN {label}{dashes}\n{}\n{dashes}END {label}{dashes}\n", lines.join("\n"))
}

/// A private key in PEM.
fn key_pair(pem: &str) -> Result<ring::rsa::KeyPair, SandboxError> {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let bad = |why: Why| SandboxError::Key(why);
    let der = STANDARD.decode(base64).map_err(|error| bad(Why::of(error)))?;
    ring::rsa::KeyPair::from_pkcs8(&der).map_err(|error| bad(error.to_string().into()))
}

/// The public key (DER, as ring verifies with it) of a private key in PEM.
fn public_key(pem: &str) -> Result<Vec<u8>, SandboxError> {
    use ring::signature::KeyPair as _;
    Ok(key_pair(pem)?.public_key().as_ref().to_vec())
}

/// A JWT (RS256) by the key of the file at `path`; `None` where it can't be read.
pub fn sign(path: &Path, claims: &Value) -> Option<String> {
    let file: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let pair = key_pair(file["private_key"].as_str()?).ok()?;
    let header = json!({"alg": "RS256", "kid": file["private_key_id"], "typ": "JWT"});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    let random = ring::rand::SystemRandom::new();
    pair.sign(&ring::signature::RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).ok()?;
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Primes up to 8192, to throw most candidates away cheaply.
fn small_primes() -> Vec<u32> {
    let mut primes: Vec<u32> = Vec::new();
    for candidate in 3u32..8192 {
        if candidate % 2 == 1
            && primes
                .iter()
                .take_while(|prime| *prime * *prime <= candidate)
                .all(|prime| candidate % prime != 0)
        {
            primes.push(candidate);
        }
    }
    primes
}

fn random_bytes(count: usize) -> Result<Vec<u8>, SandboxError> {
    let mut bytes = vec![0u8; count];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| SandboxError::Key(Why::of(error)))?;
    Ok(bytes)
}

/// A random prime of 1024 bits whose two highest bits are set, with p-1 coprime
/// to the exponent.
fn prime(sieve: &[u32]) -> Result<BigUint, SandboxError> {
    loop {
        let mut bytes = random_bytes(128)?;
        bytes[0] |= 0xc0;
        bytes[127] |= 1;
        let start = BigUint::from_bytes_be(&bytes);
        let remainders: Vec<u32> =
            sieve.iter().map(|prime| u32::try_from(&start % prime).unwrap_or(0)).collect();
        // Sieving a window and testing the survivors of a fresh start each time it is exhausted.
        for step in (0..4096u32).step_by(2) {
            let composite =
                sieve.iter().zip(&remainders).any(|(prime, remainder)| (remainder + step) % prime == 0);
            if composite {
                continue;
            }
            let candidate = &start + step;
            let exponent = BigUint::from(EXPONENT);
            if (&candidate - 1u8) % &exponent != BigUint::ZERO && is_prime(&candidate)? {
                return Ok(candidate);
            }
        }
    }
}

/// Miller-Rabin with random bases; a composite passes with less than 2^-80 chance.
fn is_prime(candidate: &BigUint) -> Result<bool, SandboxError> {
    let one = BigUint::from(1u8);
    let minus_one = candidate - &one;
    let twos = minus_one.trailing_zeros().unwrap_or(0);
    let odd = &minus_one >> twos;
    'bases: for _ in 0..40 {
        let base = BigUint::from_bytes_be(&random_bytes(127)?) + 2u8;
        let mut power = base.modpow(&odd, candidate);
        if power == one || power == minus_one {
            continue;
        }
        for _ in 1..twos {
            power = power.modpow(&BigUint::from(2u8), candidate);
            if power == minus_one {
                continue 'bases;
            }
        }
        return Ok(false);
    }
    Ok(true)
}

/// The inverse of `value` modulo `modulus`, where there is one.
fn inverse(value: &BigUint, modulus: &BigUint) -> Option<BigUint> {
    let modulus = BigInt::from(modulus.clone());
    let (mut r0, mut r1) = (modulus.clone(), BigInt::from(value.clone()));
    let (mut t0, mut t1) = (BigInt::ZERO, BigInt::from(1));
    while r1 != BigInt::ZERO {
        let quotient = &r0 / &r1;
        let r2 = &r0 - &quotient * &r1;
        let t2 = &t0 - &quotient * &t1;
        (r0, r1, t0, t1) = (r1, r2, t1, t2);
    }
    (r0 == BigInt::from(1)).then(|| ((t0 % &modulus + &modulus) % &modulus).magnitude().clone())
}

fn integer(number: &BigUint) -> Vec<u8> {
    let mut bytes = number.to_bytes_be();
    if bytes.first().is_none_or(|first| first & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    der(0x02, &bytes)
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        out.push(0x80 | significant.len() as u8);
        out.extend_from_slice(significant);
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_one_that_ring_accepts_and_signs_with() {
        let pem = pem(&RsaKey::generate().unwrap().to_pkcs8());
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let pair = ring::rsa::KeyPair::from_pkcs8(&STANDARD.decode(base64).unwrap()).unwrap();
        let mut signature = vec![0; pair.public().modulus_len()];
        let random = ring::rand::SystemRandom::new();
        pair.sign(&ring::signature::RSA_PKCS1_SHA256, &random, b"message", &mut signature).unwrap();
        let public = public_key(&pem).unwrap();
        ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, public)
            .verify(b"message", &signature)
            .unwrap();
    }

    #[test]
    fn der_lengths() {
        assert_eq!(der(4, &[1, 2]), [4, 2, 1, 2]);
        assert_eq!(der(4, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(der(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
    }
}
