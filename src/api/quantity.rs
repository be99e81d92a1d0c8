//! Sizes as Kubernetes writes them, such as `10Gi`
//! (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>).

/// Reads a size as a number of bytes; a fraction of a byte counts as a whole one.
///
/// # Errors
/// A sentence about a text that is no size.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is no size; write a number and a unit, such as 10Gi, 500M or 1e9");
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (power_of_two, power_of_ten): (u32, i32) = match unit {
        "" => (0, 0),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        exponent => {
            let exponent = exponent
                .strip_prefix(['e', 'E'])
                .and_then(|exponent| exponent.parse().ok())
                .filter(|exponent| (-18..=18).contains(exponent));
            (0, exponent.ok_or_else(wrong)?)
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err(wrong());
    }
    // In units of 10^-(digits of the fraction), so that nothing is lost.
    let fraction = &fraction[..fraction.len().min(9)];
    let number: u128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
    let scale = power_of_ten - i32::try_from(fraction.len()).map_err(|_| wrong())?;
    let factor = 10_u128.checked_pow(scale.unsigned_abs());
    let shifted = number.checked_mul(1 << power_of_two);
    let (Some(factor), Some(shifted)) = (factor, shifted) else {
        return Err(wrong());
    };
    let value = if scale < 0 {
        Some(shifted.div_ceil(factor))
    } else {
        shifted.checked_mul(factor)
    };
    value
        .and_then(|value| u64::try_from(value).ok())
        .ok_or_else(wrong)
}

/// Writes a number of bytes for people, in the largest binary unit of which it has at least one.
pub fn format(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths = tenths.div_ceil(1024);
        unit += 1;
    }
    if tenths.is_multiple_of(10) {
        format!("{} {}", tenths / 10, UNITS[unit])
    } else {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1)),
            ("1Ki", Some(1024)),
            ("10Gi", Some(10 << 30)),
            ("1.5Gi", Some(3 << 29)),
            (".5Gi", Some(1 << 29)),
            ("500M", Some(500_000_000)),
            ("1e9", Some(1_000_000_000)),
            ("2E3", Some(2000)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("1500m", Some(2)),
            ("16Ei", None),
            ("", None),
            (".", None),
            ("Gi", None),
            ("-1", None),
            ("1.2.3", None),
            ("10 Gi", None),
            ("10GB", None),
            ("1e99", None),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_written_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (10 << 30, "10 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(format(bytes), text, "{bytes}");
        }
    }
}
