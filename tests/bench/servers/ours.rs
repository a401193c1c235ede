//! hopzero on the node's device, attached for its turns only: knot and nsd have the device for themselves.

use anyhow::{Context as _, Result};
use aya::programs::{
    SchedClassifier, TcAttachType, Xdp, XdpMode, links::FdLink, tc::SchedClassifierLink,
    xdp::XdpLink,
};
use hopzero::zone::Zone;
use hopzero_tests::network::{NODE_DEVICE, Network};

use super::Server;
use crate::subject::Hopzero;

/// Where the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// tcx ingress.
    Tc,
    /// XDP in the network stack.
    XdpGeneric,
}

/// The loaded programs, and the node.
pub struct Ours<'a> {
    hopzero: Hopzero,
    network: &'a Network,
}

impl<'a> Ours<'a> {
    /// Publishes the zone.
    pub fn new(zone: &Zone, network: &'a Network) -> Result<Self> {
        let mut hopzero = Hopzero::new(zone)?;
        let mac = network.node.within(|| mac_of(NODE_DEVICE))?;
        hopzero.loaded.kernel.trust_mac(mac)?;
        Ok(Ours { hopzero, network })
    }

    /// Attaches what the server is, if it is ours, until the link is dropped.
    pub fn attach(&mut self, server: Server) -> Result<Option<FdLink>> {
        let Server::Ours(hook) = server else {
            return Ok(None);
        };
        let ebpf = self.hopzero.loaded.kernel.ebpf();
        let link = self.network.node.within(|| match hook {
            Hook::Tc => {
                let program = ebpf.program_mut("hopzero_tc").context("no program")?;
                let program: &mut SchedClassifier = program.try_into()?;
                let link = program.attach(NODE_DEVICE, TcAttachType::Ingress)?;
                let link: SchedClassifierLink = program.take_link(link)?;
                Ok(FdLink::try_from(link)?)
            }
            Hook::XdpGeneric => {
                let program = ebpf.program_mut("hopzero_xdp").context("no program")?;
                let program: &mut Xdp = program.try_into()?;
                let link = program.attach(NODE_DEVICE, XdpMode::Skb)?;
                let link: XdpLink = program.take_link(link)?;
                Ok(FdLink::try_from(link)?)
            }
        })?;
        Ok(Some(link))
    }
}

/// The Ethernet address of a device: XDP answers only what is for it.
fn mac_of(device: &str) -> Result<[u8; 6]> {
    (nix::ifaddrs::getifaddrs()?)
        .filter(|interface| interface.interface_name == device)
        .find_map(|interface| interface.address?.as_link_addr()?.addr())
        .with_context(|| format!("{device} has no address"))
}
