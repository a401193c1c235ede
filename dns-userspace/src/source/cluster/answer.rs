//! An answer of the API server: in protobuf, or in JSON from who does not have it (custom resources, proxies).
//!
//! Both are asked for, as clients of Kubernetes do, and what comes says which it is.

#[cfg(test)]
mod tests;

use std::{error::Error, io};

use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use http_body_util::{BodyExt as _, Limited};
use kube::{
    client::Body,
    core::{ObjectList, Status, WatchEvent},
};
use prost::bytes::{Bytes, BytesMut};
use tokio_util::{
    codec::{FramedRead, LengthDelimitedCodec, LinesCodec, LinesCodecError},
    io::StreamReader,
};

use super::{
    connection::Connection,
    held::{Key, Version, key_of},
    protobuf::{self, Encoded},
    trouble::Trouble,
};
use crate::source::Object;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const JSON: &str = "application/json";
/// Metadata alone of whatever is listed.
const METADATA: &str = ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// Of a page, a frame of a watch and an error; some MB are the most that the API server makes of one object.
const BYTES_MAX: usize = 256 << 20;

/// The annotation of the bookmark at the end of a streamed list.
pub const LIST_END: &str = "k8s.io/initial-events-end";

/// A part of a list.
pub struct Page<T> {
    /// What is in it.
    pub items: Vec<T>,
    /// Which version of the cluster the list shows.
    pub version: Version,
    /// How to ask for the next part.
    pub next: Option<String>,
}

/// What a watch says.
#[derive(Debug)]
pub enum Event {
    /// An object has come or changed.
    Upsert(Object, Version),
    /// An object has gone.
    Delete(Key, Version),
    /// Everything up to this version has been said; perhaps the end of a list that was streamed.
    Bookmark(Version, bool),
}

/// A watch.
pub type Events = BoxStream<'static, Result<Event, Trouble>>;

/// How an answer is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

/// What is asked.
pub type Asked = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

/// A page of a list; `only_metadata`: of names and versions.
pub async fn page<K: Encoded>(
    connection: &Connection,
    request: Asked,
    only_metadata: bool,
) -> Result<Page<Object>, Trouble> {
    let (encoding, body) = ask(connection, request, only_metadata).await?;
    page_of::<K>(encoding, &whole(body).await?)
}

fn page_of<K: Encoded>(encoding: Encoding, bytes: &Bytes) -> Result<Page<Object>, Trouble> {
    match encoding {
        Encoding::Protobuf => {
            let (head, items) = protobuf::list::<K>(bytes)?;
            Ok(Page {
                items: items.into_iter().map(Into::into).collect(),
                version: parse_version(Some(&head.resource_version))?,
                next: Some(head.continue_token).filter(|token| !token.is_empty()),
            })
        }
        Encoding::Json => {
            let list: ObjectList<K> =
                serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
            Ok(Page {
                items: list.items.into_iter().map(Into::into).collect(),
                version: parse_version(list.metadata.resource_version.as_deref())?,
                next: list.metadata.continue_.filter(|token| !token.is_empty()),
            })
        }
    }
}

impl<T> Page<T> {
    /// The same of something else for each.
    pub fn try_map<U>(self, map: impl FnMut(T) -> Result<U, Trouble>) -> Result<Page<U>, Trouble> {
        let items = self.items.into_iter().map(map);
        Ok(Page {
            items: items.collect::<Result<_, _>>()?,
            version: self.version,
            next: self.next,
        })
    }
}

/// The events of a watch.
pub async fn events<K: Encoded>(
    connection: &Connection,
    request: Asked,
) -> Result<Events, Trouble> {
    let mut request = request.map_err(kube::Error::BuildRequest)?;
    // Events that are compressed one by one (Kubernetes 1.37) are more than the client can read.
    let headers = request.headers_mut();
    headers.insert(
        http::header::ACCEPT_ENCODING,
        http::HeaderValue::from_static("identity"),
    );
    let (encoding, body) = ask(connection, Ok(request), false).await?;
    Ok(events_of::<K>(encoding, body))
}

fn events_of<K: Encoded>(encoding: Encoding, body: Body) -> Events {
    let events = frames(encoding, body).filter_map(move |frame| {
        let event = match (frame, encoding) {
            (Ok(frame), Encoding::Protobuf) => Some(event_of_protobuf::<K>(frame)),
            (Ok(frame), Encoding::Json) => event_of_json::<K>(&frame),
            // A watch that ends in the middle of something ends.
            (Err(error), _) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            (Err(error), _) => Some(Err(kube::Error::ReadEvents(error).into())),
        };
        std::future::ready(event)
    });
    events.boxed()
}

