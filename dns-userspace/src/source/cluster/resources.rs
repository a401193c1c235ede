//! What is watched: the one table that requests and access rules are made of.
//!
//! A slice is wanted for headless services alone, unless an option asks for more. The controller of Kubernetes marks
//! its slices of headless services with a label; slices that others make (the mirror of an Endpoints object, an
//! operator) need not have it, so of those all are watched. The two selections have no slice in common.

use std::fmt::Write as _;

use crate::source::Kind;

/// A kind of objects, as the API server has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// The kind.
    pub kind: Kind,
    /// The API group; empty for the core one.
    pub group: &'static str,
    /// The name in paths and in access rules.
    pub plural: &'static str,
    /// Where all of them are.
    pub path: &'static str,
    /// The API server knows it only from a `CustomResourceDefinition`.
    pub is_custom: bool,
    /// Objects of one page of a list, so that a page is some MB of text at most.
    pub page_objects_max: u32,
}

/// All that may be watched.
static RESOURCES: [Resource; 5] = [
    Resource {
        kind: Kind::Namespace,
        group: "",
        plural: "namespaces",
        path: "/api/v1/namespaces",
        is_custom: false,
        page_objects_max: 500,
    },
    Resource {
        kind: Kind::Service,
        group: "",
        plural: "services",
        path: "/api/v1/services",
        is_custom: false,
        page_objects_max: 500,
    },
    Resource {
        kind: Kind::EndpointSlice,
        group: "discovery.k8s.io",
        plural: "endpointslices",
        path: "/apis/discovery.k8s.io/v1/endpointslices",
        is_custom: false,
        page_objects_max: 50,
    },
    Resource {
        kind: Kind::Pod,
        group: "",
        plural: "pods",
        path: "/api/v1/pods",
        is_custom: false,
        page_objects_max: 250,
    },
    Resource {
        kind: Kind::ServiceImport,
        group: "multicluster.x-k8s.io",
        plural: "serviceimports",
        path: "/apis/multicluster.x-k8s.io/v1alpha1/serviceimports",
        is_custom: true,
        page_objects_max: 500,
    },
];

/// Slices of headless services, by the controller of Kubernetes.
const HEADLESS: &str = "service.kubernetes.io/headless,endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io";
/// Slices of all others.
const BY_OTHERS: &str = "endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io";

/// Slices of imported services, whoever makes them.
const IMPORTED: &str = "multicluster.kubernetes.io/service-name";
/// Of these, what neither of the two selections has: the controller copies the labels of a service to its slices.
const IMPORTED_BESIDE: &str = "multicluster.kubernetes.io/service-name,!service.kubernetes.io/headless,endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io";

/// Which slices are watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slices {
    /// None: headless services have no names.
    Nothing,
    /// Those of headless services, as far as one can tell.
    #[default]
    Headless,
    /// All.
    All,
}

/// What is wanted of a cluster, beside namespaces and services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Which slices.
    pub slices: Slices,
    /// Pods, for `pods verified`.
    pub pods: bool,
    /// Imported services and their slices, for `multicluster`.
    pub imports: bool,
}

/// One watch: objects of a kind, all of them or some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// As metrics and log lines name it.
    pub name: &'static str,
    /// The kind.
    pub resource: &'static Resource,
    /// A label selector.
    pub selector: Option<&'static str>,
}

impl Wanted {
    /// The watches.
    pub fn watches(self) -> Vec<Watched> {
        let [namespaces, services, slices, pods, imports] = &RESOURCES;
        let all = |resource: &'static Resource| Watched {
            name: resource.plural,
            resource,
            selector: None,
        };
        let some = |name, selector| Watched {
            name,
            resource: slices,
            selector: Some(selector),
        };
        let mut watches = vec![all(namespaces), all(services)];
        match self.slices {
            Slices::Nothing if self.imports => {
                watches.push(some("endpointslices of imports", IMPORTED));
            }
            Slices::Nothing => {}
            Slices::Headless => watches.extend([
                some("endpointslices of headless services", HEADLESS),
                some("endpointslices by others", BY_OTHERS),
            ]),
            Slices::All => watches.push(all(slices)),
        }
        if self.imports && self.slices == Slices::Headless {
            watches.push(some("endpointslices of imports", IMPORTED_BESIDE));
        }
        if self.pods {
            watches.push(all(pods));
        }
        if self.imports {
            watches.push(all(imports));
        }
        watches
    }

    /// The `ClusterRole` that lets a service account do it, as YAML.
    pub fn cluster_role(self, name: &str) -> String {
        let mut yaml = format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {name}\nrules:\n"
        );
        let mut resources: Vec<&Resource> =
            self.watches().iter().map(|watch| watch.resource).collect();
        resources.dedup();
        for Resource { group, plural, .. } in resources {
            // A string has room for everything.
            let _ = writeln!(
                yaml,
                "- apiGroups: [\"{group}\"]\n  resources: [\"{plural}\"]\n  verbs: [\"list\", \"watch\"]"
            );
        }
        yaml
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_what_is_watched() {
        let role = Wanted::default().cluster_role("hopzero");
        assert_eq!(
            role,
            "\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: hopzero
rules:
- apiGroups: [\"\"]
  resources: [\"namespaces\"]
  verbs: [\"list\", \"watch\"]
- apiGroups: [\"\"]
  resources: [\"services\"]
  verbs: [\"list\", \"watch\"]
- apiGroups: [\"discovery.k8s.io\"]
  resources: [\"endpointslices\"]
  verbs: [\"list\", \"watch\"]
"
        );
        let nothing = Wanted {
            slices: Slices::Nothing,
            pods: true,
            imports: false,
        };
        let role = nothing.cluster_role("hopzero");
        assert!(role.contains("pods") && !role.contains("endpointslices"));
        let imports = Wanted {
            imports: true,
            ..nothing
        };
        let role = imports.cluster_role("hopzero");
        assert!(role.contains("endpointslices"), "{role}");
        assert!(role.ends_with(
            "\
- apiGroups: [\"multicluster.x-k8s.io\"]
  resources: [\"serviceimports\"]
  verbs: [\"list\", \"watch\"]
"
        ));
    }
}
