//! Conversions between numbers as upstream's compiler does them on amd64, where they decide on replicas.

/// A float as a 32-bit integer, cut towards zero; what does not fit, and what is no number, is the least integer.
#[expect(clippy::cast_possible_truncation, reason = "only what fits is cut")]
pub(super) fn to_i32(value: f64) -> i32 {
    if value > f64::from(i32::MIN) - 1.0 && value < f64::from(i32::MAX) + 1.0 { value as i32 } else { i32::MIN }
}

/// The nearest float to an integer.
#[expect(clippy::cast_precision_loss, reason = "upstream's ratios are those of 64-bit floats")]
pub(super) fn to_f64(value: i64) -> f64 {
    value as f64
}

/// The nearest float to a large integer.
#[expect(clippy::cast_precision_loss, reason = "upstream's tolerances are 64-bit floats")]
pub(super) fn wide_to_f64(value: i128) -> f64 {
    value as f64
}

/// The lower half of a 64-bit integer.
#[expect(clippy::cast_possible_truncation, reason = "upstream keeps the lower half")]
pub(super) fn low_half(value: i64) -> i32 {
    value as i32
}

/// The lower half of a 128-bit integer.
#[expect(clippy::cast_possible_truncation, reason = "upstream keeps the lower half")]
pub(super) fn low_word(value: i128) -> i64 {
    value as i64
}

/// Seconds as whole nanoseconds, the nearest; what is out of range is at its end.
#[expect(clippy::cast_possible_truncation, reason = "a cast from a float saturates")]
pub(super) fn nanoseconds(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64
}

/// The whole number that a float is, if it is one.
#[expect(clippy::cast_possible_truncation, clippy::float_cmp, reason = "a whole number survives both casts unchanged")]
pub(super) fn whole(value: f64) -> Option<i64> {
    let whole = value as i64;
    (to_f64(whole) == value).then_some(whole)
}

/// A count as a float.
#[expect(clippy::cast_precision_loss, reason = "what is counted is in memory, so far less than 2^53")]
pub(super) fn count(value: usize) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_that_no_integer_holds_is_the_least_one() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 2_147_483_648.0, -2_147_483_649.0, 1e30] {
            assert_eq!(to_i32(value), i32::MIN, "{value}");
        }
        assert_eq!(to_i32(2_147_483_647.9), i32::MAX);
        assert_eq!(to_i32(-2_147_483_648.5), i32::MIN);
        assert_eq!((to_i32(1.9), to_i32(-1.9)), (1, -1));
    }
}
