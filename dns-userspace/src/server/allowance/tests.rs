//! Corefiles, and what of the cluster's names the kernel may not answer.

use std::{net::SocketAddr, path::Path};

use async_trait::async_trait;

use super::*;
use crate::{
    corefile::Corefile,
    plugin::{Environment, Next, Outcome, Plugin, Request, builder::Block, wanted::Wanted},
};

/// It touches the names that it is made with.
struct Touches(Vec<Touch>, bool);

#[async_trait]
impl Plugin for Touches {
    fn name(&self) -> &'static str {
        "test"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        next.run(request).await
    }

    fn touches(&self) -> Vec<Touch> {
        self.0.clone()
    }

    fn rotates(&self) -> bool {
        self.1
    }
}

/// Builds a Corefile. In it `bind` has its meaning, and `# TOUCH…` in a block is a plugin ahead of all others: `=NAME`,
/// `<NAME` (below), `-NAME` (absent), `~EXPRESSION`, `*`, `rotates`.
fn servers(text: &str) -> (Servers, Environment) {
    let environment = Environment::default();
    let name = |text: &str| Name::from_ascii(text).expect("a name");
    let mut blocks = Vec::new();
    for text in text.split("\n\n") {
        let mut ahead: Vec<Box<dyn Plugin>> = Vec::new();
        let mut listen = Vec::new();
        let mut rest = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(touches) = line.strip_prefix("# ") {
                let touches = touches.split(' ').filter_map(|touch| {
                    Some(match touch.split_at(1) {
                        ("=", of) => Touch::Name(name(of)),
                        ("<", of) => Touch::Below(name(of)),
                        ("-", of) => Touch::Absent(name(of)),
                        ("~", of) => Touch::Matching(of.to_owned()),
                        ("*", "") => Touch::Everything,
                        _ => return None,
                    })
                });
                ahead.push(Box::new(Touches(
                    touches.collect(),
                    line.contains("rotates"),
                )));
            } else if let Some(address) = line.strip_prefix("bind ") {
                listen.push(SocketAddr::new(address.parse().expect("an address"), 0));
            } else {
                rest.extend([line, "\n"]);
            }
        }
        let corefile = Corefile::parse(Path::new("Corefile"), rest, &|_| None).expect("a Corefile");
        let block = Block::build_with(
            &corefile.blocks[0],
            53,
            &environment,
            &mut Wanted::default(),
            |plugins| {
                plugins.splice(0..0, ahead);
            },
        );
        let mut block = block.expect("a server block");
        block.listen = listen;
        blocks.push(block);
    }
    (Servers::of(&blocks).expect("servers"), environment)
}

/// The origin of the kernel's zone, and what is claimed.
fn claims(text: &str, answer_for: &[&str]) -> Option<(String, Vec<String>)> {
    let (servers, environment) = servers(text);
    let answer_for: Vec<IpAddr> = (answer_for.iter())
        .map(|address| address.parse().expect("an address"))
        .collect();
    let allowance = servers.allowance(&environment.clusters(), &answer_for)?;
    let origin = allowance
        .zone
        .read()
        .expect("whole")
        .config()
        .origin
        .to_ascii();
    let claims = allowance.claims.iter().map(|claim| claim.touch.to_string());
    Some((origin, claims.collect()))
}

fn check(text: &str, answer_for: &[&str], expected: &[&str]) {
    let (_, claims) = claims(text, answer_for).expect("an allowance");
    assert_eq!(claims, expected, "{text}");
}

#[test]
fn plugins_ahead_of_kubernetes_keep_what_they_touch_of_its_zones() {
    let all = "cluster.local. and all below";
    for (touches, expected) in [
        (
            "=a.cluster.local. =example.org. =local.",
            &["a.cluster.local."][..],
        ),
        (
            "<a.cluster.local. <example.org.",
            &["a.cluster.local. and all below"],
        ),
        ("<local.", &[all]),
        ("*", &[all]),
        (
            "-local.",
            &["what does not exist of cluster.local. and below"],
        ),
        ("~^web", &["what matches ^web"]),
    ] {
        let text = format!(".:53 {{\n# {touches}\nerrors\nkubernetes cluster.local\nwhoami\n}}");
        check(&text, &[], expected);
    }
    // Each of its zones by itself.
    check(
        ".:53 {\n# * \nkubernetes cluster.local 10.in-addr.arpa\n}",
        &[],
        &[all, "10.in-addr.arpa. and all below"],
    );
}

