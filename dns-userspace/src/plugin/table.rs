//! Every directive, in the order in which queries go through the plugins.

use super::{
    Builder, bind, debug, errors, forward, health, kubernetes, log, loop_, prometheus, ready,
    reload, root, whoami,
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
    ("metadata", Missing),
    ("geoip", Missing),
    ("cancel", Missing),
    ("proxyproto", Missing),
    ("quic", Missing),
    ("grpc_server", Missing),
    ("https", Missing),
    ("https3", Missing),
    ("timeouts", Missing),
    ("multisocket", Missing),
    ("reload", Here(reload::setup)),
    ("nsid", Missing),
    ("bufsize", Missing),
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
    ("local", Missing),
    ("dns64", Missing),
    ("siit", Missing),
    ("any", Missing),
    ("chaos", Missing),
    ("loadbalance", Missing),
    ("tsig", Missing),
    ("rewrite", Missing),
    ("autopath", Missing),
    ("acl", Missing),
    ("cache", Missing),
    ("header", Missing),
    ("dnssec", Missing),
    ("tls", Missing),
    ("minimal", Missing),
    ("template", Missing),
    ("transfer", Missing),
    ("dynupdate", Missing),
    ("hosts", Missing),
    ("route53", Missing),
    ("azure", Missing),
    ("clouddns", Missing),
    ("k8s_external", Missing),
    ("kubernetes", Here(kubernetes::setup)),
    ("file", Missing),
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
    ("view", Missing),
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
