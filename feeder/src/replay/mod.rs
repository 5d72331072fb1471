//! Replays the CSV files of one sensor: in order, at a pace, going on where it stopped.
//!
//! **Invariant:** a line is posted again only as long as the hub has not answered for it; what it answered for is saved
//! before the next line is posted.

mod passes;
mod progress;
mod source;
mod state;
mod summary;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use hyper::{Method, Uri};
use serde::Deserialize;

pub use self::passes::Pass;
pub use self::source::LINE_BYTES_MAX;
pub use self::summary::{REFUSED_LINES_MAX, RefusedLine, Summary};

use self::passes::Passes;
use self::progress::Progress;
use self::source::{Line, Position, Source};
use self::state::{Identity, State, StateFile};
use self::summary::VALUE_CHARS_MAX;
use crate::dialect::{LineClock, Moment};
use crate::http::{Endpoint, Request};
use crate::hub::{Acknowledgement, Hub, Rejection};
use crate::pace::{Pace, Pacer};
use crate::sensor_type::{SensorType, check_id};
use crate::stop::Stop;

/// The type of a sensor that the hub does not know and the user does not name: the paper's boreholes.
pub const DEFAULT_SENSOR_TYPE: &str = "emb";
/// The most lines in one post: a hub names up to this many refused ones.
pub const BATCH_LINES_MAX: usize = 1000;
/// A post is not made longer once it has this many bytes.
const BATCH_BYTES: usize = 256 << 10;
/// How long the hub may be out of reach before the first line is posted.
const FIRST_CONTACT_PATIENCE: Duration = Duration::from_secs(30);

/// What to replay, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The hub's URL.
    pub hub: String,
    /// The sensor whose readings the files hold.
    pub sensor: String,
    /// Its type; none asks the hub for the sensor's, and takes [`DEFAULT_SENSOR_TYPE`] when it does not know the sensor.
    pub sensor_type: Option<String>,
    /// The files, in order.
    pub files: Vec<PathBuf>,
    /// How fast.
    pub pace: Pace,
    /// The most lines in one post when several are due, 1 to [`BATCH_LINES_MAX`].
    pub batch: usize,
    /// Which of its two times a line means whose hour came twice, where the order of the lines does not tell; none refuses such lines.
    pub repeated_hour: Option<Pass>,
    /// Where to remember how far it came; none chooses a file by hub, sensor, type and files in the user's state folder.
    pub state: Option<PathBuf>,
    /// Whether to forget how far an earlier run came.
    pub restart: bool,
    /// How long the hub may be out of reach or busy before the replay ends with an error.
    pub give_up_after: Duration,
    /// Whether to show nothing on standard error.
    pub quiet: bool,
    /// Ends the replay early, to be continued.
    pub stop: Stop,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hub: "http://127.0.0.1:8080".to_owned(),
            sensor: String::new(),
            sensor_type: None,
            files: Vec::new(),
            pace: Pace::Every(Duration::from_secs(10)),
            batch: 500,
            repeated_hour: None,
            state: None,
            restart: false,
            give_up_after: Duration::from_secs(3600),
            quiet: false,
            stop: Stop::default(),
        }
    }
}

impl Options {
    fn validate(&self) -> anyhow::Result<()> {
        check_id("sensor", &self.sensor)?;
        if let Some(sensor_type) = &self.sensor_type {
            check_id("type", sensor_type)?;
        }
        if self.files.is_empty() {
            bail!("files: name at least one CSV file");
        }
        if !(1..=BATCH_LINES_MAX).contains(&self.batch) {
            bail!("batch: `{}` is not from 1 to {BATCH_LINES_MAX}", self.batch);
        }
        Ok(())
    }
}