#[test]
fn plugins_behind_it_matter_where_it_falls_through() {
    let block = |fallthrough: &str| {
        format!(".:53 {{\nkubernetes cluster.local in-addr.arpa {{\n{fallthrough}\n}}\nwhoami\n}}")
    };
    check(&block("upstream"), &[], &[]);
    check(
        &block("fallthrough"),
        &[],
        &[
            "what does not exist of cluster.local. and below",
            "what does not exist of in-addr.arpa. and below",
        ],
    );
    check(
        &block("fallthrough a.cluster.local in-addr.arpa"),
        &[],
        &[
            "what does not exist of a.cluster.local. and below",
            "what does not exist of in-addr.arpa. and below",
        ],
    );
}

#[test]
fn other_server_blocks_keep_their_names() {
    let with =
        |other: &str| format!(".:53 {{\nkubernetes cluster.local in-addr.arpa\n}}\n\n{other}");
    let foo = "foo.cluster.local. and all below";
    check(&with("foo.cluster.local:53 {\nwhoami\n}"), &[], &[foo]);
    check(
        &with("local:53 {\nwhoami\n}"),
        &[],
        &["cluster.local. and all below"],
    );
    // The same cluster, another one.
    let ours = "kubernetes cluster.local in-addr.arpa";
    check(
        &with(&format!(
            "foo.cluster.local:53 {{\n# =a.foo.cluster.local. =a.cluster.local.\n{ours}\n}}"
        )),
        &[],
        &["foo.cluster.local.", "a.foo.cluster.local."],
    );
    check(
        &with(&format!(
            "foo.cluster.local:53 {{\n{ours} {{\nttl 7\n}}\n}}"
        )),
        &[],
        &[foo],
    );
    // What lies elsewhere, or is asked elsewhere, has no names of ours.
    check(&with("example.org:53 {\nwhoami\n}"), &[], &[]);
    check(&with("foo.cluster.local:5353 {\nwhoami\n}"), &[], &[]);
    check(&with("tls://foo.cluster.local:53 {\nwhoami\n}"), &[], &[]);
    // Nobody answers for its zones.
    check(
        "example.org:53 {\nkubernetes cluster.local\n}",
        &[],
        &["cluster.local. and all below"],
    );
}

#[test]
fn where_queries_may_come_to() {
    let at = |listen: &str, block: &str| format!("{listen} {{\n{block}\n}}");
    let ours = "kubernetes cluster.local";
    let all = &["cluster.local. and all below"][..];
    // Any port behind the Service, and if there are several, what all of them say.
    check(&at(".:8053", ours), &["10.96.0.10"], &[]);
    check(
        &[at(".:8053", ours), at(".:53", "whoami")].join("\n\n"),
        &["10.96.0.10"],
        &[],
    );
    check(
        &[at(".:8053", ours), at(".:53", &format!("# *\n{ours}"))].join("\n\n"),
        &["10.96.0.10"],
        all,
    );
    // The address itself.
    let local = [
        at(
            ".:53",
            &format!("bind 10.96.0.10\n# =a.cluster.local.\n{ours}"),
        ),
        at(".:53", &format!("bind 10.1.0.1\n# *\n{ours}")),
        at(".:5353", ours),
    ]
    .join("\n\n");
    check(&local, &["10.96.0.10"], &["a.cluster.local."]);
    check(&local, &["10.96.0.11"], &[]);
    check(&local, &["10.96.0.10", "10.96.0.11"], &["a.cluster.local."]);
    check(&local, &["10.1.0.1"], all);
    check(&local, &[], &[]);
    let forwards = [at(".:53", "bind 10.96.0.10\nwhoami"), at(".:53", ours)].join("\n\n");
    check(&forwards, &["10.96.0.10", "10.96.0.11"], all);
    assert_eq!(claims(&forwards, &["10.96.0.10"]), None);
    // Behind a Service there may be nothing but the pod's own address.
    let own = at(
        ".:53",
        &format!("bind 10.1.0.1\n# =a.cluster.local.\n{ours}"),
    );
    check(&own, &["10.96.0.10"], &["a.cluster.local."]);
}

