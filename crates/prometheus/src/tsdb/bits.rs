//! Numbers as a stream of bits, in the forms that chunks are made of, and back.

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

/// Reads what [`Bits`] writes; `None`: it ends before.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// The next bit.
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn bits(&mut self, count: u32) -> Option<u64> {
        let (mut number, mut left) = (0, count);
        while left > 0 {
            let byte = *self.bytes.get(self.at / 8)?;
            let free = 8 - (self.at % 8) as u32;
            let now = left.min(free);
            let part = byte >> (free - now) & (0xff_u8 >> (8 - now));
            number = number << now | u64::from(part);
            (self.at, left) = (self.at + now as usize, left - now);
        }
        Some(number)
    }

    /// As many bits as a number with a sign has.
    pub fn signed(&mut self, count: u32) -> Option<i64> {
        let number = self.bits(count)?;
        // As in `fits`: the highest value of the unsigned half is a positive one.
        let negative = count < 64 && number > 1 << (count - 1);
        Some(if negative { number as i64 - (1i64 << count) } else { number as i64 })
    }

    /// How many ones there are before a zero, which ends them; at most `most`.
    pub fn ones(&mut self, most: u32) -> Option<u32> {
        for count in 0..most {
            if self.bits(1)? == 0 {
                return Some(count);
            }
        }
        Some(most)
    }

    pub fn uvarint(&mut self) -> Option<u64> {
        unpacked(|| Some(self.bits(8)? as u8))
    }

    pub fn varint(&mut self) -> Option<i64> {
        Some(unzigzag(self.uvarint()?))
    }

    pub fn varbit(&mut self) -> Option<i64> {
        match self.varbit_length()? {
            0 => Some(0),
            length => self.signed(length),
        }
    }

    pub fn uvarbit(&mut self) -> Option<u64> {
        let length = self.varbit_length()?;
        self.bits(length)
    }

    fn varbit_length(&mut self) -> Option<u32> {
        let ones = self.ones(8)? as usize;
        Some(match ones {
            0 => 0,
            ones => VARBIT.get(ones - 1).copied().unwrap_or(64),
        })
    }
}

/// As [`Reader::uvarint`], from the beginning of some bytes, which it shortens.
pub(super) fn read_uvarint(bytes: &mut &[u8]) -> Option<u64> {
    unpacked(|| {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        Some(*first)
    })
}

pub(super) fn read_varint(bytes: &mut &[u8]) -> Option<i64> {
    Some(unzigzag(read_uvarint(bytes)?))
}

fn unpacked(mut next: impl FnMut() -> Option<u8>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
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

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
