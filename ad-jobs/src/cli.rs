//! The command line: what can be said, and what it means to the library.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use detect::{
    Direction, guarded,
    strict::{self, Threshold},
};
use domain::DetectionGaps as Gaps;

use crate::{
    csv_series::Series,
    detect_file::{Mode, likely_seasons},
    nab::Detector,
};

const DETECT_EXAMPLES: &str = "\
Examples:
  ad-jobs detect --csv february.csv --period 24 --column sec
  ad-jobs detect --csv february.csv --period 24 --column sec --mode strict --direction pos
  ad-jobs detect --csv 61402.2017.02.csv --period 24 --column 3 --valid-range 5,100000 --resolution 1

Prints index,timestamp,kind,value,expected,score,end: index and end are rows from 1, without the header. Rows may have a time, in one cell \
or as date and time of day in two; guarded mode puts them on the grid of their times.";

const NAB_EXAMPLES: &str = "\
The folder has the benchmark's categories as folders and combined_windows.json (or ../labels/combined_windows.json); files that are \
not there are left out. Writes results/<detector>/<category>/<detector>_<file>.csv and prints the scores of the three profiles.";

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Looks at one column of a CSV file
    #[command(after_help = DETECT_EXAMPLES)]
    Detect(Box<DetectArguments>),
    /// Scores the detectors on the Numenta Anomaly Benchmark
    #[command(after_help = NAB_EXAMPLES)]
    Nab(NabArguments),
}

/// Which method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeName {
    /// S-H-ESD as it was published.
    Strict,
    /// The same made fit for sensors.
    Guarded,
}

/// On which side to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// On either.
    Both,
    /// Above.
    #[value(alias = "positive")]
    Pos,
    /// Below.
    #[value(alias = "negative")]
    Neg,
}

/// The level below which anomalies are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// The median of the greatest values of all periods.
    #[value(name = "med_max")]
    MedMax,
    /// Their 95th percentile.
    P95,
    /// Their 99th percentile.
    P99,
}

/// What strict mode does with missing values between others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GapsName {
    /// Refuse the file.
    Refuse,
    /// Leave their rows out.
    Drop,
    /// Interpolate them.
    Interpolate,
}

/// How what is found is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// A row for each.
    Csv,
    /// An array of objects.
    Json,
}

/// The arguments of `ad-jobs detect`.
#[derive(Debug, Args)]
pub struct DetectArguments {
    /// The file
    #[arg(long, value_name = "FILE")]
    pub csv: PathBuf,
    /// The column by its name, or by its number from 1; the last if not given
    #[arg(long)]
    pub column: Option<String>,
    /// Steps of one season; in guarded mode found if not given, 0 for none
    #[arg(long)]
    pub period: Option<usize>,
    /// The method
    #[arg(long, value_enum, default_value = "guarded")]
    pub mode: ModeName,
    /// How to print what is found
    #[arg(long, value_enum, default_value = "csv")]
    pub format: OutputFormat,
    /// The greatest share of values that may be anomalies, below 0.5
    #[arg(long, default_value_t = 0.2, allow_negative_numbers = true)]
    pub max_anoms: f64,
    /// Chance of finding an anomaly where there is none
    #[arg(long, default_value_t = 0.05)]
    pub alpha: f64,
    /// On which side to look
    #[arg(long, value_enum, default_value = "both")]
    pub direction: Side,
    /// Strict mode: steps that share a median and a season
    #[arg(long, value_name = "STEPS")]
    pub long_term: Option<usize>,
    /// Strict mode: leave anomalies below this level out
    #[arg(long, value_enum)]
    pub threshold: Option<Level>,
    /// Strict mode: anomalies of the last season alone
    #[arg(long)]
    pub only_last: bool,
    /// Strict mode: what to do with missing values between others
    #[arg(long, value_enum, default_value = "refuse")]
    pub gaps: GapsName,
    /// Guarded mode: the smallest difference the sensor can tell; taken from the decimals if not given
    #[arg(long)]
    pub resolution: Option<f64>,
    /// Guarded mode: values outside are not usable, and are an outage
    #[arg(long, value_name = "LOW,HIGH", value_parser = span, allow_hyphen_values = true)]
    pub valid_range: Option<(f64, f64)>,
}

