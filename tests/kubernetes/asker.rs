//! Asks for names that change, and judges each answer.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use hickory_proto::rr::RData;
use hopzero_tests::{
    beside::history::State,
    client::{Query, parse, rtype},
};

use crate::changes::Changing;

/// How long an answer may take; the machine is busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one asker has seen.
#[derive(Default)]
pub struct Tally {
    pub answers: u64,
    /// Of those, denials.
    pub denials: u64,
    /// How long the oldest of them had been replaced.
    pub oldest: Duration,
}

/// Asks at `address` until told to stop.
///
/// # Errors
/// An answer that was true at no time.
pub fn ask(
    socket: &UdpSocket,
    address: SocketAddr,
    names: &[Arc<Changing>],
    stop: &AtomicBool,
) -> Result<Tally> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut tally = Tally::default();
    // The first state of each name that may still be seen.
    let mut from = vec![0; names.len()];
    while !stop.load(Ordering::Relaxed) {
        let chosen = fastrand::usize(..names.len());
        let name = &names[chosen];
        let asked = Instant::now();
        let state = state(socket, address, &name.name)?;
        let answered = Instant::now();
        tally.answers += 1;
        tally.denials += u64::from(state.rcode != 0);
        let verdict = name
            .history()
            .judge(&state, asked, answered, &mut from[chosen]);
        match verdict {
            Ok(age) => tally.oldest = tally.oldest.max(age),
            Err(fault) => {
                let expected = name.history().last().cloned();
                bail!(
                    "{address}: {} A: {state:?}: {fault}; now it is {expected:?}",
                    name.name
                );
            }
        }
    }
    Ok(tally)
}

/// What a name says now.
pub fn state(socket: &UdpSocket, address: SocketAddr, name: &str) -> Result<State> {
    let id = fastrand::u16(..);
    socket.send_to(&Query::new(name, rtype::A).id(id).bytes(), address)?;
    let mut buffer = [0; 1232];
    let message = loop {
        let (length, sender) = socket.recv_from(&mut buffer)?;
        ensure!(sender == address, "a reply from {sender}");
        let message = parse(&buffer[..length])?;
        if message.metadata.id == id {
            break message;
        }
    };
    let mut addresses: Vec<Ipv4Addr> = (message.answers.iter())
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        })
        .collect();
    addresses.sort_unstable();
    Ok(State {
        rcode: message.metadata.response_code.into(),
        addresses,
    })
}
