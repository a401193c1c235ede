//! Long commands: one line that says what runs and for how long, and all they printed if they fail.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Read, Seek, SeekFrom, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::signals;

/// Without a terminal, how often a line says that the command still runs.
const REPORT_SECONDS: u64 = 15;
/// How many lines of a failed command's output are shown.
const TAIL_LINES: usize = 40;
/// How long a command may take to end after we asked it to.
const STOP_SECONDS: u64 = 5;

/// Runs `command` to its end, showing `what` and the elapsed time. Fails if it does, with the end
/// of its output; an interrupt stops it and everything it started.
pub fn run(what: &str, command: &mut Command) -> Result<()> {
    let log = Log::new()?;
    let started = Instant::now();
    let mut shown = Line::new(what);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log.file.try_clone()?)
        .stderr(log.file.try_clone()?)
        .process_group(0) // Ctrl-C reaches us alone; we stop the command in order
        .spawn()
        .with_context(|| format!("{what}: cannot start {}", command.get_program().display()))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if signals::interrupted() {
            shown.finish("stopped", started.elapsed());
            stop(&mut child);
            bail!("{what}: interrupted");
        }
        shown.update(started.elapsed(), &log);
        thread::sleep(Duration::from_millis(signals::LOOK_MS));
    };
    if status.success() {
        shown.finish("done", started.elapsed());
        return Ok(());
    }
    shown.finish("FAILED", started.elapsed());
    bail!("{what}: {}\n{}", describe(status), log.tail(TAIL_LINES));
}

/// Asks the process group of `child` to end, and ends it if it does not.
pub fn stop(child: &mut Child) {
    let Ok(pid) = libc::pid_t::try_from(child.id()) else {
        return;
    };
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    let deadline = Instant::now() + Duration::from_secs(STOP_SECONDS);
    // SAFETY: kill has no memory effects; the group is our own child's, not yet reaped.
    unsafe { libc::kill(-pid, libc::SIGTERM) };
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    // SAFETY: as above.
    unsafe { libc::kill(-pid, libc::SIGKILL) };
    let _ = child.wait();
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The line on the terminal.
struct Line<'a> {
    what: &'a str,
    terminal: bool,
    last: u64,
}

impl<'a> Line<'a> {
    fn new(what: &'a str) -> Self {
        let terminal = io::stdout().is_terminal();
        if !terminal {
            println!("  {what} …");
        }
        Self {
            what,
            terminal,
            last: 0,
        }
    }

    fn update(&mut self, elapsed: Duration, log: &Log) {
        let seconds = elapsed.as_secs();
        let due = if self.terminal { 1 } else { REPORT_SECONDS };
        if seconds < self.last + due {
            return;
        }
        self.last = seconds;
        let what = self.what;
        let now: String = log.tail(1).trim().chars().take(60).collect();
        if self.terminal {
            print!("\r\x1b[K  {what} … {seconds} s  {now}");
            let _ = io::stdout().flush();
        } else {
            println!("  {what} … {seconds} s  {now}");
        }
    }

    fn finish(&mut self, result: &str, elapsed: Duration) {
        let begin = if self.terminal { "\r\x1b[K" } else { "" };
        println!(
            "{begin}  {} … {result} in {:.1} s",
            self.what,
            elapsed.as_secs_f64()
        );
    }
}

/// A command's output, in a file that goes away with this value.
struct Log {
    file: File,
    path: PathBuf,
}

impl Log {
    fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hopzero-xtask-{}-{number}.log", process::id());
        let path = std::env::temp_dir().join(name);
        let file = File::options()
            .create_new(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { file, path })
    }

    fn tail(&self, lines: usize) -> String {
        tail(&self.path, lines).unwrap_or_default()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The last lines of a file.
pub fn tail(path: &Path, lines: usize) -> io::Result<String> {
    const READ_BYTES: u64 = 16 * 1024;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_what_the_command_printed() {
        let error = run(
            "a test",
            Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]),
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("exit code 3"), "{error}");
        assert!(error.contains("out\nerr"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run("a test", &mut Command::new("no-such-program-of-ours")).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program-of-ours"));
    }

    #[test]
    fn stopping_ends_the_whole_group() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 100 & sleep 100"])
            .process_group(0)
            .spawn()
            .unwrap();
        let group = libc::pid_t::try_from(child.id()).unwrap();
        stop(&mut child);
        let deadline = Instant::now() + Duration::from_secs(5);
        // SAFETY: signal 0 only asks whether the group exists.
        while unsafe { libc::kill(-group, 0) } == 0 {
            assert!(Instant::now() < deadline, "the group is still there");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