/// Reads `LOW,HIGH`.
fn span(text: &str) -> Result<(f64, f64), String> {
    let ends = text.split_once(',').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
    ends.filter(|(low, high): &(f64, f64)| low <= high)
        .ok_or_else(|| "two numbers LOW,HIGH with LOW <= HIGH".to_owned())
}

impl DetectArguments {
    /// What is asked for, of a series.
    pub fn mode(&self, series: &Series) -> anyhow::Result<Mode> {
        let direction = match self.direction {
            Side::Both => Direction::Both,
            Side::Pos => Direction::Positive,
            Side::Neg => Direction::Negative,
        };
        match self.mode {
            ModeName::Strict => self.strict(direction),
            ModeName::Guarded => self.guarded(direction, series),
        }
    }

    fn strict(&self, direction: Direction) -> anyhow::Result<Mode> {
        let Some(period) = self.period else { bail!("--period is needed in strict mode") };
        if self.resolution.is_some() || self.valid_range.is_some() {
            bail!("--resolution and --valid-range are for guarded mode");
        }
        let threshold = self.threshold.map(|level| match level {
            Level::MedMax => Threshold::MedianOfMaxima,
            Level::P95 => Threshold::Percentile95,
            Level::P99 => Threshold::Percentile99,
        });
        let gaps = match self.gaps {
            GapsName::Refuse => Gaps::Refuse,
            GapsName::Drop => Gaps::Drop,
            GapsName::Interpolate => Gaps::Interpolate,
        };
        let settings = strict::Settings {
            period,
            anomalies_max: self.max_anoms,
            alpha: self.alpha,
            direction,
            piece: self.long_term,
            threshold,
            only_last: self.only_last,
        };
        Ok(Mode::Strict(settings, gaps))
    }

    fn guarded(&self, direction: Direction, series: &Series) -> anyhow::Result<Mode> {
        if self.long_term.is_some() || self.threshold.is_some() || self.only_last || self.gaps != GapsName::Refuse {
            bail!("--long-term, --threshold, --only-last and --gaps are for strict mode");
        }
        if !(0.0..0.5).contains(&self.max_anoms) {
            bail!("--max-anoms is `{}`: must be from 0 to less than 0.5", self.max_anoms);
        }
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            bail!("--alpha is `{}`: must be between 0 and 1", self.alpha);
        }
        if let Some(resolution) = self.resolution.filter(|resolution| !(resolution.is_finite() && *resolution > 0.0)) {
            bail!("--resolution is `{resolution}`: must be a positive number");
        }
        let season = match self.period {
            Some(0) => guarded::Season::None,
            Some(1) => bail!("--period is `1`: must be at least 2, or 0 for no season"),
            Some(period) => guarded::Season::Of(period),
            None => guarded::Season::Find { likely: likely_seasons(series) },
        };
        let settings = guarded::Settings {
            season,
            anomalies_max: self.max_anoms,
            alpha: self.alpha,
            direction,
            resolution: self.resolution,
            ..guarded::Settings::default()
        };
        Ok(Mode::Guarded(settings, self.valid_range))
    }
}

/// The arguments of `ad-jobs nab`.
#[derive(Debug, Args)]
pub struct NabArguments {
    /// The folder with the benchmark's series
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Where the results go
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The method; both if not given
    #[arg(long, value_enum)]
    pub mode: Option<ModeName>,
}

impl NabArguments {
    /// The detectors that are asked for.
    pub fn detectors(&self) -> Vec<Detector> {
        match self.mode {
            None => Detector::ALL.to_vec(),
            Some(ModeName::Strict) => vec![Detector::Strict],
            Some(ModeName::Guarded) => vec![Detector::Guarded],
        }
    }
}
