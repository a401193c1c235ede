//! An API server as far as lists and watches go, for one client on loopback, over plain HTTP.
//!
//! What it costs is nearly nothing: events are written by the thread that makes them, straight to the connections of
//! the watches, so that what is measured from then on is the client's.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};
use hopzero_tests::namespace::Namespace;
use serde_json::{Value, json};

use super::objects::{self, NAMESPACES, SERVICES, SLICES, Shape};

/// It streams lists, or pages them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// As since Kubernetes 1.32.
    Streamed,
    /// As before.
    Paged,
}

/// A running one, until the process ends.
#[derive(Clone)]
pub struct Scripted {
    state: Arc<Mutex<State>>,
    /// Where it listens, in the namespace that it was started in.
    pub address: SocketAddr,
}

struct State {
    lists: Lists,
    version: u64,
    /// What was before is forgotten.
    oldest: u64,
    /// As text, by path.
    objects: BTreeMap<&'static str, Vec<String>>,
    watchers: Vec<(&'static str, TcpStream)>,
    /// How often each path was listed to the end.
    listed: BTreeMap<&'static str, usize>,
}

impl Scripted {
    /// Starts it in a namespace.
    pub fn start(namespace: &Namespace, shape: &Shape, lists: Lists) -> Result<Self> {
        let versioned = |mut object: Value| {
            object["metadata"]["resourceVersion"] = json!("1");
            object.to_string()
        };
        let services = (0..shape.services()).map(|number| versioned(service(shape, number, 0)));
        let slices =
            (shape.with_slices()).map(|number| versioned(objects::slice(shape, number, 0)));
        let state = State {
            lists,
            version: 1,
            oldest: 0,
            objects: BTreeMap::from([
                (NAMESPACES, vec![versioned(objects::namespace())]),
                (SERVICES, services.collect()),
                (SLICES, slices.collect()),
            ]),
            watchers: Vec::new(),
            listed: BTreeMap::new(),
        };
        let listener = namespace.tcp((Ipv4Addr::LOCALHOST, 0).into())?;
        let server = Self {
            state: Arc::new(Mutex::new(state)),
            address: listener.local_addr()?,
        };
        let own = server.clone();
        thread::spawn(move || own.listen(&listener));
        Ok(server)
    }

    /// An object changes: it is kept, and every watch is told.
    pub fn change(&self, path: &'static str, index: usize, object: Value) -> Result<()> {
        self.put(path, index, object, true)
    }

    /// The same, but no watch is told.
    pub fn change_quietly(&self, path: &'static str, index: usize, object: Value) -> Result<()> {
        self.put(path, index, object, false)
    }

    fn put(
        &self,
        path: &'static str,
        index: usize,
        mut object: Value,
        is_told: bool,
    ) -> Result<()> {
        let mut state = self.lock();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let text = object.to_string();
        let line = format!("{{\"type\":\"MODIFIED\",\"object\":{text}}}\n");
        let objects = state.objects.get_mut(path).context("no such path")?;
        objects[index] = text;
        if is_told {
            // One whose client is gone is no watcher any more.
            state.watchers.retain_mut(|(watched, stream)| {
                *watched != path || stream.write_all(line.as_bytes()).is_ok()
            });
        }
        Ok(())
    }

