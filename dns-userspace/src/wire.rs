//! How one record is written: the same bytes from the socket and in the kernel's maps.
//!
//! An owner name that is the question's, or (SOA in negative answers) a suffix of it, is a compression pointer
//! into the question; one that is the target of the CNAME before it is a pointer to that; every other name stands
//! in full. Names in record data are never compressed.

use hickory_proto::{
    ProtoError,
    rr::{DNSClass, Name, Record, RecordType},
    serialize::binary::{BinEncodable as _, BinEncoder, NameEncoding},
};
use hopzero_common::limits::HEADER_BYTES;

/// The two high bits of a compression pointer (RFC 1035 section 4.1.4).
const POINTER: u16 = 0xc000;

/// Writes a record whose owner is a compression pointer, or, without one, its name in full. Returns
/// where its data starts.
///
/// # Errors
/// Its data has no wire form, or one of more than 65535 bytes.
pub fn write_record(
    bytes: &mut Vec<u8>,
    owner: Option<u16>,
    record: &Record,
) -> Result<usize, ProtoError> {
    match owner {
        Some(pointer) => bytes.extend_from_slice(&pointer.to_be_bytes()),
        None => write_name(bytes, &record.name),
    }
    bytes.extend_from_slice(&u16::from(record.record_type()).to_be_bytes());
    bytes.extend_from_slice(&u16::from(record.dns_class).to_be_bytes());
    bytes.extend_from_slice(&record.ttl.to_be_bytes());

    let mut rdata = Vec::new();
    let mut encoder = BinEncoder::new(&mut rdata);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    record.data.emit(&mut encoder)?;
    let length = u16::try_from(rdata.len())
        .map_err(|_| ProtoError::from("record data longer than 65535 bytes"))?;
    bytes.extend_from_slice(&length.to_be_bytes());
    let start = bytes.len();
    bytes.extend_from_slice(&rdata);
    Ok(start)
}

/// Writes what stands before the data of a record of class IN; `None` if the data is longer than 65535 bytes.
pub fn write_head(
    bytes: &mut Vec<u8>,
    owner: &[u8],
    rtype: RecordType,
    ttl: u32,
    data_bytes: usize,
) -> Option<()> {
    let length = u16::try_from(data_bytes).ok()?;
    bytes.extend_from_slice(owner);
    bytes.extend_from_slice(&u16::from(rtype).to_be_bytes());
    bytes.extend_from_slice(&u16::from(DNSClass::IN).to_be_bytes());
    bytes.extend_from_slice(&ttl.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    Some(())
}

/// The pointer to a place in the message, if it is not too far for one.
pub fn pointer(offset: usize) -> Option<u16> {
    let offset = u16::try_from(offset).ok()?;
    (offset < POINTER).then_some(POINTER | offset)
}

/// The pointer to the question's name, if `owner` is that name.
pub fn pointer_to_question(question: &Name, owner: &Name) -> Option<u16> {
    let same = question.iter().len() == owner.iter().len();
    same.then(|| pointer_to_suffix(question, owner))?
}

/// The pointer to the suffix of the question's name that `owner` is, if it is one.
pub fn pointer_to_suffix(question: &Name, owner: &Name) -> Option<u16> {
    let owner_labels = owner.iter().len();
    let skipped = question.iter().len().checked_sub(owner_labels)?;
    let same = question
        .iter()
        .skip(skipped)
        .zip(owner)
        .all(|(ours, theirs)| ours.eq_ignore_ascii_case(theirs));
    // The root is one byte, shorter than a pointer to it.
    if !same || owner_labels == 0 {
        return None;
    }
    let before: usize = question
        .iter()
        .take(skipped)
        .map(|label| 1 + label.len())
        .sum();
    pointer(HEADER_BYTES + before)
}

/// Writes a name in full.
pub fn write_name(bytes: &mut Vec<u8>, name: &Name) {
    for label in name {
        // A label is at most 63 bytes by construction of the type.
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend_from_slice(label);
    }
    bytes.push(0);
}

/// A name in full and in lower case, by which names are looked up.
pub fn lower_name(name: &Name) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 1);
    write_name(&mut bytes, name);
    // Lengths of labels are no letters.
    bytes.make_ascii_lowercase();
    bytes
}

/// A name in full, and all names above it up to the root.
pub fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(name), |name: &&[u8]| {
        let name: &[u8] = name;
        match name.first()? {
            0 => None,
            length => name.get(1 + usize::from(*length)..),
        }
    })
}

/// Whether a record of that type may have names in its data.
fn may_have_names(rtype: RecordType) -> bool {
    !matches!(rtype, RecordType::A | RecordType::AAAA | RecordType::TXT)
}

/// Writes three sections behind the header and the question, names compressed; the counts of their records, or
/// `None` where they do not fit.
///
/// # Errors
/// A record has no wire form.
pub fn write_compressed(
    bytes: &mut Vec<u8>,
    question: &Name,
    sections: [&[Record]; 3],
    bytes_max: usize,
) -> Result<Option<[u16; 3]>, ProtoError> {
    let question_end = bytes.len();
    let mut encoder = BinEncoder::with_offset(bytes, 0);
    // Most replies have no other name, and need no memory of where suffixes begin.
    let only_name = pointer_to_question(question, question).filter(|_| {
        let mut records = sections.iter().copied().flatten();
        records.all(|record| record.name == *question && !may_have_names(record.record_type()))
    });
    if only_name.is_none() {
        encoder.set_offset(HEADER_BYTES);
        // Writes what stands there already, and remembers where each suffix begins.
        question.emit(&mut encoder)?;
    }
    encoder.set_offset(question_end);
    let mut counts = [0; 3];
    for (count, records) in counts.iter_mut().zip(sections) {
        for record in records {
            match only_name {
                Some(pointer) => encoder.emit_u16(pointer)?,
                // In the case of the question, to be a pointer to it.
                None if record.name == *question => question.emit(&mut encoder)?,
                None => record.name.emit(&mut encoder)?,
            }
            encoder.emit_u16(record.record_type().into())?;
            encoder.emit_u16(record.dns_class.into())?;
            encoder.emit_u32(record.ttl)?;
            let length = encoder.place::<u16>()?;
            record.data.emit(&mut encoder)?;
            let written = u16::try_from(encoder.len_since_place(&length))
                .map_err(|_| ProtoError::from("record data longer than 65535 bytes"))?;
            length.replace(&mut encoder, written)?;
            if encoder.len() > bytes_max {
                return Ok(None);
            }
            *count += 1;
        }
    }
    Ok(Some(counts))
}