/// Replays files until their end, or until stopped.
///
/// # Errors
///
/// When an option makes no sense, a file cannot be read or changed since it was replayed, the hub refuses a post as a whole
/// or stays out of reach, or the state cannot be saved. What was acknowledged before is saved.
pub async fn run(options: Options) -> anyhow::Result<Summary> {
    options.validate()?;
    let mut bytes_total = 0;
    for path in &options.files {
        bytes_total += Source::check(path)?;
    }
    let progress = Progress::new(bytes_total, options.quiet);
    let endpoint = Endpoint::parse(&options.hub)?;
    let patience = FIRST_CONTACT_PATIENCE.min(options.give_up_after);
    let mut hub = Hub::new(endpoint, patience, options.stop.clone())?.with_notice(progress.notice());
    let Some(sensor_type) = find_type(&mut hub, &options, &progress).await? else { return Ok(Summary::default()) };
    hub.set_give_up_after(options.give_up_after);

    let identity = identity(&options, &hub, &sensor_type)?;
    let state_path = options.state.clone().map_or_else(|| identity.default_path(), Ok)?;
    let state_file = StateFile::open(&state_path)?;
    if options.restart {
        state_file.clear()?;
    }
    let state = state_file.load(&identity)?.unwrap_or_else(|| State::new(identity));
    let mut replay = Replay::new(&options, hub, (state_file, state), progress, &sensor_type)?;
    let result = replay.run(&options.files).await;
    replay.summary.retries = replay.hub.retries();
    replay.summary.elapsed = replay.started.elapsed();
    if result.is_err() && replay.summary.accepted + replay.summary.refused > 0 {
        replay.progress.notice()(&replay.summary.to_string());
    }
    result.map(|()| replay.summary)
}

/// Finds the type to post to; `None` when stopped before the hub answered.
async fn find_type(hub: &mut Hub, options: &Options, progress: &Progress) -> anyhow::Result<Option<SensorType>> {
    #[derive(Deserialize)]
    struct Sensor {
        sensor_type: String,
    }
    let sensor = &options.sensor;
    let registered: Option<Sensor> = hub.get(&format!("/v1/sensors/{sensor}")).await?;
    let id = match (&options.sensor_type, registered) {
        (Some(named), Some(registered)) if *named != registered.sensor_type => {
            bail!("type: sensor `{sensor}` is of type `{}`, not `{named}`", registered.sensor_type);
        }
        (_, Some(registered)) => registered.sensor_type,
        (Some(named), None) => named.clone(),
        (None, None) => {
            progress.notice()(&format!(
                "the hub does not know sensor `{sensor}` yet: posting it as type `{DEFAULT_SENSOR_TYPE}` (--type says otherwise)"
            ));
            DEFAULT_SENSOR_TYPE.to_owned()
        }
    };
    let sensor_type = SensorType::fetch(hub, &id).await?;
    if sensor_type.is_none() && !options.stop.requested() {
        bail!("type: the hub {} has no sensor type `{id}`", hub.endpoint());
    }
    Ok(sensor_type)
}

fn identity(options: &Options, hub: &Hub, sensor_type: &SensorType) -> anyhow::Result<Identity> {
    let mut files = Vec::with_capacity(options.files.len());
    for path in &options.files {
        let absolute = path.canonicalize().with_context(|| format!("file `{}`: cannot be found", path.display()))?;
        if files.contains(&absolute) {
            bail!("files: `{}` is named twice", path.display());
        }
        files.push(absolute);
    }
    Ok(Identity {
        hub: hub.endpoint().to_string(),
        sensor: options.sensor.clone(),
        sensor_type: sensor_type.id.clone(),
        files,
    })
}

/// Lines that are posted together; they come from one file.
#[derive(Debug, Default)]
struct Batch {
    body: Vec<u8>,
    /// The number in the file of each line in `body`.
    line_numbers: Vec<u64>,
    /// Which of their two times those of them mean whose hour came twice.
    pass: Option<Pass>,
}

/// A replay under way.
struct Replay {
    hub: Hub,
    path: String,
    uri: Uri,
    pacer: Pacer,
    /// Present when lines are paced by their times.
    clock: Option<LineClock>,
    /// What is known of hours that come twice, and what tells them; none where clocks never go back.
    passes: Option<(LineClock, Passes)>,
    /// Which of the two is meant where that does not tell.
    repeated_hour: Option<Pass>,
    header: bool,
    batch_lines: usize,
    started: Instant,
    stop: Stop,
    state_file: StateFile,
    state: State,
    progress: Progress,
    summary: Summary,
    batch: Batch,
}

