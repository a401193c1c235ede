//! Asking the API server for the objects of one watch: pages of a list, and events.

use std::time::Duration;

use kube::core::{
    Request,
    params::{ListParams, WatchParams},
};
use tokio::time::timeout;

use super::{
    answer::{self, Asked, Events, Page, version_of},
    connection::Connection,
    held::{Key, Version, key_of},
    protobuf::Encoded,
    resources::Watched,
    trouble::Trouble,
};
use crate::source::{
    Kind, Object,
    objects::{EndpointSlice, Namespace, Pod, Service, ServiceImport},
};

/// How long the answer to a request may take to begin, and a page to come.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How long the API server is asked to keep a watch open, seconds: it ends a quiet one before we have to take it for
/// a dead one ([`super::follow::IDLE_MAX`]).
const WATCH_SECONDS: std::ops::Range<u32> = 40..50;

/// The first version of Kubernetes whose API server streams lists by default. Earlier ones may take the request for
/// a watch, and never come to the end of the list.
const STREAMS_SINCE_MINOR: u32 = 32;

/// One watch, as it is asked for.
#[derive(Clone)]
pub struct Api {
    /// Where.
    pub connection: Connection,
    /// What.
    pub watched: Watched,
}

/// Waits for an answer of the API server.
pub async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    timeout(limit, answer).await.map_err(|_| Trouble::Silent)?
}

impl Api {
    /// Whether lists can be streamed.
    pub async fn streams_lists(&self) -> Result<bool, Trouble> {
        let version = async { Ok(self.connection.client().apiserver_version().await?) };
        let minor = match within(ANSWER_MAX, version).await {
            Ok(version) => version.minor,
            // Not everybody may ask.
            Err(Trouble::Forbidden(_) | Trouble::Unsupported(_) | Trouble::Unknown(_)) => {
                return Ok(false);
            }
            Err(trouble) => return Err(trouble),
        };
        // Some write `32+`.
        let digits = minor.trim_end_matches(|character: char| !character.is_ascii_digit());
        Ok(digits
            .parse()
            .is_ok_and(|minor: u32| minor >= STREAMS_SINCE_MINOR))
    }

    /// A page of a list: the first, or the one that `next` of the one before asks for.
    pub async fn page(&self, next: Option<String>) -> Result<Page<(Object, Version)>, Trouble> {
        let request = Request::new(self.watched.resource.path).list(&self.list_params(next));
        match self.watched.resource.kind {
            Kind::Namespace => self.page_of::<Namespace>(request, false).await,
            Kind::Service => self.page_of::<Service>(request, false).await,
            Kind::EndpointSlice => self.page_of::<EndpointSlice>(request, false).await,
            Kind::Pod => self.page_of::<Pod>(request, false).await,
            Kind::ServiceImport => self.page_of::<ServiceImport>(request, false).await,
        }?
        .try_map(|object| {
            let version = version_of(&object)?;
            Ok((object, version))
        })
    }

    /// A page of a list of names and versions.
    pub async fn names(&self, next: Option<String>) -> Result<Page<(Key, Version)>, Trouble> {
        let request = Request::new(self.watched.resource.path).list(&self.list_params(next));
        // Metadata alone is what a namespace is to us.
        let page = self.page_of::<Namespace>(request, true).await?;
        page.try_map(|object| Ok((key_of(&object), version_of(&object)?)))
    }

    /// Whether the audit may list, too, by the name of one object: streaming needs the verb `watch` alone, and that the
    /// other one is missing is better said at the start than in ten minutes.
    pub async fn may_list(&self) -> Result<(), Trouble> {
        let params = ListParams {
            limit: Some(1),
            ..self.list_params(None)
        };
        let request = Request::new(self.watched.resource.path).list(&params);
        let page = self.page_of::<Namespace>(request, true).await;
        page.map(|_| ())
    }

    /// The events after a version; or, `with_list`, everything first.
    pub async fn watch(&self, after: Version, with_list: bool) -> Result<Events, Trouble> {
        let params = WatchParams {
            label_selector: self.watched.selector.map(str::to_owned),
            timeout: Some(fastrand::u32(WATCH_SECONDS)),
            bookmarks: true,
            send_initial_events: with_list,
            ..WatchParams::default()
        };
        let after = match after {
            0 => String::new(),
            version => version.to_string(),
        };
        let request = Request::new(self.watched.resource.path).watch(&params, &after);
        match self.watched.resource.kind {
            Kind::Namespace => self.events_of::<Namespace>(request).await,
            Kind::Service => self.events_of::<Service>(request).await,
            Kind::EndpointSlice => self.events_of::<EndpointSlice>(request).await,
            Kind::Pod => self.events_of::<Pod>(request).await,
            Kind::ServiceImport => self.events_of::<ServiceImport>(request).await,
        }
    }

    fn list_params(&self, next: Option<String>) -> ListParams {
        // Without a version: what the API server's store has, which is never older than what a watch has said.
        ListParams {
            label_selector: self.watched.selector.map(str::to_owned),
            limit: Some(self.watched.resource.page_objects_max),
            continue_token: next,
            ..ListParams::default()
        }
    }

    async fn page_of<K: Encoded>(
        &self,
        request: Asked,
        only_metadata: bool,
    ) -> Result<Page<Object>, Trouble> {
        let page = answer::page::<K>(&self.connection, request, only_metadata);
        within(ANSWER_MAX, page).await
    }

    async fn events_of<K: Encoded>(&self, request: Asked) -> Result<Events, Trouble> {
        within(ANSWER_MAX, answer::events::<K>(&self.connection, request)).await
    }
}
