//! Every directive, in the order in which queries go through the plugins.

use super::{
    Builder, acl, any, autopath, bind, bufsize, cache, chaos, debug, dns64, errors, file, forward,
    header, health, hosts, kubernetes, loadbalance, local, log, loop_, metadata, minimal,
    multisocket, nsid, prometheus, ready, reload, rewrite, root, template, timeouts, tls, transfer,
    view, whoami,
};
use crate::corefile::{Directive, Fault};

/// Reads all directives of one name in a server block.
pub type Setup = fn(&mut Builder<'_>, &[&Directive]) -> Result<(), Fault>;

/// What a directive is to us.
#[derive(Clone, Copy)]
pub enum Support {
    /// A plugin, or a setting of the server block.
    Here(Setup),
    /// `CoreDNS` has it, hopzero does not.
    Missing,
}

use Support::{Here, Missing};

/// `CoreDNS` 1.15's order.
pub const DIRECTIVES: &[(&str, Support)] = &[
    ("root", Here(root::setup)),
    ("metadata", Here(metadata::setup)),
    ("geoip", Missing),
    ("cancel", Missing),
    ("proxyproto", Missing),
    ("quic", Missing),
    ("grpc_server", Missing),
    ("https", Missing),
    ("https3", Missing),
    ("timeouts", Here(timeouts::setup)),
    ("multisocket", Here(multisocket::setup)),
    ("reload", Here(reload::setup)),
    ("nsid", Here(nsid::setup)),
    ("bufsize", Here(bufsize::setup)),
    ("bind", Here(bind::setup)),
    ("debug", Here(debug::setup)),
    ("trace", Missing),
    ("ready", Here(ready::setup)),
    ("health", Here(health::setup)),
    ("pprof", Missing),
    ("shed", Missing),
    ("prometheus", Here(prometheus::setup)),
    ("errors", Here(errors::setup)),
    ("log", Here(log::setup)),
    ("dnstap", Missing),
    ("local", Here(local::setup)),
    ("dns64", Here(dns64::setup)),
    ("siit", Missing),
    ("any", Here(any::setup)),
    ("chaos", Here(chaos::setup)),
    ("loadbalance", Here(loadbalance::setup)),
    ("tsig", Missing),
    ("rewrite", Here(rewrite::setup)),
    ("autopath", Here(autopath::setup)),
    ("acl", Here(acl::setup)),
    ("cache", Here(cache::setup)),
    ("header", Here(header::setup)),
    ("dnssec", Missing),
    ("tls", Here(tls::setup)),
    ("minimal", Here(minimal::setup)),
    ("template", Here(template::setup)),
    ("transfer", Here(transfer::setup)),
    ("dynupdate", Missing),
    ("hosts", Here(hosts::setup)),
    ("route53", Missing),
    ("azure", Missing),
    ("clouddns", Missing),
    ("k8s_external", Missing),
    ("kubernetes", Here(kubernetes::setup)),
    ("file", Here(file::setup)),
    ("auto", Missing),
    ("secondary", Missing),
    ("etcd", Missing),
    ("loop", Here(loop_::setup)),
    ("forward", Here(forward::setup)),
    ("grpc", Missing),
    ("erratic", Missing),
    ("whoami", Here(whoami::setup)),
    ("on", Missing),
    ("sign", Missing),
    ("view", Here(view::setup)),
    ("nomad", Missing),
];

/// The directive that may have been meant by a word that is none.
pub fn similar(word: &str) -> Option<&'static str> {
    DIRECTIVES
        .iter()
        .filter(|(_, support)| matches!(support, Here(_)))
        .map(|(name, _)| (strsim::damerau_levenshtein(word, name), *name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}
