//! Reading `kubernetes`.

use hickory_proto::rr::Name;

use super::{
    super::{Builder, args, zones::Zones},
    Kubernetes,
    api_server::Wish,
};
use crate::{
    corefile::{Directive, Fault},
    source::selector::Selector,
    zone::{Pods, Shown, ZoneConfig},
};

const TTL_DEFAULT: u32 = 5;
const TTL_MAX: u32 = 3600;

/// The properties, in the order of `CoreDNS`'s documentation.
const PROPERTIES: [&str; 18] = [
    "endpoint",
    "tls",
    "kubeconfig",
    "apiserver_qps",
    "apiserver_burst",
    "apiserver_max_inflight",
    "namespaces",
    "labels",
    "namespace_labels",
    "pods",
    "endpoint_pod_names",
    "ttl",
    "noendpoints",
    "fallthrough",
    "multicluster",
    "ignore",
    "startup_timeout",
    "upstream",
];

/// Reads `kubernetes`.
pub(in super::super) fn setup(
    builder: &mut Builder<'_>,
    directives: &[&Directive],
) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    let mut config = zones(builder, directive)?;
    multicluster(builder, directive, &mut config)?;
    let mut fallthrough = Vec::new();
    let mut wish = Wish::default();
    for property in directive.properties() {
        match property.name.text.as_str() {
            "ttl" => {
                let [ttl] = property.exactly("a number of seconds")?;
                config.ttl = ttl.parse("a number of seconds")?;
                if config.ttl > TTL_MAX {
                    return Err(ttl.not("0 to 3600 seconds"));
                }
            }
            "fallthrough" => fallthrough.extend(builder.fallthrough(property)?),
            "startup_timeout" => {
                let [timeout] = property.exactly("a duration")?;
                timeout.duration()?;
            }
            // Read already.
            "upstream" | "multicluster" => {}
            name if Wish::has(name) => wish.read(property)?,
            _ => shown(&mut config.shown, property)?,
        }
    }
    if let Some(both) = directive.properties().iter().find(|property| {
        property.name.text == "namespace_labels" && !config.shown.namespaces.is_empty()
    }) {
        return Err(Fault::new(
            both.span(),
            "`namespace_labels` together with `namespaces`",
            "one of them",
        ));
    }
    builder.environment.api_server.wish(wish, directive)?;
    let mut all = vec![config.origin.clone()];
    all.extend(config.others.iter().chain(&config.reverse).cloned());
    let cluster = builder.environment.cluster(config).map_err(|error| {
        let remedy = "a restart for other namespaces, labels, pods, endpoints or imported services";
        Fault::new(directive.span(), error.to_string(), remedy)
    })?;
    builder.plugins.push(Box::new(Kubernetes {
        cluster,
        zones: Zones::new(&all),
        fallthrough,
    }));
    Ok(())
}

/// The first domain is where PTR records point to.
fn zones(builder: &Builder<'_>, directive: &Directive) -> Result<ZoneConfig, Fault> {
    let is_reverse = |zone: &Name| {
        ["in-addr.arpa.", "ip6.arpa."]
            .iter()
            .any(|tree| Name::from_ascii(tree).is_ok_and(|tree| tree.zone_of(zone)))
    };
    let zones = builder.zones(&directive.args)?.into_iter();
    let (reverse, domains): (Vec<Name>, Vec<Name>) = zones.partition(is_reverse);
    let mut domains = domains.into_iter();
    let origin = domains.next().ok_or_else(|| {
        Fault::new(
            directive.span(),
            "`kubernetes` without a zone for services",
            "a zone such as cluster.local",
        )
    })?;
    Ok(ZoneConfig {
        others: domains.filter(|domain| *domain != origin).collect(),
        origin,
        multicluster: Vec::new(),
        reverse,
        ttl: TTL_DEFAULT,
        shown: Shown::default(),
    })
}

/// The zones of imported services: the last line that names them counts, and each is one of the directive's zones. PTR
/// records point to the first of the other domains, if there is one: imported services have none.
fn multicluster(
    builder: &Builder<'_>,
    directive: &Directive,
    config: &mut ZoneConfig,
) -> Result<(), Fault> {
    let properties = directive.properties().iter();
    let mut named = properties.filter(|property| property.name.text == "multicluster");
    let Some(property) = named.next_back().filter(|last| !last.args.is_empty()) else {
        return Ok(());
    };
    let zones = builder.zones(&property.args)?;
    let is_ours = |zone: &Name| config.zones().any(|ours| ours == zone);
    if let Some(zone) = zones.iter().find(|zone| !is_ours(zone)) {
        let ours: Vec<String> = config.zones().map(ToString::to_string).collect();
        return Err(Fault::new(
            property.span(),
            format!("`kubernetes` is not authoritative for the multicluster zone {zone}"),
            format!("one of its zones: {}", ours.join(" ")),
        ));
    }
    let is_imported = |domain: &Name| zones.iter().any(|outer| outer.zone_of(domain));
    let mut others = config.others.iter();
    if is_imported(&config.origin)
        && let Some(own) = others.position(|domain| !is_imported(domain))
    {
        std::mem::swap(&mut config.origin, &mut config.others[own]);
    }
    config.shown.imports = true;
    config.multicluster = zones;
    Ok(())
}

/// What is shown of the cluster.
fn shown(shown: &mut Shown, property: &Directive) -> Result<(), Fault> {
    match property.name.text.as_str() {
        "namespaces" => {
            if property.args.is_empty() {
                return Err(property.wrong_arguments("NAMESPACE..."));
            }
            let names = property.args.iter().map(|word| word.text.clone());
            shown.namespaces.extend(names);
        }
        "labels" => shown.labels = Some(selector(property)?),
        "namespace_labels" => shown.namespace_labels = Some(selector(property)?),
        "pods" => {
            let [mode] = property.exactly("disabled, insecure or verified")?;
            shown.pods = match mode.text.as_str() {
                "disabled" => Pods::Disabled,
                "insecure" => Pods::Insecure,
                "verified" => Pods::Verified,
                _ => return Err(mode.not("disabled, insecure or verified")),
            };
        }
        "endpoint_pod_names" => {
            property.exactly::<0>("no arguments")?;
            shown.endpoint_pod_names = true;
        }
        "noendpoints" => {
            property.exactly::<0>("no arguments")?;
            shown.no_endpoints = true;
        }
        "ignore" => {
            let [what] = property.exactly("empty_service")?;
            if what.text != "empty_service" {
                return Err(what.not("empty_service"));
            }
            shown.ignore_empty_service = true;
        }
        "zonal" => {
            return Err(Fault::new(
                property.name.span,
                "hopzero does not have `zonal` of CoreDNS's `kubernetes`",
                "the same names in all topology zones",
            ));
        }
        _ => return Err(property.unknown_property("kubernetes", &PROPERTIES)),
    }
    Ok(())
}

/// All arguments are one selector: commas and spaces may stand between them.
fn selector(property: &Directive) -> Result<Selector, Fault> {
    let words: Vec<&str> = (property.args.iter())
        .map(|word| word.text.as_str())
        .collect();
    if words.is_empty() {
        return Err(property.wrong_arguments("a label selector"));
    }
    (words.join(" ").parse()).map_err(|message: String| {
        Fault::new(
            property.span(),
            message,
            "a label selector, such as app=web,tier in (front, back)",
        )
    })
}
