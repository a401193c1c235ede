//! Why a packet was answered or passed on: one enum is return value, counter (with [`crate::counter`]), metric label and
//! the text of `hopzero stats`.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $label:literal, $text:literal;)+) => {
        /// The outcome of one packet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Reason { $(#[doc = $text] $variant,)+ }

        impl Reason {
            /// All reasons, in the order of their counters.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)+];
            /// The number of reasons: the size of the counter map.
            pub const COUNT: usize = Self::ALL.len();

            /// Label in metrics and JSON.
            pub const fn label(self) -> &'static str {
                match self { $(Reason::$variant => $label,)+ }
            }

            /// One line for people.
            pub const fn text(self) -> &'static str {
                match self { $(Reason::$variant => $text,)+ }
            }

            /// Whether the packet goes back where it came from, and not on.
            #[inline(always)]
            pub const fn is_answer(self) -> bool {
                matches!(self, Reason::Answered | Reason::Limited)
            }
        }
    };
}

reasons! {
    Answered = "answered", "answered by the kernel";
    Limited = "limited", "answered with TC=1 alone: its network was sent more than --rate-limit allows";
    NotAnswering = "not_answering", "answering is switched off, or the zone is not complete yet";
    SwitchedOff = "switched_off", "`hopzero kernel off`: the hook, or the name's zone";
    Lease = "lease", "the daemon has not renewed the lease: it hangs, or is stopped";
    NotIp = "not_ip", "neither IPv4 nor IPv6 over Ethernet";
    Vlan = "vlan", "carries a VLAN tag that is not one of --vlan, or more than one";
    NotUdp = "not_udp", "not UDP as the direct next header";
    NotDns = "not_dns", "not to port 53";
    IpOptions = "ip_options", "IPv4 header with options, or not version 4";
    Fragment = "fragment", "an IPv4 fragment";
    Length = "length", "IP, UDP and packet lengths do not agree";
    DestinationMac = "destination_mac", "link-layer destination is not this device";
    Destination = "destination", "destination address is not one that we answer for";
    Source = "source", "source address is multicast, broadcast, loopback, unspecified or our own";
    SourcePort = "source_port", "source port is 0 or 53";
    Response = "response", "a response (QR=1)";
    Opcode = "opcode", "opcode other than QUERY";
    TruncatedQuery = "truncated_query", "a query with TC=1";
    Counts = "counts", "not exactly one question and at most one additional record";
    Name = "name", "question name is malformed or longer than 255 bytes";
    Class = "class", "class other than IN";
    Type = "type", "a type that is asked of zones or messages, not of names";
    Edns = "edns", "an additional record that is not a plain OPT of version 0, or one that asks for NSID";
    Trailing = "trailing", "bytes after the end of the message";
    UnknownName = "unknown_name", "no record for this name, and no complete zone to deny it";
    SocketOnly = "socket_only", "only the socket may answer for this name";
    Inconsistent = "inconsistent", "the record changed while it was read";
    Collision = "collision", "another name has the same tag";
    NoRoom = "no_room", "the packet could not be grown";
    Internal = "internal", "a bound that always holds did not hold";
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn counters_are_indexed_by_reason() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }

    #[test]
    fn labels_are_unique_and_metric_safe() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert!(
                reason
                    .label()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
            assert!(
                Reason::ALL[..index]
                    .iter()
                    .all(|other| other.label() != reason.label())
            );
        }
    }
}
