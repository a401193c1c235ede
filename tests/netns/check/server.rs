//! An API server that tells what it was given: objects by path, over plain HTTP, whatever is selected.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::Result;
use hopzero_tests::namespace::Namespace;
use serde_json::{Value, json};

/// What is at a path.
#[derive(Clone)]
enum Place {
    List(Vec<Value>),
    One(Value),
    Refused(u16),
}

/// A running one, until the process ends.
#[derive(Clone)]
pub struct Server {
    places: Arc<Mutex<BTreeMap<String, Place>>>,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let listener = namespace.tcp((Ipv4Addr::LOCALHOST, 0).into())?;
        let server = Server {
            places: Arc::default(),
            address: listener.local_addr()?,
        };
        server.put(
            "/version",
            Place::One(
                json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "",
                "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}),
            ),
        );
        let own = server.clone();
        thread::spawn(move || own.listen(&listener));
        Ok(server)
    }

    /// What a list there consists of.
    pub fn list(&self, path: &str, items: &[Value]) {
        self.put(path, Place::List(items.to_vec()));
    }

    /// The one object there.
    pub fn one(&self, path: &str, object: Value) {
        self.put(path, Place::One(object));
    }

    /// That path is refused with this status.
    pub fn refuse(&self, path: &str, code: u16) {
        self.put(path, Place::Refused(code));
    }

    fn put(&self, path: &str, place: Place) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert(path.to_owned(), place);
    }

    fn listen(&self, listener: &TcpListener) {
        for stream in listener.incoming().map_while(Result::ok) {
            let own = self.clone();
            // A client that goes away ends it.
            thread::spawn(move || own.converse(stream));
        }
    }

    fn converse(&self, mut stream: TcpStream) -> Result<()> {
        let mut requests = BufReader::new(stream.try_clone()?);
        loop {
            let mut first = String::new();
            if requests.read_line(&mut first)? == 0 {
                return Ok(());
            }
            let mut header = String::new();
            while requests.read_line(&mut header)? > 2 {
                header.clear();
            }
            let target = first.split(' ').nth(1).unwrap_or_default();
            let path = target.split('?').next().unwrap_or_default();
            let (code, body) = self.answer(path);
            let body = body.to_string();
            write!(
                stream,
                "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
        }
    }

    fn answer(&self, path: &str) -> (u16, Value) {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |code: u16| {
            let message = format!("{path}: refused by the test");
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                "status": "Failure", "message": message, "reason": "", "code": code});
            (code, status)
        };
        match places.get(path) {
            Some(Place::List(items)) => (
                200,
                json!({"kind": "List", "apiVersion": "v1",
                    "metadata": {"resourceVersion": "1"}, "items": items}),
            ),
            Some(Place::One(object)) => (200, object.clone()),
            Some(Place::Refused(code)) => status(*code),
            None => status(404),
        }
    }
}
