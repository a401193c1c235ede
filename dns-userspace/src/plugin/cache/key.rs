//! What an entry is found by.

use std::hash::{BuildHasher, RandomState};

use super::super::Request;
use crate::wire;

const TYPE_AND_CLASS_BYTES: usize = 4;
/// The longest name on the wire (RFC 1035 section 2.3.4), with type and class.
const QUESTION_BYTES_MAX: usize = 255 + TYPE_AND_CLASS_BYTES;

/// A question, and what else makes another answer of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Name in lower case, type and class.
    pub question: Box<[u8]>,
    /// DO
    pub dnssec_ok: bool,
    /// CD
    pub checking_disabled: bool,
}

impl Key {
    /// Of a query on its way through the plugins.
    pub fn of(request: &Request) -> Self {
        let mut question = wire::lower_name(&request.name);
        question.extend_from_slice(&u16::from(request.rtype).to_be_bytes());
        question.extend_from_slice(&request.class.to_be_bytes());
        Key {
            question: question.into(),
            dnssec_ok: request.edns.as_ref().is_some_and(|edns| edns.dnssec_ok),
            checking_disabled: request.header.checking_disabled,
        }
    }

    /// The name on the wire.
    pub fn name_bytes(&self) -> &[u8] {
        &self.question[..self.question.len() - TYPE_AND_CLASS_BYTES]
    }

    /// Whether the query asks for the same, as it is by now.
    pub fn is_of(&self, request: &Request) -> bool {
        let [t0, t1] = u16::from(request.rtype).to_be_bytes();
        let [c0, c1] = request.class.to_be_bytes();
        self.question.ends_with(&[t0, t1, c0, c1])
            && *wire::lower_name(&request.name) == *self.name_bytes()
    }

    /// Its hash, which nobody else can foretell: who could would choose names that push out each other.
    pub fn hash(&self, hasher: &RandomState) -> u64 {
        hash(
            hasher,
            &self.question,
            self.dnssec_ok,
            self.checking_disabled,
        )
    }
}

/// The hash of a key that need not be made.
pub fn hash(
    hasher: &RandomState,
    question: &[u8],
    dnssec_ok: bool,
    checking_disabled: bool,
) -> u64 {
    hasher.hash_one((question, dnssec_ok, checking_disabled))
}

/// A question in lower case, without memory from the heap.
pub struct Lowered {
    bytes: [u8; QUESTION_BYTES_MAX],
    length: usize,
}

impl Lowered {
    /// A name in lower case, and the question that it is in.
    pub fn new(name: &[u8], question: &[u8]) -> Self {
        let mut bytes = [0; QUESTION_BYTES_MAX];
        bytes[..question.len()].copy_from_slice(question);
        bytes[..name.len()].copy_from_slice(name);
        Lowered {
            bytes,
            length: question.len(),
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