impl Replay {
    fn new(
        options: &Options,
        hub: Hub,
        (state_file, state): (StateFile, State),
        progress: Progress,
        sensor_type: &SensorType,
    ) -> anyhow::Result<Self> {
        let dialect = sensor_type.csv.as_ref().with_context(|| {
            format!("type: sensor type `{}` has no CSV dialect, so its files cannot be replayed", sensor_type.id)
        })?;
        let path = format!("/v1/readings/{}?sensor_id={}", sensor_type.id, options.sensor);
        let uri = hub.endpoint().path(&path)?;
        let clock = match options.pace {
            Pace::Speed(_) => Some(LineClock::new(dialect)?),
            Pace::Every(_) | Pace::AsFastAsPossible => None,
        };
        // Where the feeder can't read times, the hub tells by the lines of each post, or refuses them.
        let line_clock = LineClock::new(dialect).ok().filter(LineClock::has_changes);
        let passes =
            line_clock.map(|clock| Passes::scan(&options.files, dialect.header, &clock).map(|passes| (clock, passes)));
        let resumed_lines = state.positions.iter().map(|position| position.line).sum();
        let summary = Summary { resumed_lines, refused_before: state.refused, ..Summary::default() };
        progress.notice()(&format!(
            "replaying {} files as sensor `{}` of type `{}` to {}, {}{}",
            options.files.len(),
            options.sensor,
            sensor_type.id,
            hub.endpoint(),
            options.pace,
            if resumed_lines > 0 { format!(", going on after {resumed_lines} lines") } else { String::new() },
        ));
        Ok(Self {
            hub,
            path,
            uri,
            pacer: Pacer::new(options.pace),
            clock,
            passes: passes.transpose()?,
            repeated_hour: options.repeated_hour,
            header: dialect.header,
            batch_lines: if matches!(options.pace, Pace::Every(_)) { 1 } else { options.batch },
            started: Instant::now(),
            stop: options.stop.clone(),
            state_file,
            state,
            progress,
            summary,
            batch: Batch::default(),
        })
    }

    async fn run(&mut self, files: &[PathBuf]) -> anyhow::Result<()> {
        for (file, path) in files.iter().enumerate() {
            let mut source = Source::open(path, self.header, self.state.positions[file])?;
            if !self.replay_file(file, &mut source).await? {
                return Ok(());
            }
        }
        self.summary.complete = true;
        self.state_file.clear()
    }

    /// Replays one file from where it was left; returns false when stopped before its end.
    async fn replay_file(&mut self, file: usize, source: &mut Source) -> anyhow::Result<bool> {
        let mut line = Vec::new();
        let mut read_to = source.position();
        loop {
            if self.stop.requested() {
                return Ok(false);
            }
            let Some(kind) = source.next_line(&mut line)? else { break };
            let pass =
                if kind == Line::Reading { self.pass_of((file, source.position().line), &line) } else { Ok(None) };
            if let Err(refusal) = pass {
                self.refuse(source, source.position().line, *refusal);
            } else if kind == Line::Reading {
                let pass = pass.unwrap_or_default();
                let time = self.clock.as_ref().and_then(|clock| Some(time_of(clock.moment_of(&line)?, pass)));
                let due = self.pacer.next_due(time, self.started.elapsed());
                if due > self.started.elapsed()
                    && !(self.post(file, source, read_to).await? && self.wait_until(due).await)
                {
                    return Ok(false);
                }
                let is_other_pass = self.batch.pass.is_some() && pass.is_some() && self.batch.pass != pass;
                if is_other_pass && !self.post(file, source, read_to).await? {
                    return Ok(false);
                }
                self.batch.pass = self.batch.pass.or(pass);
                if self.batch.body.is_empty() {
                    // Each post is a whole document of the dialect.
                    self.batch.body.extend_from_slice(source.header());
                }
                self.batch.body.extend_from_slice(&line);
                self.batch.line_numbers.push(source.position().line);
            }
            if kind == Line::TooLong {
                self.refuse(source, source.position().line, too_long());
            }
            read_to = source.position();
            let full = self.batch.line_numbers.len() >= self.batch_lines || self.batch.body.len() >= BATCH_BYTES;
            if full && !self.post(file, source, read_to).await? {
                return Ok(false);
            }
        }
        self.post(file, source, read_to).await
    }