async fn ask(
    connection: &Connection,
    request: Asked,
    only_metadata: bool,
) -> Result<(Encoding, Body), Trouble> {
    let mut request = request.map_err(kube::Error::BuildRequest)?;
    let sort = if only_metadata { METADATA } else { "" };
    let accepted = format!("{PROTOBUF}{sort},{JSON}{sort}");
    let accepted = http::HeaderValue::try_from(accepted).map_err(|error| malformed(&error))?;
    request.headers_mut().insert(http::header::ACCEPT, accepted);
    let client = connection.client();
    let answer = client.send(request.map(Body::from)).await?;
    let (head, body) = answer.into_parts();
    let sort = head.headers.get(http::header::CONTENT_TYPE);
    let is_protobuf = sort.is_some_and(|sort| sort.as_bytes().starts_with(PROTOBUF.as_bytes()));
    let encoding = if is_protobuf {
        Encoding::Protobuf
    } else {
        Encoding::Json
    };
    if head.status.is_success() {
        return Ok((encoding, body));
    }
    let bytes = whole(body).await?;
    let status = match encoding {
        Encoding::Protobuf => protobuf::status(&bytes).ok(),
        Encoding::Json => serde_json::from_slice(&bytes).ok(),
    };
    // What is no status is somebody's text.
    let status = status.unwrap_or_else(|| Status {
        message: String::from_utf8_lossy(&bytes).trim().to_owned(),
        ..Status::default()
    });
    Err(Box::new(Status {
        code: head.status.as_u16(),
        ..status
    })
    .into())
}

async fn whole(body: Body) -> Result<Bytes, Trouble> {
    let whole = Limited::new(body, BYTES_MAX).collect().await;
    let whole = whole.map_err(|error| Trouble::Unreachable(error.to_string()))?;
    Ok(whole.to_bytes())
}

/// What is said of one object each.
fn frames(encoding: Encoding, body: Body) -> BoxStream<'static, io::Result<Bytes>> {
    let reader = StreamReader::new(body.into_data_stream().map_err(of_body));
    match encoding {
        Encoding::Protobuf => {
            let codec = LengthDelimitedCodec::builder()
                .max_frame_length(BYTES_MAX)
                .new_codec();
            let frames = FramedRead::new(reader, codec);
            frames.map_ok(BytesMut::freeze).boxed()
        }
        Encoding::Json => {
            let lines = FramedRead::new(reader, LinesCodec::new_with_max_length(BYTES_MAX));
            let line = |line| match line {
                Ok(line) => Ok(Bytes::from(line)),
                Err(LinesCodecError::Io(error)) => Err(error),
                Err(error) => Err(io::Error::other(error)),
            };
            lines.map(line).boxed()
        }
    }
}

/// TLS, HTTP and its chunks each have an error of their own for a connection that ends.
fn of_body(error: kube::Error) -> io::Error {
    let first: &(dyn Error + 'static) = &error;
    let mut causes = std::iter::successors(Some(first), |cause| (*cause).source());
    let is_end = causes.any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::UnexpectedEof)
    });
    if is_end || error.to_string().contains("unexpected EOF during chunk") {
        return io::Error::new(io::ErrorKind::UnexpectedEof, error);
    }
    io::Error::other(error)
}

fn event_of_protobuf<K: Encoded>(frame: Bytes) -> Result<Event, Trouble> {
    let event = protobuf::WatchEvent::of_frame(frame)?;
    match event.sort.as_str() {
        "ADDED" | "MODIFIED" => upsert(event.object::<K>()?),
        "DELETED" => delete(event.object::<K>()?),
        "BOOKMARK" => {
            let (version, ends) = event.bookmark()?;
            Ok(Event::Bookmark(parse_version(Some(&version))?, ends))
        }
        "ERROR" => Err(Box::new(event.status()?).into()),
        other => Err(Trouble::Malformed(format!("an event {other:?}"))),
    }
}

/// Nothing of a line that was cut off.
fn event_of_json<K: Encoded>(line: &[u8]) -> Option<Result<Event, Trouble>> {
    Some(match serde_json::from_slice(line) {
        Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => upsert::<K>(object),
        Ok(WatchEvent::Deleted(object)) => delete::<K>(object),
        Ok(WatchEvent::Bookmark(bookmark)) => {
            let ends = bookmark.metadata.annotations.contains_key(LIST_END);
            parse_version(Some(&bookmark.metadata.resource_version))
                .map(|version| Event::Bookmark(version, ends))
        }
        Ok(WatchEvent::Error(status)) => Err(status.into()),
        Err(error) if error.is_eof() => return None,
        Err(error) => Err(match serde_json::from_slice::<Status>(line) {
            Ok(status) => Box::new(status).into(),
            Err(_) => malformed(&error),
        }),
    })
}

fn upsert<K: Encoded>(object: K) -> Result<Event, Trouble> {
    let object = object.into();
    let version = version_of(&object)?;
    Ok(Event::Upsert(object, version))
}

fn delete<K: Encoded>(object: K) -> Result<Event, Trouble> {
    let object = object.into();
    Ok(Event::Delete(key_of(&object), version_of(&object)?))
}

/// Its version.
pub fn version_of(object: &Object) -> Result<Version, Trouble> {
    parse_version(object.metadata().resource_version.as_deref())
}

fn parse_version(text: Option<&str>) -> Result<Version, Trouble> {
    let text = text.unwrap_or_default();
    text.parse()
        .map_err(|_| Trouble::Malformed(format!("resourceVersion {text:?} is no number")))
}

fn malformed(error: &impl ToString) -> Trouble {
    Trouble::Malformed(error.to_string())
}
