//! An API server as far as lists and watches go, with every fault that one can have.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, Uri, header::ACCEPT},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

type Objects = BTreeMap<(String, String), Value>;

/// A cluster, as one version of it is.
#[derive(Clone, Default)]
pub struct Cluster {
    pub version: u64,
    /// By path.
    objects: BTreeMap<String, Objects>,
}

/// Something that happened.
struct Happened {
    version: u64,
    path: String,
    before: Option<Value>,
    after: Option<Value>,
}

struct Watcher {
    path: String,
    selector: String,
    lines: mpsc::UnboundedSender<String>,
}

/// The API server.
#[derive(Default)]
pub struct Server {
    pub cluster: Cluster,
    /// What it shows, if it lags.
    pub shown: Option<Cluster>,
    history: Vec<Happened>,
    /// Versions before this one are forgotten.
    oldest: u64,
    watchers: Vec<Watcher>,
    /// The minor version of Kubernetes.
    pub minor: u32,
    pub streams_lists: bool,
    /// Watches neither say anything nor end.
    pub frozen: bool,
    /// Nothing that is asked arrives.
    pub partitioned: bool,
    /// Which requests are refused, and how.
    pub refused: Option<(String, u16)>,
    /// What was asked.
    pub asked: Vec<String>,
}

/// A server that tests and requests share.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Server>>);

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Server> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }
}

impl Server {
    /// An object comes, changes or goes; `quietly`: no watch is told.
    pub fn change(
        &mut self,
        path: &str,
        key: (String, String),
        after: Option<Value>,
        quietly: bool,
    ) {
        self.cluster.version += 1;
        let version = self.cluster.version;
        let objects = self.cluster.objects.entry(path.to_owned()).or_default();
        let after = after.map(|mut object| {
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            object
        });
        let before = match &after {
            Some(object) => objects.insert(key, object.clone()),
            None => objects.remove(&key),
        };
        if quietly {
            return;
        }
        let happened = Happened {
            version,
            path: path.to_owned(),
            before,
            after,
        };
        if !self.frozen {
            for watcher in self.watchers.iter().filter(|watcher| watcher.path == path) {
                let line = happened.line(&watcher.selector);
                line.and_then(|line| watcher.lines.send(line).ok());
            }
        }
        self.history.push(happened);
    }

    pub fn object(&self, path: &str, key: &(String, String)) -> Option<Value> {
        self.cluster.objects.get(path)?.get(key).cloned()
    }

    pub fn keys(&self, path: &str) -> Vec<(String, String)> {
        let objects = self.cluster.objects.get(path);
        objects
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// All watches end.
    pub fn cut(&mut self) {
        self.watchers.clear();
    }

    /// Nothing of before is remembered.
    pub fn forget(&mut self) {
        self.oldest = self.cluster.version;
        self.history.clear();
    }

    /// A line to every watch.
    pub fn tell(&self, line: &Value) {
        for watcher in &self.watchers {
            let _ = watcher.lines.send(format!("{line}\n"));
        }
    }

    fn refusal(&self, asks: &str, continues: bool) -> Option<Response> {
        let (which, code) = self.refused.as_ref()?;
        let is_meant = match which.as_str() {
            "all" => true,
            "pages" => continues,
            which => asks == which,
        };
        is_meant.then(|| status(*code, "refused"))
    }
}

impl Happened {
    /// As a watch with this selector has it.
    fn line(&self, selector: &str) -> Option<String> {
        let selected = |object: &&Value| is_selected(object, selector);
        let before = self.before.as_ref().filter(selected);
        let after = self.after.as_ref().filter(selected);
        let (sort, object) = match (before, after) {
            (None, None) => return None,
            (None, Some(object)) => ("ADDED", object.clone()),
            (Some(_), Some(object)) => ("MODIFIED", object.clone()),
            (Some(object), None) => {
                let mut object = object.clone();
                object["metadata"]["resourceVersion"] = json!(self.version.to_string());
                ("DELETED", object)
            }
        };
        Some(format!("{}\n", json!({"type": sort, "object": object})))
    }
}

/// `a`, `a=b` and `a!=b`, with commas.
fn is_selected(object: &Value, selector: &str) -> bool {
    let label = |key: &str| object["metadata"]["labels"][key].as_str();
    selector
        .split(',')
        .filter(|part| !part.is_empty())
        .all(|part| {
            if let Some((key, value)) = part.split_once("!=") {
                label(key) != Some(value)
            } else if let Some((key, value)) = part.split_once('=') {
                label(key) == Some(value)
            } else {
                label(part).is_some()
            }
        })
}

fn status(code: u16, message: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code});
    let code = StatusCode::from_u16(code).expect("a status");
    (code, body.to_string()).into_response()
}

