use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes, parsed as Docker parses sizes: `512`, `512b`, `10k`, `64m`, `2g`, `1t`, all in
/// powers of 1024, an optional trailing `b` or `ib`, decimals allowed (`1.5g`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ByteSize(pub u64);

/// A share of processor time in thousandths of one CPU; `--cpus 1.5` is 1500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CpuCount(u32);

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what}: {text:?} (expected {form})")]
pub struct QuantityError {
    what: &'static str,
    text: String,
    form: &'static str,
}

impl CpuCount {
    /// Thousandths of a CPU, at least 10 (the kernel's smallest quota of 1 ms in 100 ms).
    pub const fn millis(self) -> u32 {
        self.0
    }

    /// From thousandths of a CPU.
    pub const fn from_millis(millis: u32) -> Self {
        Self(millis)
    }
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let fail = || QuantityError {
            what: "size",
            text: text.chars().take(40).collect(),
            form: "a number with b, k, m, g or t",
        };
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match lower[digits.len()..].trim_end_matches("ib").trim_end_matches('b') {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            _ => return Err(fail()),
        };
        if let Ok(whole) = digits.parse::<u64>() {
            return whole.checked_mul(1 << shift).map(Self).ok_or_else(fail);
        }
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(fail());
        }
        let bytes = digits.parse::<f64>().map_err(|_| fail())? * (1u64 << shift) as f64;
        if bytes < u64::MAX as f64 { Ok(Self(bytes as u64)) } else { Err(fail()) }
    }
}

impl FromStr for CpuCount {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let fail = || QuantityError {
            what: "number of CPUs",
            text: text.chars().take(40).collect(),
            form: "a decimal such as 0.5, at least 0.01",
        };
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(fail());
        }
        let millis = (text.parse::<f64>().map_err(|_| fail())? * 1000.0).round();
        if (10.0..=10_000_000.0).contains(&millis) { Ok(Self(millis as u32)) } else { Err(fail()) }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for CpuCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1000.0)
    }
}

/// Nanoseconds of a time as Go writes it: `1m30s`, `1.5h`, `200ms`.
pub fn duration_ns(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit =
            rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len() - digits);
        let scale = match &rest[digits..digits + unit] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * scale;
        rest = &rest[digits + unit..];
    }
    (!text.is_empty() && total < u64::MAX as f64).then_some(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512", 512),
            ("1k", 1024),
            ("64m", 64 << 20),
            ("2G", 2 << 30),
            ("1.5kb", 1536),
            ("3MiB", 3 << 20),
            ("7b", 7),
        ] {
            assert_eq!(text.parse::<ByteSize>(), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in
            ["", "m", "-1", "1x", "1e3", "99999999999999999999", "18446744073709551615k", "1.2.3m", "inf"]
        {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cpus() {
        assert_eq!("1.5".parse::<CpuCount>().map(CpuCount::millis), Ok(1500));
        for bad in ["", "0", "-1", "NaN", "0.001", "1e9"] {
            assert!(bad.parse::<CpuCount>().is_err(), "{bad}");
        }
    }
}
