//! Runs one case: a server block, its upstreams, and the steps one after the other.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hopzero::{
    corefile::Corefile,
    plugin::{
        Environment,
        forward::counters::{ForwardCounters, Proto},
    },
    server::{Server, Servers},
    socket::{self, Transport},
    source::Change,
};
use tempfile::TempDir;
use tokio::{net::UdpSocket, sync::watch, task::JoinHandle, time::timeout};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{
    certificates::Certificates,
    cluster::Cluster,
    log::Lines,
    script::Case,
    text,
    upstream::{Back, Upstream},
};

/// For what has to come. A case that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(4);
/// For what must not come.
const QUIET: Duration = Duration::from_millis(60);

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));

type Answer = JoinHandle<Result<Vec<Vec<u8>>, socket::DropReason>>;

struct World {
    directory: TempDir,
    environment: Environment,
    cluster: Option<Cluster>,
    servers: Servers,
    server: Arc<Server>,
    touches_changed: watch::Receiver<()>,
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
            let content = with_certificates(content, certificates);
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        let mut block = (case.block).replace("$DIR", directory.path().to_str().unwrap());
        for (name, upstream) in &upstreams {
            block = block
                .replace(&format!("${name}.tls"), &upstream.tls.to_string())
                .replace(&format!("${name}"), &upstream.address.to_string());
        }
        block = with_certificates(&block, certificates);
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
            let expected = expected.replace("$DIR", directory.path().to_str().unwrap());
            return check("fault", &error.to_string(), &format!("…{expected}…"));
        }
        let servers = built.map_err(|error| error.to_string())?;
        let server = Arc::clone(servers.iter().next().unwrap().1);
        let mut cluster = None;
        if case.files.iter().any(|(name, _)| name.contains(".yaml")) {
            let cluster = cluster.insert(Cluster::start(directory.path()));
            cluster.next(&environment).await?;
        }
        let mut world = World {
            directory,
            touches_changed: environment.touches_changed().subscribe(),
            environment,
            cluster,
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

/// `%ca.pem` and others become paths.
fn with_certificates(text: &str, certificates: &Certificates) -> String {
    let mut text = text.to_owned();
    for file in [
        "ca.pem",
        "stranger.pem",
        "server.pem",
        "server-key.pem",
        "client.pem",
        "client-key.pem",
    ] {
        let path = certificates.file(file);
        text = text.replace(&format!("%{file}"), path.to_str().unwrap());
    }
    text
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
            "log-of" => {
                let (target, expected) = rest.split_once(' ').unwrap();
                let told = self.line_of(target).await?;
                return check("log", &told, expected);
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
                let rest = rest.replace("$DIR", self.directory.path().to_str().unwrap());
                let (name, number) = rest.rsplit_once(' ').unwrap();
                let value = || {
                    let text = self.without_ports(&self.environment.metrics.text());
                    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
                    let found = lines.find(|(named, _)| *named == name);
                    found.map_or("nothing", |(_, value)| value).to_owned()
                };
                return becomes(name, number, value).await;
            }
            "write" => {
                let mut lines = rest.split(" | ");
                let file = self.directory.path().join(lines.next().unwrap());
                let content: String = lines.fold(String::new(), |text, line| text + line + "\n");
                // Nobody may see half of it.
                let whole = self.directory.path().join("whole");
                std::fs::write(&whole, content).unwrap();
                std::fs::rename(whole, file).unwrap();
            }
            "touches" => {
                let (_, plugins) = self.server.sites().next().unwrap();
                let touches = plugins.iter().flat_map(|plugin| plugin.touches());
                let mut touches: Vec<String> = touches.map(text::show_touch).collect();
                touches.sort();
                return check("touches", &touches.join(", "), rest);
            }
            "changes" => {
                let changed = timeout(PATIENCE, self.touches_changed.changed()).await;
                changed.map_err(|_| "the same is touched")?.unwrap();
            }
            "remove" => std::fs::remove_file(self.directory.path().join(rest)).unwrap(),
            "wait" => tokio::time::sleep(Duration::from_millis(rest.parse().unwrap())).await,
            "advance" => {
                tokio::time::pause();
                tokio::time::advance(Duration::from_secs_f64(rest.parse().unwrap())).await;
                tokio::time::resume();
            }
            "cluster" if rest == "changes" => {
                let cluster = self.cluster.as_mut().ok_or("no manifests")?;
                return cluster.next(&self.environment).await;
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
        let mut client = CLIENT;
        if let [before @ .., "from", address] = words.as_slice() {
            client = address.parse().unwrap();
            words = before.to_vec();
        }
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
        self.ask_bytes(text::query(id, &words), transport, client, at_a_glance);
    }

    fn ask_bytes(
        &mut self,
        message: Vec<u8>,
        transport: Transport,
        client: IpAddr,
        at_a_glance: bool,
    ) {
        let path = socket::Path {
            client: (client, 9999).into(),
            local: "192.0.2.53:53".parse().unwrap(),
            transport,
        };
        let (asked, server) = (message.clone(), Arc::clone(&self.server));
        let answer = tokio::spawn(async move {
            let mut known = Vec::new();
            if at_a_glance && socket::glance(&message, path, &*server, &mut known).is_some() {
                return Ok(vec![known]);
            }
            let reply = socket::answer(&message, path, &*server).await?;
            Ok(std::iter::once(reply.bytes).chain(reply.further).collect())
        });
        self.waiting.push_back((asked, answer));
    }

    /// ID and question are the client's, whatever else stands there.
    async fn answer(&mut self, expected: &str) -> Result<(), String> {
        let (asked, answer) = self.waiting.pop_front().ok_or("nobody asked")?;
        let answer = timeout(PATIENCE, answer).await.map_err(|_| "no answer")?;
        let messages = match answer.unwrap() {
            Ok(messages) => messages,
            Err(reason) => return check("answer", &format!("none, {}", reason.name()), expected),
        };
        let question = 12..12 + asked[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        for bytes in &messages {
            if bytes[..2] != asked[..2] || bytes[question.clone()] != asked[question.clone()] {
                return Err(format!(
                    "not the client's ID and question: {}",
                    text::hex(bytes)
                ));
            }
        }
        let shown: Vec<String> = messages
            .iter()
            .map(|bytes| text::show_reply(bytes))
            .collect();
        check("answer", &shown.join(" | "), expected)
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

    /// It is taken out, so that the next is the next.
    async fn line_of(&self, target: &str) -> Result<String, String> {
        for _ in 0..100 {
            {
                let mut lines = self.lines.1.lock().unwrap();
                if let Some(at) = lines.iter().position(|(of, _)| of == target) {
                    return Ok(lines.remove(at).1);
                }
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
        let duration = regex::Regex::new(r"0\.\d+s").unwrap();
        let line = duration.replace_all(&line, "DURATION");
        let random = regex::Regex::new(r"\d{9,}\.\d{9,}\.").unwrap();
        random.replace_all(&line, "RANDOM.").into_owned()
    }

    fn count(&self, name: &str) -> u64 {
        let forward = (self.environment.metrics).of::<Arc<ForwardCounters>>();
        let of_upstream = |at: &str| {
            let address = self.upstreams[at].address.to_string();
            forward.upstream(&address)
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
                found.map_or(0, |(_, histogram)| histogram.count())
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
                self.ask_bytes(message, Transport::Udp, CLIENT, true);
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
