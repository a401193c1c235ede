//! Runs one case: a server block, its upstreams, and the steps one after the other.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hopzero::{
    corefile::Corefile,
    plugin::{Environment, forward::counters::Proto},
    server::{Server, Servers},
    socket::{self, Transport},
    source::Change,
};
use tempfile::TempDir;
use tokio::{net::UdpSocket, task::JoinHandle, time::timeout};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{
    certificates::Certificates,
    log::Lines,
    script::Case,
    text,
    upstream::{Back, Upstream},
};

/// For what has to come. A case that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(4);
/// For what must not come.
const QUIET: Duration = Duration::from_millis(60);

type Answer = JoinHandle<Result<Vec<u8>, socket::DropReason>>;

struct World {
    directory: TempDir,
    environment: Environment,
    servers: Servers,
    server: Arc<Server>,
    upstreams: BTreeMap<String, Upstream>,
    dead: SocketAddr,
    /// Those who asked, with their messages.
    waiting: VecDeque<(Vec<u8>, Answer)>,
    lines: Lines,
    lines_read: usize,
}

pub fn run(case: &Case, certificates: &Certificates) -> Result<(), String> {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(lines.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut upstreams = BTreeMap::new();
        for name in ["A", "B", "C"] {
            let upstream = Upstream::start(Arc::clone(&certificates.server)).await;
            upstreams.insert(name.to_owned(), upstream);
        }
        let dead = {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.local_addr().unwrap()
        };
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in &case.files {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        let mut block = (case.block).replace("$DIR", directory.path().to_str().unwrap());
        for (name, upstream) in &upstreams {
            block = block
                .replace(&format!("${name}.tls"), &upstream.tls.to_string())
                .replace(&format!("${name}"), &upstream.address.to_string());
        }
        for file in ["ca.pem", "stranger.pem", "client.pem", "client-key.pem"] {
            let path = certificates.file(file);
            block = block.replace(&format!("%{file}"), path.to_str().unwrap());
        }
        block = block.replace("$DEAD", &dead.to_string());
        let text = format!("{} {{\nerrors\n{block}\n}}\n", case.keys);
        let mut environment = Environment::default();
        environment.timeouts.total = Duration::from_secs(1);
        environment.timeouts.probe = Duration::from_millis(100);
        let built = Corefile::parse(Path::new("Corefile"), text, &|_| None)
            .and_then(|corefile| Servers::build(&corefile, 53, &environment));
        if let [step] = case.steps.as_slice()
            && let Some(expected) = step.strip_prefix("fault ")
        {
            let error = built.err().ok_or("the server block can be used")?;
            return check("fault", &error.to_string(), &format!("…{expected}…"));
        }
        let servers = built.map_err(|error| error.to_string())?;
        let server = Arc::clone(servers.iter().next().unwrap().1);
        let mut world = World {
            directory,
            environment,
            servers,
            server,
            upstreams,
            dead,
            waiting: VecDeque::new(),
            lines,
            lines_read: 0,
        };
        for (number, step) in case.steps.iter().enumerate() {
            (world.step(step).await)
                .map_err(|error| format!("step {}, `{step}`: {error}", number + 1))?;
        }
        match world.waiting.len() {
            0 => Ok(()),
            left => Err(format!("{left} clients wait for an answer at the end")),
        }
    })
}

impl World {
    async fn step(&mut self, step: &str) -> Result<(), String> {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        match verb {
            "ask" => self.ask(rest),
            "answer" => return self.answer(rest).await,
            "log" => {
                let told = self.line().await?;
                return check("log", &told, rest);
            }
            "no" if rest == "log" => {
                let lines = self.lines.0.lock().unwrap();
                let left = &lines[self.lines_read..];
                return left
                    .first()
                    .map_or(Ok(()), |line| Err(format!("logged: {line}")));
            }
            "no" if rest == "fatal" => {
                let failed = timeout(QUIET, self.environment.failures().first()).await;
                return failed.map_or(Ok(()), |error| Err(format!("fatal: {error}")));
            }
            "fatal" => {
                let failures = self.environment.failures();
                let told = timeout(PATIENCE, failures.first()).await;
                let told = told.map_err(|_| "nothing fatal")?;
                return check("fatal", &self.without_ports(&told), rest);
            }
            "count" => {
                let (name, number) = rest.rsplit_once(' ').unwrap();
                return becomes(name, number, || self.count(name).to_string()).await;
            }
            "metric" => {
                let (name, number) = rest.rsplit_once(' ').unwrap();
                let metrics = &self.environment.metrics;
                let value = || {
                    let text = metrics.text();
                    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
                    let found = lines.find(|(named, _)| *named == name);
                    found.map_or("nothing", |(_, value)| value).to_owned()
                };
                return becomes(name, number, value).await;
            }
            "write" => {
                let mut lines = rest.split(" | ");
                let file = self.directory.path().join(lines.next().unwrap());
                let content = lines.fold(String::new(), |text, line| text + line + "\n");
                std::fs::write(file, content).unwrap();
            }
            "wait" => tokio::time::sleep(Duration::from_millis(rest.parse().unwrap())).await,
            "advance" => {
                tokio::time::pause();
                tokio::time::advance(Duration::from_secs_f64(rest.parse().unwrap())).await;
                tokio::time::resume();
            }
            "cluster" => {
                for zone in self.environment.clusters() {
                    zone.write().unwrap().apply(vec![Change::Synchronised], 1);
                }
            }
            "start" => self.servers.start(),
            upstream => {
                let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                return self.upstream(upstream, verb, rest).await;
            }
        }
        Ok(())
    }

