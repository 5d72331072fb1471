//! What the program `ad-jobs` does with files: looks at a column, scores detectors on a benchmark, and prints how it went.

use std::{io, sync::Mutex, thread};

use anyhow::Context;

use crate::{
    cli::{Command, DetectArguments, NabArguments, OutputFormat},
    csv_series, detect_file,
    nab::{self, Corpus, Detector, Profile, ScoredFile},
};

/// Does what a command says.
///
/// # Errors
/// Where a file can't be read or written, or what is asked for makes no sense.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Detect(arguments) => detect(&arguments),
        Command::Nab(arguments) => benchmark(&arguments),
    }
}

fn detect(arguments: &DetectArguments) -> anyhow::Result<()> {
    let series = csv_series::read(&arguments.csv, arguments.column.as_deref())?;
    let report = detect_file::detect(&series, &arguments.mode(&series)?)?;
    for note in &report.notes {
        eprintln!("{note}");
    }
    let out = io::stdout().lock();
    let written = match arguments.format {
        OutputFormat::Csv => detect_file::write_csv(&report.found, out),
        OutputFormat::Json => detect_file::write_json(&report.found, out),
    };
    match written {
        // Who reads has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("can't write what was found"),
    }
}

fn benchmark(arguments: &NabArguments) -> anyhow::Result<()> {
    let corpus = nab::load(&arguments.data)?;
    anyhow::ensure!(!corpus.files.is_empty(), "`{}` has none of the labelled files", arguments.data.display());
    println!("{} files", corpus.files.len());
    for detector in arguments.detectors() {
        let scores = scores(&corpus, detector);
        for (file, scores) in corpus.files.iter().zip(&scores) {
            nab::write_results(&arguments.out, file, detector, scores).context("can't write results")?;
        }
        let scored: Vec<ScoredFile<'_>> = corpus
            .files
            .iter()
            .zip(&scores)
            .map(|(file, scores)| ScoredFile { scores, windows: &file.windows })
            .collect();
        for profile in &Profile::ALL {
            let rated = nab::rate(&scored, profile);
            println!(
                "{:14} {:20} {:6.2}  threshold {:.4}, {} of {} windows, {} false detections",
                detector.name(),
                profile.name,
                rated.score,
                rated.threshold,
                rated.detected,
                rated.windows,
                rated.false_detections
            );
        }
    }
    Ok(())
}

/// The scores of all files, computed on all processors.
fn scores(corpus: &Corpus, detector: Detector) -> Vec<Vec<f64>> {
    let (next, scores) = (Mutex::new(0..corpus.files.len()), Mutex::new(vec![Vec::new(); corpus.files.len()]));
    let take = || next.lock().expect("no thread panics while it takes a number").next();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(index) = take() {
                    let of_file = nab::score_file(&corpus.files[index], detector);
                    scores.lock().expect("no thread panics while it puts scores")[index] = of_file;
                }
            });
        }
    });
    scores.into_inner().expect("all threads have ended")
}
