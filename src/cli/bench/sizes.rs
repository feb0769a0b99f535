//! How large the files of a load are: all alike, or as in a real set of images.
//!
//! The sets are modelled, not shipped. Of each the mean is a fact: published bytes over published
//! files. That sizes spread like a log-normal distribution with the deviation [`SPREAD`] is an
//! assumption, which photographs at one resolution fit about. Sizes are drawn from the number of
//! the file, so that two runs send the same ones.

use std::f64::consts::TAU;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::numbers::{float, fraction, whole};

/// Deviation of the logarithm of a size: two thirds lie within a factor of 1.65 of the middle.
const SPREAD: f64 = 0.5;

/// How far from the mean a drawn size may be, as a factor; what lies beyond is cut to it.
const REACH: f64 = 10.0;

/// Bytes of a file at most, as the server has it.
const SIZE_MAX: u64 = 1 << 40;

/// A set of images whose number of files and bytes are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ImageSet {
    /// ILSVRC 2012, training: 1,281,167 JPEG files in a tar of 147,897,477,120 bytes.
    Imagenet,
    /// COCO 2017, training: 118,287 JPEG files in a zip of 19,336,861,798 bytes.
    Coco,
}

impl ImageSet {
    /// Mean bytes of a file; what the archive itself takes is below half a percent of it.
    fn mean(self) -> f64 {
        match self {
            Self::Imagenet => 147_897_477_120.0 / 1_281_167.0,
            Self::Coco => 19_336_861_798.0 / 118_287.0,
        }
    }
}

/// The sizes of a load's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sizes {
    /// All alike, in bytes.
    Fixed(u64),
    /// As in this set.
    Drawn(ImageSet),
}

impl Sizes {
    /// Bytes of a file.
    pub(crate) fn of(self, number: u64) -> u64 {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::Drawn(set) => {
                let mean = set.mean();
                let middle = mean.ln() - SPREAD * SPREAD / 2.0;
                let size = (middle + SPREAD * normal(number)).exp();
                whole(size.clamp(mean / REACH, mean * REACH))
            }
        }
    }

    /// Mean bytes of a file.
    pub(crate) fn mean(self) -> u64 {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::Drawn(set) => whole(set.mean()),
        }
    }
}

/// A number of the standard normal distribution for each input (the method of Box and Muller).
fn normal(seed: u64) -> f64 {
    // One minus it, since the logarithm of zero is none.
    let first = 1.0 - fraction(seed.wrapping_mul(2));
    let second = fraction(seed.wrapping_mul(2).wrapping_add(1));
    (-2.0 * first.ln()).sqrt() * (TAU * second).cos()
}

/// Reads a number of bytes, such as `20480`, `20K`, `64M` or `4G` (of 1,024 each).
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let units = [(['K', 'k'], 10), (['M', 'm'], 20), (['G', 'g'], 30)];
    let mut known = units.iter().filter_map(|(letters, shift)| {
        let digits = text.strip_suffix(letters.as_slice())?;
        Some((digits, *shift))
    });
    let (digits, shift) = known.next().unwrap_or((text, 0));
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes <= SIZE_MAX)
        .ok_or_else(|| "a number of bytes is expected, such as 20480, 20K, 64M or 4G".to_owned())
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "imagenet" => Ok(Self::Drawn(ImageSet::Imagenet)),
            "coco" => Ok(Self::Drawn(ImageSet::Coco)),
            _ => bytes(text)
                .map(Self::Fixed)
                .map_err(|error| format!("{error}; or the name of a set: imagenet, coco")),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(bytes) => formatter.write_str(&shown_bytes(*bytes)),
            Self::Drawn(ImageSet::Imagenet) => formatter.write_str("as ImageNet (mean 113 KiB)"),
            Self::Drawn(ImageSet::Coco) => formatter.write_str("as COCO (mean 160 KiB)"),
        }
    }
}

/// Bytes in the largest unit that makes them at least one.
pub(crate) fn shown_bytes(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(shift, _)| bytes >= 1 << shift);
    let Some((shift, name)) = unit else {
        return format!("{bytes} B");
    };
    let number = float(bytes) / float(1 << shift);
    if number.fract() == 0.0 { format!("{number} {name}") } else { format!("{number:.1} {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        let read = |text: &str| text.parse::<Sizes>();
        assert_eq!(read("20480"), Ok(Sizes::Fixed(20_480)));
        assert_eq!(read("20K"), Ok(Sizes::Fixed(20_480)));
        assert_eq!(read("4g"), Ok(Sizes::Fixed(4 << 30)));
        assert_eq!(read("coco"), Ok(Sizes::Drawn(ImageSet::Coco)));
        for wrong in ["", "K", "20KK", "-1", "1.5M", "2000G", "photos"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn drawn_sizes_have_the_published_mean_and_the_stated_spread() {
        for set in [ImageSet::Imagenet, ImageSet::Coco] {
            let sizes = Sizes::Drawn(set);
            let drawn: Vec<f64> = (0..200_000).map(|number| float(sizes.of(number))).collect();
            let mean = drawn.iter().sum::<f64>() / 200_000.0;
            assert!((mean / set.mean() - 1.0).abs() < 0.01, "{set:?}: {mean}");
            let middle = set.mean().ln() - SPREAD * SPREAD / 2.0;
            let within = drawn.iter().filter(|size| (size.ln() - middle).abs() < SPREAD).count();
            assert!((134_000..139_000).contains(&within), "{set:?}: {within} within one deviation");
        }
    }

    #[test]
    fn the_same_file_has_the_same_size_in_every_run() {
        let sizes = Sizes::Drawn(ImageSet::Coco);
        assert_eq!(sizes.of(17), sizes.of(17));
        assert_ne!(sizes.of(17), sizes.of(18));
    }

    #[test]
    fn bytes_are_shown_in_a_unit_that_fits() {
        assert_eq!(shown_bytes(20_480), "20 KiB");
        assert_eq!(shown_bytes(1_000), "1000 B");
        assert_eq!(shown_bytes(5 << 29), "2.5 GiB");
    }
}
