//! What a change touches, said without knowing how names are spelt.

use std::{net::IpAddr, sync::Arc};

use super::slim::Protocol;

/// Something whose answers may have changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Touched {
    /// `<ns>.svc.<zone>`
    Namespace(Arc<str>),
    /// `<svc>.<ns>.svc.<zone>`
    Service {
        /// The namespace.
        namespace: Arc<str>,
        /// The service's name.
        service: Arc<str>,
    },
    /// `<host>.<svc>.<ns>.svc.<zone>`, or `<host>.<cluster>.<svc>.<ns>.svc.<zone>` and the name above it
    Endpoint {
        /// The namespace.
        namespace: Arc<str>,
        /// The service's name.
        service: Arc<str>,
        /// The endpoint's label.
        host: Box<str>,
        /// Of imported services: the cluster that it is in.
        cluster: Option<Box<str>>,
    },
    /// `_<port>._<proto>.<svc>.<ns>.svc.<zone>` and `_<proto>.<svc>.<ns>.svc.<zone>` above it
    Port {
        /// The namespace.
        namespace: Arc<str>,
        /// The service's name.
        service: Arc<str>,
        /// The port's name.
        port: Box<str>,
        /// The port's protocol.
        protocol: Protocol,
    },
    /// The reverse name of an address.
    Address {
        /// The address.
        address: IpAddr,
        /// When the address has become known or unknown: how many leading bits it has in common
        /// with the nearest other one. The reverse names above it that stand for more bits than
        /// this came or went with it (empty non-terminals, RFC 8020); those above them did not.
        unshared_above: Option<u8>,
    },
}
