//! Numbers on a grid of steps, written as JSON without a detour through floating point text.

/// The largest count of steps a value may have; far from where `f64` loses whole numbers.
const STEPS_MAX: f64 = 1e15;

/// The grid of a property's values: whole multiples of a resolution that has up to nine decimals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// The resolution in units of the last decimal.
    multiple: i64,
    decimals: u32,
    resolution: f64,
}

impl Grid {
    /// Makes the grid of a resolution; `None` when it is not positive or has more than nine decimals.
    pub fn new(resolution: f64) -> Option<Self> {
        if !(resolution > 0.0 && resolution < STEPS_MAX) {
            return None;
        }
        (0..=9).find_map(|decimals| {
            let scaled = resolution * 10_f64.powi(decimals);
            let multiple = scaled.round();
            let whole = multiple >= 1.0 && (scaled - multiple).abs() < 1e-13 * multiple;
            whole.then_some(Self { multiple: multiple as i64, decimals: decimals.unsigned_abs(), resolution })
        })
    }

    /// Makes a grid of about a thousand steps over a span.
    pub fn for_span(width: f64) -> Self {
        let decimals = (3.0 - width.max(1e-6).log10().floor()).clamp(0.0, 9.0);
        let resolution = 10_f64.powi(-(decimals as i32));
        Self { multiple: 1, decimals: decimals as u32, resolution }
    }

    /// Returns the value nearest to `number`, in units of the last decimal.
    pub fn nearest(self, number: f64) -> i64 {
        let steps = (number / self.resolution).round().clamp(-STEPS_MAX, STEPS_MAX);
        (steps as i64).saturating_mul(self.multiple)
    }

    /// Appends a value as decimal text, without needless zeros.
    pub fn write(self, value: i64, out: &mut impl bytes::BufMut) {
        let mut digits = [0_u8; 32];
        let mut at = digits.len();
        let mut rest = value.unsigned_abs();
        let mut decimals = self.decimals;
        while decimals > 0 && rest.is_multiple_of(10) {
            rest /= 10;
            decimals -= 1;
        }
        let mut written = 0;
        while rest > 0 || written <= decimals {
            if written == decimals && decimals > 0 {
                at -= 1;
                digits[at] = b'.';
            }
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            written += 1;
        }
        if value < 0 {
            at -= 1;
            digits[at] = b'-';
        }
        out.put_slice(&digits[at..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    fn text(grid: Grid, value: i64) -> String {
        let mut out = Vec::new();
        grid.write(value, &mut out);
        String::from_utf8(out).expect("digits")
    }

    fn check(resolution: f64, number: f64, expected: &str) {
        let grid = Grid::new(resolution).expect("valid resolution");
        assert_eq!(text(grid, grid.nearest(number)), expected, "{number} at {resolution}");
    }

    #[test]
    fn numbers_are_written_at_their_resolution() {
        check(1.0, 904.4, "904");
        check(0.01, 7.342, "7.34");
        check(0.01, 7.3, "7.3");
        check(0.01, 0.004, "0");
        check(0.01, -0.05, "-0.05");
        check(0.1, 99_999.0, "99999");
        check(0.5, 1.3, "1.5");
        check(0.25, -1.3, "-1.25");
        check(5.0, 23.0, "25");
        check(0.001, 1000.0, "1000");
        check(1.0, f64::INFINITY, "1000000000000000");
    }

    #[test]
    fn resolution_that_is_no_step_is_refused() {
        for resolution in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-12, std::f64::consts::PI] {
            assert_eq!(Grid::new(resolution), None, "{resolution}");
        }
    }

    #[test]
    fn span_without_resolution_gets_about_a_thousand_steps() {
        assert_eq!(Grid::for_span(40.0).resolution, 0.01);
        assert_eq!(Grid::for_span(5000.0).resolution, 1.0);
        assert_eq!(Grid::for_span(1e9).resolution, 1.0);
    }

    proptest! {
        #[test]
        fn text_reads_back_as_the_shortest_text_of_its_number(value in -1_000_000_000_000_i64..1_000_000_000_000, decimals in 0_i32..5) {
            let grid = Grid::new(10_f64.powi(-decimals)).expect("a power of ten");
            let written = text(grid, value);
            let number: f64 = written.parse().expect("a number");
            prop_assert_eq!(written, number.to_string());
        }
    }
}
