//! A client that keeps a window of queries in flight, and tells an answer that was lost on its way from one
//! that its own socket dropped.

use std::{collections::HashSet, fs, net::SocketAddr, net::UdpSocket, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    client::{Query, any, summary},
    namespace::Namespace,
};

/// Queries in flight. Their answers fit the smallest receive buffer many times over: nothing is lost
/// because we are slow.
pub const WINDOW: u16 = 32;
/// An answer comes in microseconds; a busy machine may look for it later.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// So many lost ones say enough.
const LOST_MAX: u64 = 100;

/// What is asked again and again, and what must be answered.
#[derive(Clone, Debug)]
pub struct Question {
    message: Vec<u8>,
    expected: String,
    /// Answers that were read and found right, without their IDs.
    right: HashSet<Vec<u8>>,
}

impl Question {
    /// A query, and the [`summary`] of its answer.
    pub fn new(query: &Query, expected: impl Into<String>) -> Self {
        Self {
            message: query.bytes(),
            expected: expected.into(),
            right: HashSet::new(),
        }
    }

    fn judge(&mut self, answer: &[u8]) -> Result<()> {
        if !self.right.contains(&answer[2..]) {
            let summary = summary(answer)?;
            ensure!(
                summary == self.expected,
                "{summary}, expected {}",
                self.expected
            );
            self.right.insert(answer[2..].to_vec());
        }
        Ok(())
    }
}

/// What became of queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Answers that came and are right.
    pub answered: u64,
    /// Queries without an answer; the next two say of some of them why.
    pub lost: u64,
    /// Datagrams that came and found the socket's buffer full.
    pub overflowed: u64,
    /// Datagrams that came with a wrong checksum.
    pub checksums: u64,
}

/// Asks `count` questions in turn, a window at a time, from one socket in `namespace`.
///
/// # Errors
/// A wrong answer came, one that nobody waits for, or the sockets fail.
pub fn ask(
    namespace: &Namespace,
    server: SocketAddr,
    questions: &mut [Question],
    count: u64,
) -> Result<Sum> {
    let socket = namespace.udp(any(server))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(LOST_AFTER))?;
    let (before, mut sum) = (dropped(namespace)?, Sum::default());
    let mut asked = 0;
    while asked < count && sum.lost < LOST_MAX {
        let window = u64::from(WINDOW).min(count - asked);
        for index in asked..asked + window {
            let question = of(questions, index);
            question.message[..2].copy_from_slice(&id(index));
            socket.send(&question.message)?;
        }
        let answered = answers(&socket, questions, asked, window)?;
        sum.answered += answered;
        sum.lost += window - answered;
        asked += window;
    }
    let after = dropped(namespace)?;
    sum.overflowed = after.0 - before.0;
    sum.checksums = after.1 - before.1;
    Ok(sum)
}

fn of(questions: &mut [Question], index: u64) -> &mut Question {
    let count = questions.len() as u64;
    &mut questions[usize::try_from(index % count).expect("a place in a slice")]
}

/// The low bytes: a window's are all different, and differ from the window's before.
fn id(index: u64) -> [u8; 2] {
    let bytes = index.to_be_bytes();
    [bytes[6], bytes[7]]
}

/// Receives the answers to the queries `first..first + window`, each once.
fn answers(socket: &UdpSocket, questions: &mut [Question], first: u64, window: u64) -> Result<u64> {
    let mut missing = vec![true; window.try_into()?];
    let mut buffer = [0; 4096];
    let mut answered = 0;
    while answered < window {
        let Ok(length) = socket.recv(&mut buffer) else {
            break;
        };
        let answer = &buffer[..length];
        let index = (first..first + window).find(|index| answer.starts_with(&id(*index)));
        let Some(index) = index else {
            bail!("an answer that nobody waits for: {answer:02x?}");
        };
        let missing = &mut missing[usize::try_from(index - first)?];
        ensure!(*missing, "query {index} was answered twice");
        *missing = false;
        of(questions, index)
            .judge(answer)
            .with_context(|| format!("query {index} to {:?}", socket.peer_addr()))?;
        answered += 1;
    }
    Ok(answered)
}

/// Datagrams that a namespace's UDP sockets dropped: for a full buffer, and for a wrong checksum.
fn dropped(namespace: &Namespace) -> Result<(u64, u64)> {
    namespace.within(|| {
        // The thread's, which is in the namespace; /proc/net is the process's.
        let v4 = fs::read_to_string("/proc/thread-self/net/snmp")?;
        let v6 = fs::read_to_string("/proc/thread-self/net/snmp6")?;
        let count = |name: &str| -> Result<u64> {
            let four = table(&v4, "Udp:", name).with_context(|| format!("no Udp {name}"))?;
            let six =
                list(&v6, &format!("Udp6{name}")).with_context(|| format!("no Udp6{name}"))?;
            Ok(four + six)
        };
        Ok((count("RcvbufErrors")?, count("InCsumErrors")?))
    })
}

/// A value under its name: a line of names and a line of values, both begin with the same word.
fn table(text: &str, line: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|text| text.starts_with(line));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|word| word == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

/// A value behind its name.
fn list(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    let mut line = lines.find(|words| words.clone().next() == Some(name))?;
    line.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_the_kernel_are_found_by_name() {
        let snmp = "Tcp: InErrs\nTcp: 7\nUdp: InDatagrams RcvbufErrors\nUdp: 1 23\nUdpLite: X\nUdpLite: 4\n";
        assert_eq!(table(snmp, "Udp:", "RcvbufErrors"), Some(23));
        assert_eq!(table(snmp, "Udp:", "InErrs"), None);
        let snmp6 = "Udp6InDatagrams  3\nUdp6RcvbufErrors \t5\n";
        assert_eq!(list(snmp6, "Udp6RcvbufErrors"), Some(5));
        assert_eq!(list(snmp6, "Udp6Rcvbuf"), None);
    }

    #[test]
    fn a_windows_ids_are_its_own() {
        for first in [0, 65_520, 1 << 33] {
            let ids: HashSet<[u8; 2]> = (first..first + 2 * u64::from(WINDOW)).map(id).collect();
            assert_eq!(ids.len(), 2 * usize::from(WINDOW));
        }
    }
}
