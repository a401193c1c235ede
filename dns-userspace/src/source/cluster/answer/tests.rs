//! What a real API server (Kubernetes 1.34) has said, twice: in protobuf and in JSON.

use super::*;
use crate::source::objects::{EndpointSlice, Namespace, Pod, Service};

macro_rules! said {
    ($name:literal) => {
        (
            Bytes::from_static(include_bytes!(concat!("../tests/answers/", $name, ".pb"))),
            include_bytes!(concat!("../tests/answers/", $name, ".json")).as_slice(),
        )
    };
}

/// As many objects, each the same.
fn same<K: Encoded>((protobuf, json): (Bytes, &[u8]), count: usize) -> Result<(), Trouble> {
    let list = page_of::<K>(Encoding::Protobuf, &protobuf)?;
    let expected = page_of::<K>(Encoding::Json, &Bytes::copy_from_slice(json))?;
    assert_eq!(list.items.len(), count);
    assert_eq!(format!("{:?}", list.items), format!("{:?}", expected.items));
    assert_eq!(list.version, expected.version);
    assert_eq!(list.next.is_some(), expected.next.is_some());
    Ok(())
}

#[test]
fn lists_say_the_same_in_both() -> Result<(), Trouble> {
    same::<Namespace>(said!("namespaces"), 1)?;
    same::<Service>(said!("services"), 2)?;
    same::<EndpointSlice>(said!("slices"), 2)?;
    same::<Pod>(said!("pods"), 1)?;
    same::<Namespace>(said!("metadata"), 2)
}

async fn all<K: Encoded>(encoding: Encoding, body: Vec<u8>) -> Vec<String> {
    let events = events_of::<K>(encoding, Body::from(body));
    events.map(|event| format!("{event:?}")).collect().await
}

#[tokio::test]
async fn watches_say_the_same_in_both() {
    let (protobuf, json) = said!("watch");
    let events = all::<Service>(Encoding::Protobuf, protobuf.to_vec()).await;
    assert_eq!(
        events.len(),
        4,
        "three services, and the list's end: {events:?}"
    );
    assert!(events[3].starts_with("Ok(Bookmark(") && events[3].ends_with(", true))"));
    assert_eq!(events, all::<Service>(Encoding::Json, json.to_vec()).await);
}

#[tokio::test]
async fn what_is_cut_off_is_no_event() {
    let (protobuf, json) = said!("watch");
    let whole = all::<Service>(Encoding::Protobuf, protobuf.to_vec()).await;
    for (encoding, bytes) in [(Encoding::Protobuf, &protobuf[..]), (Encoding::Json, json)] {
        for length in 0..bytes.len() {
            let events = all::<Service>(encoding, bytes[..length].to_vec()).await;
            let said = events.iter().filter(|event| event.starts_with("Ok"));
            let said: Vec<_> = said.collect();
            assert!(said.iter().zip(&whole).all(|(a, b)| *a == b), "{length}");
            assert!(
                said.len() < whole.len() || length + 1 == json.len(),
                "{length}"
            );
        }
    }
}

#[test]
fn refusals_say_the_same_in_both() -> Result<(), Trouble> {
    let (protobuf, json) = said!("refused");
    let status = protobuf::status(&protobuf)?;
    let expected: Status = serde_json::from_slice(json).map_err(|error| malformed(&error))?;
    assert_eq!(status.message, expected.message);
    assert_eq!((status.code, &*status.reason), (400, &*expected.reason));
    let ended = event_of_protobuf::<Service>(protobuf::event("ERROR", protobuf));
    assert!(matches!(ended, Err(Trouble::Unsupported(_))), "{ended:?}");
    Ok(())
}

#[test]
fn what_is_none_is_malformed() {
    let (protobuf, json) = said!("services");
    for (encoding, bytes) in [
        (Encoding::Protobuf, Bytes::from_static(json)),
        (Encoding::Json, protobuf.clone()),
        (Encoding::Protobuf, Bytes::new()),
        (Encoding::Protobuf, protobuf.slice(..protobuf.len() - 1)),
    ] {
        let page = page_of::<Service>(encoding, &bytes);
        assert!(matches!(page, Err(Trouble::Malformed(_))));
    }
    let other = event_of_protobuf::<Service>(protobuf::event("RENAMED", protobuf));
    assert!(matches!(other, Err(Trouble::Malformed(_))), "{other:?}");
}