async fn answer(
    State(shared): State<Shared>,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if shared.lock().partitioned {
        return std::future::pending().await;
    }
    let mut server = shared.lock();
    let path = uri.path();
    if path == "/version" {
        if let Some(refusal) = server.refusal("version", false) {
            return refusal;
        }
        let body = json!({"major": "1", "minor": server.minor.to_string(), "gitVersion": "", "gitCommit": "",
            "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
        return body.to_string().into_response();
    }
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let of_metadata = accept.is_some_and(|accept| accept.contains("PartialObjectMetadata"));
    let asks = match (query.get("watch"), query.get("sendInitialEvents")) {
        (None, _) if of_metadata => "audits",
        (None, _) => "lists",
        (Some(_), None) => "watches",
        (Some(_), Some(_)) => "streams",
    };
    let plural = path.rsplit('/').next().unwrap_or_default();
    server.asked.push(format!("{asks} {plural}"));
    let of_its_sort = server.refusal(asks, query.contains_key("continue"));
    if let Some(refusal) = of_its_sort.or_else(|| server.refusal(plural, false)) {
        return refusal;
    }
    match asks {
        "audits" | "lists" => list(&server, path, &query),
        _ if asks == "streams" && !server.streams_lists => {
            status(422, "sendInitialEvents is forbidden")
        }
        _ => watch(&shared, &mut server, path, &query),
    }
}

fn list(server: &Server, path: &str, query: &BTreeMap<String, String>) -> Response {
    let cluster = server.shown.as_ref().unwrap_or(&server.cluster);
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let first = number("continue").unwrap_or(0);
    let selector = query.get("labelSelector").map_or("", String::as_str);
    let objects = cluster.objects.get(path).into_iter().flatten();
    let objects = objects
        .map(|(_, object)| object)
        .filter(|object| is_selected(object, selector));
    let mut items: Vec<_> = objects.skip(first).collect();
    let page = number("limit").unwrap_or(items.len());
    let next = (items.len() > page).then(|| (first + page).to_string());
    items.truncate(page);
    let metadata = json!({"resourceVersion": cluster.version.to_string(), "continue": next.unwrap_or_default()});
    json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})
        .to_string()
        .into_response()
}

fn watch(
    shared: &Shared,
    server: &mut Server,
    path: &str,
    query: &BTreeMap<String, String>,
) -> Response {
    let after = query["resourceVersion"].parse().unwrap_or(0);
    let cluster = server.shown.as_ref().unwrap_or(&server.cluster);
    if after > cluster.version {
        return status(504, "Too large resource version");
    }
    let selector = query.get("labelSelector").cloned().unwrap_or_default();
    let (lines, receiver) = mpsc::unbounded_channel();
    // The receiver is here.
    let say = |line: String| lines.send(line).expect("heard");
    if query.contains_key("sendInitialEvents") {
        let objects = cluster.objects.get(path).into_iter().flatten();
        for (_, object) in objects.filter(|(_, object)| is_selected(object, &selector)) {
            say(format!("{}\n", json!({"type": "ADDED", "object": object})));
        }
        let metadata = json!({"resourceVersion": cluster.version.to_string(),
            "annotations": {"k8s.io/initial-events-end": "true"}});
        say(format!(
            "{}\n",
            json!({"type": "BOOKMARK", "object": {"kind": "x", "apiVersion": "v1", "metadata": metadata}})
        ));
    } else if after < server.oldest {
        let gone = json!({"kind": "Status", "apiVersion": "v1", "code": 410, "message": "too old resource version", "reason": "Expired"});
        say(format!("{}\n", json!({"type": "ERROR", "object": gone})));
        return Body::from_stream(until(receiver, shared, Duration::ZERO)).into_response();
    } else {
        let since = server
            .history
            .iter()
            .filter(|happened| happened.version > after && happened.path == path);
        since
            .filter_map(|happened| happened.line(&selector))
            .for_each(say);
    }
    server.watchers.push(Watcher {
        path: path.to_owned(),
        selector,
        lines,
    });
    let seconds = query["timeoutSeconds"].parse().expect("a number");
    Body::from_stream(until(receiver, shared, Duration::from_secs(seconds))).into_response()
}

/// Lines, until the time is over; but a frozen server does not come to the end.
fn until(
    lines: mpsc::UnboundedReceiver<String>,
    shared: &Shared,
    time: Duration,
) -> impl stream::Stream<Item = Result<String, std::io::Error>> + use<> {
    let deadline = Instant::now() + time;
    let begin = (lines, shared.clone());
    stream::unfold(begin, move |(mut lines, shared)| async move {
        tokio::select! {
            biased;
            line = lines.recv() => line.map(|line| (Ok(line), (lines, shared))),
            () = sleep_until(deadline) => {
                if shared.lock().frozen {
                    std::future::pending::<()>().await;
                }
                None
            }
        }
    })
}
