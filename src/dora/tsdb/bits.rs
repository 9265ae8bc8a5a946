//! Numbers as a stream of bits, in the forms that chunks are made of.

/// Bits, the first one highest in its byte; the last byte is filled up with zeros.
#[derive(Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that nothing is written to yet.
    free: u32,
}

/// Prefixes of ones, and how many bits follow each. Zero is a single bit.
const VARBIT: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

impl Bits {
    /// The lowest `count` bits of a number.
    pub fn bits(&mut self, value: u64, mut count: u32) {
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let now = count.min(self.free);
            let part = (value >> (count - now)) as u8 & (0xff_u8 >> (8 - now));
            if let Some(last) = self.bytes.last_mut() {
                *last |= part << (self.free - now);
            }
            (self.free, count) = (self.free - now, count - now);
        }
    }

    pub fn double(&mut self, value: f64) {
        self.bits(value.to_bits(), 64);
    }

    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    pub fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bits(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.bits(value, 8);
    }

    /// The same of a signed number, whose sign is the lowest bit.
    pub fn varint(&mut self, value: i64) {
        self.uvarint(zigzag(value));
    }

    /// A signed number in as few bits as one of some lengths allows.
    pub fn varbit(&mut self, value: i64) {
        self.varbit_of(value as u64, value == 0, |bits| fits(value, bits));
    }

    /// The same of a number without a sign.
    pub fn uvarbit(&mut self, value: u64) {
        self.varbit_of(value, value == 0, |bits| value >> bits == 0);
    }

    fn varbit_of(&mut self, value: u64, zero: bool, fits: impl Fn(u32) -> bool) {
        if zero {
            return self.bits(0, 1);
        }
        match VARBIT.iter().position(|bits| fits(*bits)) {
            Some(at) => {
                // One more `1` for each length, and a `0` that ends them.
                let ones = at as u32 + 1;
                self.bits((1 << (ones + 1)) - 2, ones + 1);
                self.bits(value, VARBIT[at]);
            }
            None => {
                self.bits(0xff, 8);
                self.bits(value, 64);
            }
        }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Whether a number is told by its lowest `bits` bits, as the format reads them: the
/// highest value of the unsigned half belongs to the positive ones.
pub(super) fn fits(value: i64, bits: u32) -> bool {
    let half = 1i64 << (bits - 1);
    (1 - half..=half).contains(&value)
}

/// As in [`Bits::uvarint`], to whole bytes.
pub(super) fn uvarint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// As in [`Bits::varint`], to whole bytes.
pub(super) fn varint(bytes: &mut Vec<u8>, value: i64) {
    uvarint(bytes, zigzag(value));
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}