    /// Returns which of its two times a line means, none where it has one.
    ///
    /// # Errors
    ///
    /// The refusal of a line of which that cannot be told.
    fn pass_of(&self, place: (usize, u64), line: &[u8]) -> Result<Option<Pass>, Box<Rejection>> {
        let Some((clock, passes)) = &self.passes else { return Ok(None) };
        let Some(Moment::Twice { .. }) = clock.moment_of(line) else { return Ok(None) };
        match passes.of(place).or(self.repeated_hour) {
            Some(pass) => Ok(Some(pass)),
            None => Err(Box::new(untold(clock.zone_name()))),
        }
    }

    /// Waits for a due time, counted from the start; returns false when stopped before it.
    async fn wait_until(&mut self, due: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.wait() => false,
            () = tokio::time::sleep_until((self.started + due).into()) => true,
        }
    }

    /// Posts the batch, then saves that `file` is done up to `read_to`; returns false when stopped before an answer.
    async fn post(&mut self, file: usize, source: &Source, read_to: Position) -> anyhow::Result<bool> {
        if !self.batch.line_numbers.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            let body = Bytes::from(batch.body);
            let uri = match batch.pass {
                None => self.uri.clone(),
                Some(pass) => self.hub.endpoint().path(&format!("{}&repeated_hour={}", self.path, pass.name()))?,
            };
            let request = Request { method: Method::POST, uri, content_type: Some("text/csv"), body };
            let lines = (batch.line_numbers[0], batch.line_numbers[batch.line_numbers.len() - 1]);
            let context = || format!("file `{}`, lines {} to {}", source.path().display(), lines.0, lines.1);
            let answer = self.hub.post_readings(&request).await.with_context(context)?;
            let Some((acknowledgement, _)) = answer else { return Ok(false) };
            self.note(source, &batch.line_numbers, acknowledgement).with_context(context)?;
        }
        if self.state.positions[file] != read_to {
            self.state.positions[file] = read_to;
            self.state_file.save(&self.state)?;
            let (accepted, refused) = (self.state.accepted, self.state.refused);
            let done = self.state.positions.iter().map(|position| position.offset).sum();
            self.progress.at(done, || {
                format!("{}:{} accepted {accepted}, refused {refused}", source.path().display(), read_to.line)
            });
        }
        Ok(true)
    }

    /// Takes note of how the hub answered for the lines of a post.
    fn note(&mut self, source: &Source, line_numbers: &[u64], answer: Acknowledgement) -> anyhow::Result<()> {
        let (sent, refused) = (line_numbers.len() as u64, answer.refused());
        if answer.accepted + refused != sent {
            bail!("the hub answered for `{}` readings of the {sent} lines posted", answer.accepted + refused);
        }
        self.summary.accepted += answer.accepted;
        self.state.accepted += answer.accepted;
        let unnamed = refused - answer.rejected.len() as u64;
        self.state.refused += unnamed;
        self.summary.refused += unnamed;
        for rejection in answer.rejected {
            let Some(line) = line_numbers.get(usize::try_from(rejection.index).unwrap_or(usize::MAX)) else {
                bail!("the hub refused reading `{}` of the {sent} lines posted", rejection.index);
            };
            self.refuse(source, *line, rejection);
        }
        Ok(())
    }

    fn refuse(&mut self, source: &Source, line: u64, rejection: Rejection) {
        self.state.refused += 1;
        let value = rejection.value_text(VALUE_CHARS_MAX);
        let file = source.path().to_owned();
        let field = rejection.field_name().map(str::to_owned);
        self.summary.refuse(RefusedLine { file, line, field, value, reason: rejection.reason });
    }
}

/// When a line was observed.
fn time_of(moment: Moment, pass: Option<Pass>) -> jiff::Timestamp {
    match (moment, pass) {
        (Moment::Twice { second, .. }, Some(Pass::Second)) => second,
        _ => moment.first(),
    }
}

fn untold(zone: &str) -> Rejection {
    let reason = format!(
        "the hour came twice in {zone}, when clocks went back, and the order of the lines does not tell which is meant: \
         --repeated-hour says it"
    );
    Rejection { index: 0, field: None, value: None, reason }
}

fn too_long() -> Rejection {
    let reason = format!("is longer than {LINE_BYTES_MAX} bytes");
    Rejection { index: 0, field: None, value: None, reason }
}