    fn ask(&mut self, rest: &str) {
        let mut words: Vec<&str> = rest.split_whitespace().collect();
        let mut transport = Transport::Udp;
        let mut id = 0x1234;
        let at_a_glance = !words.contains(&"slowly");
        words.retain(|word| match word.strip_prefix("id=") {
            Some(number) => {
                id = number.parse().unwrap();
                false
            }
            None if matches!(*word, "over" | "slowly") => false,
            None if *word == "tcp" => {
                transport = Transport::Tcp;
                false
            }
            None => true,
        });
        self.ask_bytes(text::query(id, &words), transport, at_a_glance);
    }

    fn ask_bytes(&mut self, message: Vec<u8>, transport: Transport, at_a_glance: bool) {
        let path = socket::Path {
            client: "192.0.2.99:9999".parse().unwrap(),
            local: "192.0.2.53:53".parse().unwrap(),
            transport,
        };
        let (asked, server) = (message.clone(), Arc::clone(&self.server));
        let answer = tokio::spawn(async move {
            let mut known = Vec::new();
            if at_a_glance && socket::glance(&message, path, &*server, &mut known).is_some() {
                return Ok(known);
            }
            let reply = socket::answer(&message, path, &*server).await?;
            Ok(reply.bytes)
        });
        self.waiting.push_back((asked, answer));
    }

