//! Bytes on disk: varints, deltas and a reader that never trusts what it reads.
//!
//! **Invariant:** decoding any bytes ends with a value or [`Malformed`], without panic and without more memory than the bytes justify.

/// Bytes that are not what was written, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed bytes: {0}")]
pub struct Malformed(pub &'static str);

/// Appends an unsigned number in LEB128: seven bits a byte, low ones first.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a signed number: zigzag, then LEB128.
pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_varint(out, zigzag(number));
}

/// Appends a text or bytes behind their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Maps small numbers of either sign to small unsigned ones.
pub fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

/// Inverse of [`zigzag`].
pub fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Reads what the `put` functions wrote.
#[derive(Debug, Clone)]
pub struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Takes the next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Malformed("they end too early"))?;
        self.0 = rest;
        Ok(head)
    }

    /// Takes one byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed("they end too early"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// Takes an unsigned number.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed("a number has over 64 bits"));
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed("a number has over 64 bits"))
    }

    /// Takes a signed number.
    pub fn signed(&mut self) -> Result<i64, Malformed> {
        self.varint().map(unzigzag)
    }

    /// Takes a count of things that take at least `bytes_each` bytes each, so that a wrong count can't reserve memory.
    pub fn count(&mut self, bytes_each: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.varint()?).map_err(|_| Malformed("a count is too large"))?;
        if count.checked_mul(bytes_each.max(1)).is_none_or(|bytes| bytes > self.remaining()) {
            return Err(Malformed("a count is too large"));
        }
        Ok(count)
    }

    /// Takes bytes behind their length.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.count(1)?;
        self.take(length)
    }

    /// Takes a text behind its length.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// Takes eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| Malformed("they end too early"))?))
    }

    /// Ends the reading.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("there are bytes behind the end")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_back(number in any::<i64>()) {
            let mut out = Vec::new();
            put_signed(&mut out, number);
            put_varint(&mut out, number as u64);
            let mut decoder = Decoder::new(&out);
            prop_assert_eq!(decoder.signed(), Ok(number));
            prop_assert_eq!(decoder.varint(), Ok(number as u64));
            prop_assert!(decoder.finish().is_ok());
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in any::<Vec<u8>>()) {
            let mut decoder = Decoder::new(&bytes);
            while decoder.text().is_ok() && decoder.varint().is_ok() && decoder.remaining() > 0 {}
        }
    }
}