#[test]
fn of_several_clusters_the_first_that_is_asked() {
    let (one, two) = (
        "one.local:53 {\nbind 10.0.0.1\nkubernetes one.local\n}",
        "two.local:53 {\nkubernetes two.local\n}",
    );
    let both = [one, two].join("\n\n");
    let origin = |text: &str, address: &str| claims(text, &[address]).map(|(origin, _)| origin);
    assert_eq!(origin(&both, "10.0.0.1").as_deref(), Some("one.local."));
    assert_eq!(origin(&both, "10.0.0.2").as_deref(), Some("two.local."));
    assert_eq!(claims("a:53 {\nwhoami\n}", &[]), None);
}

#[test]
fn addresses_are_rotated_where_all_blocks_rotate_them() {
    let rotates = |text: &str| {
        let (servers, environment) = servers(text);
        let allowance = servers
            .allowance(&environment.clusters(), &[])
            .expect("a cluster");
        let claims = allowance.claims.iter().map(|claim| claim.touch.to_string());
        (allowance.rotate, claims.collect::<Vec<_>>())
    };
    let ours = "kubernetes cluster.local in-addr.arpa";
    let block = |keys: &str, ahead: &str| format!("{keys} {{\n{ahead}\n{ours}\n}}");
    let foo = || {
        vec![
            "foo.cluster.local.".to_owned(),
            "foo.cluster.local. and all below".to_owned(),
        ]
    };
    assert_eq!(rotates(&block(".:53", "errors")), (false, vec![]));
    assert_eq!(rotates(&block(".:53", "# rotates")), (true, vec![]));
    let different =
        |outer, inner| [block(".:53", outer), block("foo.cluster.local:53", inner)].join("\n\n");
    assert_eq!(rotates(&different("# rotates", "errors")), (true, foo()));
    assert_eq!(rotates(&different("errors", "# rotates")), (false, foo()));
    // Pointers are not rotated.
    let reverse = [
        block("cluster.local:53", "# rotates"),
        block("in-addr.arpa:53", "errors"),
    ]
    .join("\n\n");
    assert_eq!(rotates(&reverse), (true, vec![]));
}

/// Where answers of `cluster.local.` are counted, over IPv4 and over IPv6: server and zone.
fn counted(text: &str, answer_for: &[&str]) -> [Option<(String, String)>; 2] {
    let (servers, environment) = servers(text);
    let answer_for: Vec<IpAddr> = (answer_for.iter())
        .map(|address| address.parse().expect("an address"))
        .collect();
    let allowance = servers.allowance(&environment.clusters(), &answer_for);
    let owners = allowance.expect("an allowance").owners;
    let apex = Name::from_ascii("cluster.local.").expect("a name");
    let of_apex = owners.into_iter().find(|(name, _)| *name == apex);
    let (_, owners) = of_apex.expect("the origin");
    owners.map(|owner| owner.map(|owner| (owner.server.to_string(), owner.zone)))
}

#[test]
fn answers_are_counted_where_their_queries_would_have_come_to() {
    let some = |server: &str, zone: &str| Some((server.to_owned(), zone.to_owned()));
    let both = ["10.96.0.10", "fd00::a"];
    let one = ".:53 {\nprometheus\nkubernetes cluster.local\n}";
    let root = some("dns://:53", ".");
    assert_eq!(counted(one, &both), [root.clone(), root]);
    let keys =
        "cluster.local:53 in-addr.arpa:53 {\nprometheus\nkubernetes cluster.local in-addr.arpa\n}";
    let [v4, _] = counted(keys, &both);
    assert_eq!(v4, some("dns://:53", "cluster.local."));
    let silent = ".:53 {\nkubernetes cluster.local\n}";
    assert_eq!(counted(silent, &both), [None, None]);
    // Each family has a server of its own.
    let block =
        |bind: &str| format!(".:53 {{\nbind {bind}\nprometheus\nkubernetes cluster.local\n}}");
    let bound = [block("10.96.0.10"), block("fd00::a")].join("\n\n");
    let expected = [
        some("dns://10.96.0.10:53", "."),
        some("dns://[fd00::a]:53", "."),
    ];
    assert_eq!(counted(&bound, &both), expected);
}
