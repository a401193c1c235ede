//! What a name of the cluster consists of, for `metadata`.
//!
//! ```text
//! _PORT._PROTOCOL.SERVICE.NAMESPACE.KIND.zone
//!        ENDPOINT.SERVICE.NAMESPACE.KIND.zone        KIND: svc or pod
//! ENDPOINT.CLUSTER.SERVICE.NAMESPACE.KIND.zone        in a zone of imported services
//! ```
//!
//! What a shorter name has not is empty. Nothing is looked up: the name need not exist.

use hickory_proto::rr::Name;

/// `label` of a name below `zone`, without the `kubernetes/` before it; `None` if it has no such form, or there is no
/// such label.
pub(super) fn of_name(name: &Name, zone: &Name, is_imported: bool, label: &str) -> Option<String> {
    let labels = name.iter().len().checked_sub(zone.iter().len())?;
    let labels: Vec<String> = (name.iter().take(labels))
        .map(|label| String::from_utf8_lossy(label).to_lowercase())
        .collect();
    let mut labels: Vec<&str> = labels.iter().map(String::as_str).rev().collect();
    // Such a name alone says nothing.
    if matches!(labels[..], ["svc" | "pod"]) {
        labels.clear();
    }
    let is_ours = matches!(labels.first(), None | Some(&"svc" | &"pod")) && labels.len() <= 5;
    let is_of_cluster = is_imported
        && matches!(labels[..], [_, _, _, cluster, host] if !cluster.starts_with('_') && !host.starts_with('_'));
    let has_port = labels.len() == 5 && !is_of_cluster;
    let at = match label {
        "kind" => 0,
        "namespace" => 1,
        "service" => 2,
        "endpoint" if has_port => 5,
        "endpoint" if is_of_cluster => 4,
        "cluster" if is_of_cluster => 3,
        "cluster" if is_imported => 5,
        "protocol" | "port-name" if is_of_cluster => 5,
        "endpoint" => 3,
        "protocol" if has_port => 3,
        "port-name" if has_port => 4,
        "protocol" | "port-name" => 5,
        _ => return None,
    };
    let found = labels.get(at).copied().unwrap_or_default();
    let found = match label {
        "protocol" | "port-name" => found.strip_prefix('_').unwrap_or(found),
        _ => found,
    };
    is_ours.then(|| found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let labels = [
            "kind",
            "namespace",
            "service",
            "endpoint",
            "protocol",
            "port-name",
        ];
        let zone = Name::from_ascii("cluster.local.").unwrap();
        for (name, expected) in [
            ("cluster.local.", Some(["", "", "", "", "", ""])),
            ("svc.cluster.local.", Some(["", "", "", "", "", ""])),
            (
                "shop.svc.cluster.local.",
                Some(["svc", "shop", "", "", "", ""]),
            ),
            (
                "Web.Shop.Svc.cluster.local.",
                Some(["svc", "shop", "web", "", "", ""]),
            ),
            (
                "a.web.shop.svc.cluster.local.",
                Some(["svc", "shop", "web", "a", "", ""]),
            ),
            (
                "_http._tcp.web.shop.svc.cluster.local.",
                Some(["svc", "shop", "web", "", "tcp", "http"]),
            ),
            (
                "10-0-0-1.shop.pod.cluster.local.",
                Some(["pod", "shop", "10-0-0-1", "", "", ""]),
            ),
            ("a._http._tcp.web.shop.svc.cluster.local.", None),
            ("www.cluster.local.", None),
        ] {
            let name = Name::from_ascii(name).unwrap();
            let found = labels.map(|label| of_name(&name, &zone, false, label));
            let expected = match expected {
                Some(values) => values.map(|value| Some(value.to_owned())),
                None => [const { None }; 6],
            };
            assert_eq!(found, expected, "{name}");
            assert_eq!(of_name(&name, &zone, false, "colour"), None);
            assert_eq!(of_name(&name, &zone, false, "cluster"), None);
        }
    }

    #[test]
    fn an_imported_endpoint_is_in_a_cluster() {
        let zone = Name::from_ascii("clusterset.local.").unwrap();
        let labels = ["service", "cluster", "endpoint", "protocol", "port-name"];
        for (name, expected) in [
            ("a.East.db.shop.svc", ["db", "east", "a", "", ""]),
            ("a.db.shop.svc", ["db", "", "a", "", ""]),
            ("_http._tcp.db.shop.svc", ["db", "", "", "tcp", "http"]),
            ("a._tcp.db.shop.svc", ["db", "", "", "tcp", "a"]),
            ("db.shop.svc", ["db", "", "", "", ""]),
        ] {
            let full = Name::from_ascii(format!("{name}.clusterset.local.")).unwrap();
            let found = labels.map(|label| of_name(&full, &zone, true, label));
            assert_eq!(
                found,
                expected.map(|value| Some(value.to_owned())),
                "{name}"
            );
        }
    }
}
