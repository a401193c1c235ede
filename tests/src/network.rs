//! A pod and its node: two network namespaces with a veth pair between them.
//!
//! ```text
//!   pod                                 node
//!   eth0 10.244.0.2, fd00:10:244::2 ─── pod0 10.244.0.1, fd00:10:244::1
//!                                       lo   10.96.0.10, fd00:10:96::a: the cluster's DNS
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;

use crate::namespace::Namespace;

/// The cluster's DNS, as pods know it: the kernel answers for it.
pub const DNS_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10));
/// The same over IPv6.
pub const DNS_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xa));
/// The node's end of the veth: only the socket answers for it.
pub const NODE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 1));
/// The same over IPv6.
pub const NODE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 1));
/// The pod.
pub const POD_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 2));
/// The same over IPv6.
pub const POD_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 2));
/// The node's end of the veth.
pub const NODE_DEVICE: &str = "pod0";
/// The pod's end of the veth.
pub const POD_DEVICE: &str = "eth0";

/// Port 53 of an address.
pub fn dns(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 53)
}

/// The pod and its node.
#[derive(Debug)]
pub struct Network {
    /// The pod's namespace.
    pub pod: Namespace,
    /// The node's namespace.
    pub node: Namespace,
}

impl Network {
    /// Makes them.
    ///
    /// # Errors
    /// `ip` cannot make them.
    pub fn new() -> Result<Self> {
        let (pod, node) = (Namespace::new("pod")?, Namespace::new("node")?);
        // nodad: an address that is still being checked for duplicates cannot be used.
        node.ip_batch(&format!(
            "link add {NODE_DEVICE} type veth peer name {POD_DEVICE} netns {}\n\
             addr add {DNS_V4}/32 dev lo\n\
             addr add {DNS_V6}/128 dev lo nodad\n\
             addr add {NODE_V4}/24 dev {NODE_DEVICE}\n\
             addr add {NODE_V6}/64 dev {NODE_DEVICE} nodad\n\
             link set {NODE_DEVICE} up\n",
            pod.name()
        ))?;
        pod.ip_batch(&format!(
            "addr add {POD_V4}/24 dev {POD_DEVICE}\n\
             addr add {POD_V6}/64 dev {POD_DEVICE} nodad\n\
             link set {POD_DEVICE} up\n\
             route add default via {NODE_V4}\n\
             route add ::/0 via {NODE_V6}\n"
        ))?;
        Ok(Self { pod, node })
    }
}
