//! Objects as the API server would store them, without what no part of DNS reads.

use crate::{
    source::{Kind, Object, objects::ObjectMeta},
    state::is_label,
};

/// The namespace of an object that names none.
const NAMESPACE_DEFAULT: &str = "default";

/// See [`named_namespace`].
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Why an object of a file is left out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// `generateName` is for the API server.
    #[error("it has no metadata.name")]
    Missing,
    /// Kubernetes would not take it, and DNS cannot say it.
    #[error("{0:?} is not a lower-case DNS label")]
    NotALabel(String),
}

/// Fills in the namespace, and drops what would make two versions differ that DNS sees the same.
///
/// # Errors
///
/// The object has no name, or one that Kubernetes would not take.
pub fn normalise(object: &mut Object) -> Result<(), NameError> {
    let kind = object.kind();
    let metadata = metadata_mut(object);
    metadata.resource_version = None;
    let name = metadata.name.as_deref().filter(|name| !name.is_empty());
    let name = name.ok_or(NameError::Missing)?;
    // Only services and namespaces are labels of names.
    if matches!(kind, Kind::Service | Kind::Namespace | Kind::ServiceImport) && !is_label(name) {
        return Err(NameError::NotALabel(name.to_owned()));
    }
    if kind == Kind::Namespace {
        metadata.namespace = None;
        *metadata = named_namespace(std::mem::take(metadata));
        return Ok(());
    }
    let namespace = metadata.namespace.take().filter(|name| !name.is_empty());
    let namespace = namespace.unwrap_or_else(|| NAMESPACE_DEFAULT.to_owned());
    if !is_label(&namespace) {
        return Err(NameError::NotALabel(namespace));
    }
    metadata.namespace = Some(namespace);
    Ok(())
}

/// The API server gives each namespace a label with its name.
pub fn named_namespace(mut metadata: ObjectMeta) -> ObjectMeta {
    if let Some(name) = metadata.name.clone() {
        let labels = metadata.labels.get_or_insert_default();
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name);
    }
    metadata
}

fn metadata_mut(object: &mut Object) -> &mut ObjectMeta {
    match object {
        Object::Service(service) => &mut service.metadata,
        Object::EndpointSlice(slice) => &mut slice.metadata,
        Object::Namespace(namespace) => &mut namespace.metadata,
        Object::Pod(pod) => &mut pod.metadata,
        Object::ServiceImport(import) => &mut import.metadata,
    }
}
