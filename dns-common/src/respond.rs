//! The whole program: a pure function over a packet and a table.

use crate::{
    answer::{self, Found},
    counter::Hook,
    frame::{self, LinkLayer, Tag},
    layout::{
        CONTROL_ANSWERING, CONTROL_ZONES_OFF_SHIFT, Control, Frame, LIMIT_EXCEEDED, LIMIT_NONE,
        Scratch,
    },
    limit::{self, Buckets},
    lookup::{self, Table},
    message, negative,
    packet::{Packet, forget},
    reason::Reason,
    record::Header,
};

/// The packet could not be resized, and is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// A packet that can be resized, and the maps.
pub trait Environment: Table + Buckets {
    /// Where the program runs.
    const HOOK: Hook;
    /// The packet as it is now. Pointers of an earlier call are void after [`Self::resize`].
    fn packet(&self) -> Packet;
    /// Makes the packet `bytes` long, cutting or growing its end.
    ///
    /// # Errors
    /// There is no room, and the packet is unchanged.
    fn resize(&mut self, bytes: usize) -> Result<(), NoRoom>;
    /// What is known of the link layer.
    fn link_layer(&self) -> LinkLayer;
    /// A VLAN tag that is not in the frame.
    #[inline(always)]
    fn tag(&self) -> Option<Tag> {
        None
    }
    /// The kernel's tick, jiffies: what [`Control::lease_until`] is compared with.
    fn now(&self) -> u64;
    /// The answer is complete. Whatever the environment remembers of the query's checksum must not spoil
    /// the answer's.
    #[inline(always)]
    fn settle_checksum(&mut self, _frame: &Frame) {}
}

/// Answers the packet in place, or leaves every byte of it as it is and says why.
#[inline(always)]
pub fn respond<E: Environment>(
    environment: &mut E,
    control: &Control,
    scratch: &mut Scratch,
) -> Reason {
    match try_respond(environment, control, scratch) {
        Ok(()) if scratch.frame.limit == LIMIT_EXCEEDED => Reason::Limited,
        Ok(()) => Reason::Answered,
        Err(reason) => reason,
    }
}

#[inline(always)]
fn try_respond<E: Environment>(
    environment: &mut E,
    control: &Control,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    if control.flags & (CONTROL_ANSWERING | E::HOOK.off()) != CONTROL_ANSWERING {
        return Err(if control.flags & CONTROL_ANSWERING == 0 {
            Reason::NotAnswering
        } else {
            Reason::SwitchedOff
        });
    }
    if environment.now() >= control.lease_until {
        return Err(Reason::Lease);
    }
    let packet = environment.packet();
    scratch.frame = frame::parse(packet, control, environment.link_layer(), environment.tag())?;
    // Without these two lines the verifier verifies the rest once for each kind of frame: it knows where each has
    // its message, and of the pointer how many bytes were looked at.
    forget(&mut scratch.frame);
    let packet = environment.packet();
    message::parse(packet, control, scratch)?;
    let denial = match lookup::find(environment, control, scratch) {
        Ok(()) => {
            check_zone(control, Header::of(scratch).zone())?;
            match answer::select(control, scratch)? {
                Found::Records => None,
                Found::Nothing => Some(negative::no_data(scratch)),
            }
        }
        Err(Reason::UnknownName) => {
            let denial = negative::no_name(control, scratch)?;
            check_zone(control, denial.zone as u8)?;
            Some(denial)
        }
        Err(reason) => return Err(reason),
    };
    if let Some(denial) = denial {
        negative::select(environment, control, denial, scratch)?;
    }
    // Else the compiler would carry what it knows of each kind of answer into the rest, and the verifier would go
    // through that once for each of them.
    let scratch = forget(scratch);
    answer::measure(scratch);
    if scratch.frame.limit != LIMIT_NONE {
        limit::apply(environment, control, packet, environment.now(), scratch)?;
    }

    // Grow first and cut last: in between the packet is as long as the longer of the two, and a
    // failure leaves the query whole.
    let before = packet.len();
    let after = (scratch.frame.dns + scratch.selection.message_len) as usize;
    if after > before {
        environment.resize(after).map_err(|NoRoom| Reason::NoRoom)?;
    }
    let packet = environment.packet();
    if packet.len() < after {
        return Err(Reason::Internal);
    }
    answer::write(packet, control, scratch).ok_or(Reason::Internal)?;
    if after < before {
        // Should it fail, the rest is padding behind the datagram.
        let _ = environment.resize(after);
    }
    let frame = scratch.frame;
    environment.settle_checksum(&frame);
    Ok(())
}

/// A zone that is switched off is not answered for. One that is not in the list has no switch.
#[inline(always)]
fn check_zone(control: &Control, zone: u8) -> Result<(), Reason> {
    let off = u64::from(control.flags) >> CONTROL_ZONES_OFF_SHIFT;
    if off >> (zone & 63) & 1 == 0 {
        Ok(())
    } else {
        Err(Reason::SwitchedOff)
    }
}
