//! Objects as protobuf: what the API server says in far fewer bytes than its JSON has.
//!
//! ```text
//! an answer   | 6b 38 73 00 | Unknown { type, raw ─▶ list, object or Status } |      "k8s\0" is for all but the frames of a watch
//! a watch     | length, 4 bytes | WatchEvent { type, object ─▶ an answer as above } | length …
//! ```
//!
//! The messages have the numbers of the `generated.proto` files of Kubernetes (`k8s.io/api`, `k8s.io/apimachinery`), which never
//! change, and only the fields that DNS needs: all others are passed over, `managedFields` among them.

mod messages;

use kube::core::Status;
use prost::{Message, bytes::Bytes};
use serde::de::DeserializeOwned;

use super::{answer::LIST_END, trouble::Trouble};
use crate::source::Object;

/// What every answer begins with.
const MAGIC: &[u8] = b"k8s\0";

/// An object that comes in either encoding.
pub trait Encoded: DeserializeOwned + Clone + Into<Object> + Send + 'static {
    /// What its message says.
    ///
    /// # Errors
    /// It is none, or objects of this kind have no message.
    fn of_message(message: Bytes) -> Result<Self, Trouble>;
}

/// `metadata` and the items of a list.
#[derive(Message)]
pub struct List {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ListMeta>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    items: Vec<Bytes>,
}

#[derive(Message)]
pub struct ListMeta {
    #[prost(string, tag = "2")]
    pub resource_version: String,
    #[prost(string, tag = "3")]
    pub continue_token: String,
}

/// What a frame of a watch is.
#[derive(Message)]
pub struct WatchEvent {
    /// `ADDED` and others.
    #[prost(string, tag = "1")]
    pub sort: String,
    #[prost(message, optional, tag = "2")]
    object: Option<Raw>,
}

/// `RawExtension`
#[derive(Message)]
struct Raw {
    #[prost(bytes = "bytes", tag = "1")]
    raw: Bytes,
}

#[derive(Message)]
struct Unknown {
    #[prost(bytes = "bytes", tag = "2")]
    raw: Bytes,
}

#[derive(Message)]
struct StatusMessage {
    #[prost(string, tag = "3")]
    message: String,
    #[prost(string, tag = "4")]
    reason: String,
    #[prost(int32, tag = "6")]
    code: i32,
}

/// A list, and its objects.
pub fn list<K: Encoded>(answer: &Bytes) -> Result<(ListMeta, Vec<K>), Trouble> {
    let list: List = decode(unwrap(answer)?)?;
    let items = list
        .items
        .into_iter()
        .map(K::of_message)
        .collect::<Result<_, _>>();
    Ok((list.metadata.unwrap_or_default(), items?))
}

/// What has failed.
pub fn status(answer: &Bytes) -> Result<Status, Trouble> {
    let status: StatusMessage = decode(unwrap(answer)?)?;
    Ok(Status {
        message: status.message,
        reason: status.reason,
        code: u16::try_from(status.code).unwrap_or_default(),
        ..Status::default()
    })
}

impl WatchEvent {
    /// A frame of a watch.
    pub fn of_frame(frame: Bytes) -> Result<Self, Trouble> {
        decode(frame)
    }

    /// What has come, changed or gone.
    pub fn object<K: Encoded>(self) -> Result<K, Trouble> {
        K::of_message(self.inner()?)
    }

    /// What is said of an object that is none: its version, and whether a streamed list ends here.
    pub fn bookmark(self) -> Result<(String, bool), Trouble> {
        let metadata = decode::<messages::Namespace>(self.inner()?)?.metadata;
        let metadata = metadata.unwrap_or_default();
        let ends = metadata.annotations.contains_key(LIST_END);
        Ok((metadata.resource_version, ends))
    }

    /// Why it goes on no more.
    pub fn status(self) -> Result<Status, Trouble> {
        status(&self.object.unwrap_or_default().raw)
    }

    fn inner(self) -> Result<Bytes, Trouble> {
        unwrap(&self.object.unwrap_or_default().raw)
    }
}

/// What stands in the envelope.
fn unwrap(answer: &Bytes) -> Result<Bytes, Trouble> {
    let message = answer.strip_prefix(MAGIC);
    let message = message.ok_or_else(|| Trouble::Malformed("no protobuf of Kubernetes".into()))?;
    decode::<Unknown>(answer.slice_ref(message)).map(|unknown| unknown.raw)
}

fn decode<M: Message + Default>(message: Bytes) -> Result<M, Trouble> {
    M::decode(message).map_err(|error| Trouble::Malformed(error.to_string()))
}

/// A frame of a watch.
#[cfg(test)]
pub fn event(sort: &str, raw: Bytes) -> Bytes {
    let event = WatchEvent {
        sort: sort.to_owned(),
        object: Some(Raw { raw }),
    };
    event.encode_to_vec().into()
}