    /// ID and question are the client's, whatever else stands there.
    async fn answer(&mut self, expected: &str) -> Result<(), String> {
        let (asked, answer) = self.waiting.pop_front().ok_or("nobody asked")?;
        let answer = timeout(PATIENCE, answer).await.map_err(|_| "no answer")?;
        let bytes = answer.unwrap().map_err(|reason| format!("{reason:?}"))?;
        let question = 12..12 + asked[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        if bytes[..2] != asked[..2] || bytes[question.clone()] != asked[question] {
            return Err(format!(
                "not the client's ID and question: {}",
                text::hex(&bytes)
            ));
        }
        check("answer", &text::show_reply(&bytes), expected)
    }

    async fn line(&mut self) -> Result<String, String> {
        for _ in 0..100 {
            if let Some(line) = self.lines.0.lock().unwrap().get(self.lines_read) {
                self.lines_read += 1;
                return Ok(self.without_ports(line));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("no line".to_owned())
    }

    fn without_ports(&self, line: &str) -> String {
        let mut line = line.replace(&self.dead.to_string(), "$DEAD");
        for (name, upstream) in &self.upstreams {
            line = line.replace(&upstream.address.to_string(), &format!("${name}"));
            line = line.replace(&upstream.tls.to_string(), &format!("${name}.tls"));
        }
        let ours = regex::Regex::new(r"127\.0\.0\.1:\d+").unwrap();
        let line = ours.replace_all(&line, "$$ME");
        let random = regex::Regex::new(r"\d{9,}\.\d{9,}\.").unwrap();
        random.replace_all(&line, "RANDOM.").into_owned()
    }

    fn count(&self, name: &str) -> u64 {
        let forwards = self.environment.forwards();
        let forward = &forwards[0];
        let of_upstream = |at: &str| {
            let address = self.upstreams[at].address.to_string();
            let mut all = forwards.iter().flat_map(|forward| &forward.upstreams);
            Arc::clone(all.find(|upstream| upstream.to == address).unwrap())
        };
        match name.split_whitespace().collect::<Vec<_>>()[..] {
            ["healthcheck_broken"] => forward.healthcheck_broken.load(Relaxed),
            ["max_concurrent_rejects"] => forward.max_concurrent_rejects.load(Relaxed),
            [at, "healthcheck_failures"] => of_upstream(at).healthcheck_failures.load(Relaxed),
            [at, "hits", proto] => of_upstream(at).connections(proto_of(proto)).0,
            [at, "misses", proto] => of_upstream(at).connections(proto_of(proto)).1,
            [at, "replies", rcode] => {
                let of_rcode = of_upstream(at);
                let mut all = of_rcode.durations();
                let found = all.find(|(known, _)| {
                    known.is_some_and(|known| u16::from(known).to_string() == rcode)
                });
                found.map_or(0, |(_, histogram)| {
                    histogram
                        .counts
                        .iter()
                        .map(|count| count.load(Relaxed))
                        .sum()
                })
            }
            _ => panic!("unknown counter {name}"),
        }
    }

    async fn upstream(&mut self, name: &str, verb: &str, rest: &str) -> Result<(), String> {
        let upstream = self.upstreams.get_mut(name).ok_or("unknown step")?;
        match verb {
            "gets" => {
                upstream.let_go();
                let received = timeout(PATIENCE, upstream.queries.recv()).await;
                let received = received.map_err(|_| "it gets nothing")?.unwrap();
                let told = text::show_query(received.proto, &received.bytes);
                upstream.received.push(Some(received));
                check("query", &told, rest)
            }
            "closes" => {
                *upstream.received.last_mut().ok_or("it was not asked")? = None;
                Ok(())
            }
            "returns" => {
                let message = upstream.received(None)?.bytes.clone();
                self.ask_bytes(message, Transport::Udp, true);
                Ok(())
            }
            _ if verb.starts_with("says") => {
                let number = verb
                    .strip_prefix("says#")
                    .map(|number| number.parse().unwrap());
                let received = upstream.received(number)?;
                says(&received.bytes, &received.back, rest).await;
                Ok(())
            }
            "quiet" => match timeout(QUIET, upstream.queries.recv()).await {
                Err(_) => Ok(()),
                Ok(received) => {
                    let received = received.unwrap();
                    Err(text::show_query(received.proto, &received.bytes))
                }
            },
            "ignores" | "answers" => {
                upstream.checks.ignored.store(verb == "ignores", Relaxed);
                Ok(())
            }
            "checked" => {
                let wanted: usize = rest.parse().unwrap();
                let begun = tokio::time::Instant::now();
                while wanted > 0
                    && upstream.checks.seen.load(Relaxed) < wanted
                    && begun.elapsed() < PATIENCE
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                let seen = upstream.checks.seen.load(Relaxed);
                if seen < wanted || (wanted == 0 && seen > 0) {
                    return Err(format!("checked {seen} times"));
                }
                Ok(())
            }
            "check" => check("check", &upstream.checks.last.lock().unwrap(), rest),
            "ports" => check(
                "ports",
                &upstream.ports.lock().unwrap().len().to_string(),
                rest,
            ),
            "connections" => {
                let seen = upstream.connections.load(Relaxed).to_string();
                check("connections", &seen, rest)
            }
            _ => Err(format!("unknown step `{verb}`")),
        }
    }
}

fn proto_of(word: &str) -> Proto {
    let mut all = Proto::ALL.into_iter();
    all.find(|proto| proto.label() == word).unwrap()
}

/// A reply, made wrong by the words before the RCODE.
async fn says(query: &[u8], back: &Back, rest: &str) {
    let is_change = |word: &&str| word.contains('=') || word.starts_with('!');
    let mut words = rest.split(' ').peekable();
    let mut changes = Vec::new();
    while let Some(change) = words.next_if(is_change) {
        changes.push(change);
    }
    let text = words.collect::<Vec<_>>().join(" ");
    let mut bytes = match text.as_str() {
        "" => Vec::new(),
        text => text::reply(query, text).to_vec().unwrap(),
    };
    let mut elsewhere = false;
    for change in changes {
        match change.split_once('=').unwrap_or((change, "")) {
            // A reply for another ID.
            ("!id", _) => bytes[1] ^= 1,
            // For another name of the same length, or the same in another case.
            ("!name", _) => bytes[13] = if bytes[13] == b'x' { b'y' } else { b'x' },
            ("!case", _) => bytes[13] ^= 0x20,
            ("!type" | "!class", _) => {
                let end = 12 + bytes[12..].iter().position(|byte| *byte == 0).unwrap();
                bytes[end + if change == "!type" { 2 } else { 4 }] ^= 1;
            }
            ("!query", _) => bytes[2] &= 0x7f,
            ("!opcode", _) => bytes[2] |= 0x20,
            ("!header", _) => {
                bytes.truncate(12);
                bytes[4..12].fill(0);
            }
            ("!elsewhere", _) => elsewhere = true,
            ("cut", count) => bytes.truncate(bytes.len() - count.parse::<usize>().unwrap()),
            ("length", count) => bytes.truncate(count.parse().unwrap()),
            ("more", data) => bytes.extend(text::unhex(data)),
            // Another byte, so far from the end.
            ("byte", at) => {
                let (at, value) = at.split_once(':').unwrap();
                let at = bytes.len() - at.parse::<usize>().unwrap();
                bytes[at] = text::unhex(value)[0];
            }
            _ => panic!("unknown change {change}"),
        }
    }
    match back {
        Back::Udp(_, to) if elsewhere => {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.send_to(&bytes, to).await.unwrap();
        }
        back => back.send(&bytes).await,
    }
}

/// What something does in a task of its own may take a moment.
async fn becomes(what: &str, expected: &str, value: impl Fn() -> String) -> Result<(), String> {
    for _ in 0..200 {
        if value() == expected {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    check(what, &value(), expected)
}

/// Equal, or between two `…` contained.
fn check(what: &str, told: &str, expected: &str) -> Result<(), String> {
    let part = (expected.strip_prefix('…')).and_then(|rest| rest.strip_suffix('…'));
    let is_equal = match part {
        Some(part) => told.contains(part),
        None => told == expected,
    };
    if is_equal {
        Ok(())
    } else {
        Err(format!("{what}\n  is       {told}\n  expected {expected}"))
    }
}
