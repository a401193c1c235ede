//! Following a handful of objects of the API server: a `ConfigMap`, a Service and its endpoints.
//!
//! They are few and seldom change, so a watch only says that something has: then they are listed anew.

use std::{fmt::Debug, time::Duration};

use futures_util::StreamExt as _;
use kube::{
    Api, Resource,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use crate::source::cluster::Connection;

/// How long the answer to a list may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long the API server is asked to keep a watch open, and when it counts as dead if it does not end.
const WATCH_SECONDS: u32 = 240;
const IDLE_MAX: Duration = Duration::from_mins(5);
/// After a change, for those that come with it.
const SETTLED_AFTER: Duration = Duration::from_millis(200);
/// After an error: from the first to the last.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// Which ones.
#[derive(Clone)]
pub(in crate::cli) struct Wanted {
    pub namespace: String,
    /// By name: one.
    pub fields: Option<String>,
    pub labels: Option<String>,
}

impl Wanted {
    /// The one of that name.
    pub fn one(named: &super::Named) -> Self {
        Wanted {
            namespace: named.namespace.clone(),
            fields: Some(format!("metadata.name={}", named.name)),
            labels: None,
        }
    }

    /// How they are listed.
    pub fn list(&self) -> ListParams {
        ListParams {
            field_selector: self.fields.clone(),
            label_selector: self.labels.clone(),
            ..ListParams::default()
        }
    }
}

/// Tells of all of them at first and after each change, for ever.
pub(super) async fn follow<K>(connection: Connection, wanted: Wanted, mut tell: impl FnMut(Vec<K>))
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let mut pause = PAUSE_MIN;
    loop {
        match until_changed(&connection, &wanted, &mut tell).await {
            Ok(()) => {
                pause = PAUSE_MIN;
                sleep(SETTLED_AFTER).await;
            }
            Err(error) => {
                tracing::warn!(error, kind = %K::kind(&()), again_after_seconds = pause.as_secs(),
                    "the API server does not say");
                connection.renew().await;
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

async fn until_changed<K>(
    connection: &Connection,
    wanted: &Wanted,
    tell: &mut impl FnMut(Vec<K>),
) -> Result<(), String>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(connection.client(), &wanted.namespace);
    let list = wanted.list();
    let listed = timeout(ANSWER_MAX, api.list(&list)).await;
    let listed = listed
        .map_err(|_| "no answer".to_owned())?
        .map_err(|error| error.to_string())?;
    let version = listed.metadata.resource_version.unwrap_or_default();
    tell(listed.items);
    let watch = WatchParams {
        field_selector: wanted.fields.clone(),
        label_selector: wanted.labels.clone(),
        timeout: Some(WATCH_SECONDS),
        ..WatchParams::default()
    };
    let events = timeout(ANSWER_MAX, api.watch(&watch, &version)).await;
    let events = events
        .map_err(|_| "no answer".to_owned())?
        .map_err(|error| error.to_string())?;
    let mut events = std::pin::pin!(events);
    loop {
        match timeout(IDLE_MAX, events.next()).await {
            Ok(Some(Ok(WatchEvent::Bookmark(_)))) => {}
            Ok(Some(Ok(WatchEvent::Error(status)))) => return Err(status.message),
            Ok(Some(Err(error))) => return Err(error.to_string()),
            // A change; or it has fallen silent, or has ended as it was asked to.
            Ok(Some(Ok(_)) | None) | Err(_) => return Ok(()),
        }
    }
}