    /// Every watch ends, and where it was is forgotten: everything has to be listed again.
    pub fn forget(&self) {
        let mut state = self.lock();
        state.version += 1;
        state.oldest = state.version;
        for (_, stream) in state.watchers.drain(..) {
            // It is gone already, perhaps.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// How often a path was listed to the end.
    pub fn listed(&self, path: &str) -> usize {
        self.lock().listed.get(path).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, listener: &TcpListener) {
        for stream in listener.incoming().map_while(Result::ok) {
            let own = self.clone();
            // A client that goes away ends it.
            thread::spawn(move || own.converse(stream));
        }
    }

    fn converse(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut requests = BufReader::new(stream.try_clone()?);
        while let Some(target) = read_request(&mut requests)? {
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let query: BTreeMap<&str, &str> = (query.split('&'))
                .filter_map(|part| part.split_once('='))
                .collect();
            let path = [NAMESPACES, SERVICES, SLICES]
                .into_iter()
                .find(|known| *known == path);
            // No slice here is by others than the controller.
            let is_empty =
                (query.get("labelSelector")).is_some_and(|selector| selector.contains("%21%3D"));
            match path {
                None => respond(&mut stream, &self.version_page())?,
                Some(path) if query.contains_key("watch") => {
                    return self.watch(path, &query, is_empty, stream);
                }
                Some(path) => {
                    let page = self.page(path, &query, is_empty);
                    respond(&mut stream, &page)?;
                }
            }
        }
        Ok(())
    }

    fn version_page(&self) -> String {
        let minor = match self.lock().lists {
            Lists::Streamed => "34",
            Lists::Paged => "31",
        };
        json!({"major": "1", "minor": minor, "gitVersion": "", "gitCommit": "", "gitTreeState": "", "buildDate": "",
            "goVersion": "", "compiler": "", "platform": ""})
        .to_string()
    }

    fn page(&self, path: &'static str, query: &BTreeMap<&str, &str>, is_empty: bool) -> String {
        let mut state = self.lock();
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
        let all: &[String] = if is_empty { &[] } else { &state.objects[path] };
        let first = number("continue").unwrap_or(0).min(all.len());
        let last = (first + number("limit").unwrap_or(all.len())).min(all.len());
        let next = if last < all.len() {
            last.to_string()
        } else {
            String::new()
        };
        let page = format!(
            "{{\"kind\":\"List\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"{}\",\"continue\":\"{next}\"}},\"items\":[{}]}}",
            state.version,
            all[first..last].join(",")
        );
        if next.is_empty() && !is_empty {
            *state.listed.entry(path).or_default() += 1;
        }
        page
    }

    fn watch(
        &self,
        path: &'static str,
        query: &BTreeMap<&str, &str>,
        is_empty: bool,
        mut stream: TcpStream,
    ) -> Result<()> {
        // Without a length it goes on until the connection ends.
        stream.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n",
        )?;
        // It is there without a value, too: from anywhere.
        let after: u64 = (query.get("resourceVersion"))
            .filter(|text| !text.is_empty())
            .map_or(Ok(0), |text| text.parse())?;
        // While it is locked, nothing happens that the watch is not told.
        let mut state = self.lock();
        if query.contains_key("sendInitialEvents") {
            let all: &[String] = if is_empty { &[] } else { &state.objects[path] };
            for object in all {
                writeln!(stream, "{{\"type\":\"ADDED\",\"object\":{object}}}")?;
            }
            let metadata = json!({"resourceVersion": state.version.to_string(),
                "annotations": {"k8s.io/initial-events-end": "true"}});
            let bookmark = json!({"type": "BOOKMARK", "object": {"kind": "x", "apiVersion": "v1", "metadata": metadata}});
            writeln!(stream, "{bookmark}")?;
            if !is_empty {
                *state.listed.entry(path).or_default() += 1;
            }
        } else if after < state.oldest {
            let gone = json!({"kind": "Status", "apiVersion": "v1", "code": 410, "message": "too old resource version",
                "reason": "Expired"});
            writeln!(stream, "{}", json!({"type": "ERROR", "object": gone}))?;
            return Ok(());
        }
        if is_empty {
            // Nothing will ever be said; the end of the client is the end.
            drop(state);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        } else {
            state.watchers.push((path, stream));
        }
        Ok(())
    }
}

/// A service as it is at some time.
pub fn service(shape: &Shape, number: u32, time: u8) -> Value {
    let address = (!shape.is_headless(number)).then(|| objects::service_address(number, time));
    objects::service(number, address)
}

/// What is asked for; none at the end.
fn read_request(requests: &mut BufReader<TcpStream>) -> Result<Option<String>> {
    let mut line = String::new();
    if requests.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let target = line.split(' ').nth(1).context("no request")?.to_owned();
    loop {
        line.clear();
        if requests.read_line(&mut line)? == 0 || line == "\r\n" {
            return Ok(Some(target));
        }
    }
}

fn respond(stream: &mut TcpStream, body: &str) -> Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    Ok(())
}
