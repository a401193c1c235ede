//! Times with units, as BIND has them in zone files: `$TTL 1h`, `2w`, `1h30m`. Written as seconds, which is all that
//! RFC 1035 knows.

use std::ops::Range;

use hickory_proto::serialize::txt::parse_ttl;

use crate::plugin::text;

/// Where times of an SOA record stand in its data: refresh, retry, expire, minimum.
const SOA_TIMES: Range<usize> = 3..7;

/// The text with every time in seconds.
pub(super) fn in_seconds(zone: &str) -> String {
    let mut written = String::with_capacity(zone.len());
    let mut copied = 0;
    let mut entry = Entry::default();
    let mut rest = zone.char_indices().peekable();
    let mut depth = 0_usize;
    let mut line_start = true;
    while let Some((at, char)) = rest.next() {
        match char {
            '\n' => {
                if depth == 0 {
                    entry.write(zone, &mut copied, &mut written);
                }
                line_start = depth == 0;
                continue;
            }
            ';' => while rest.next_if(|(_, char)| *char != '\n').is_some() {},
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '"' => {
                while let Some((_, char)) = rest.next_if(|(_, char)| *char != '"') {
                    if char == '\\' {
                        rest.next();
                    }
                }
                rest.next();
                entry.words.push(at..at);
            }
            _ if char.is_whitespace() => entry.is_indented |= line_start,
            _ => {
                let mut last = char;
                let mut end = at + char.len_utf8();
                let ends = |char: char| char.is_whitespace() || "();\"".contains(char);
                while let Some((at, char)) = rest.next_if(|(_, char)| last == '\\' || !ends(*char))
                {
                    // An escaped backslash escapes nothing.
                    last = if last == '\\' { ' ' } else { char };
                    end = at + char.len_utf8();
                }
                entry.words.push(at..end);
            }
        }
        line_start = false;
    }
    entry.write(zone, &mut copied, &mut written);
    written.push_str(&zone[copied..]);
    written
}

/// The words of one entry, over several lines in parentheses.
#[derive(Default)]
struct Entry {
    words: Vec<Range<usize>>,
    /// It begins with a blank: the owner is the one before.
    is_indented: bool,
}

impl Entry {
    /// Writes the text up to its last time, and begins anew.
    fn write(&mut self, zone: &str, copied: &mut usize, written: &mut String) {
        let entry = std::mem::take(self);
        for word in entry.times(zone) {
            if let Ok(seconds) = parse_ttl(&zone[word.clone()]) {
                written.push_str(&zone[*copied..word.start]);
                written.push_str(&seconds.to_string());
                *copied = word.end;
            }
        }
    }

    fn times(&self, zone: &str) -> Vec<Range<usize>> {
        let text = |word: &Range<usize>| &zone[word.clone()];
        let is_time = |word: &Range<usize>| parse_ttl(text(word)).is_ok();
        let mut times = Vec::new();
        let words = match self.words.as_slice() {
            [control, time, ..] if text(control).eq_ignore_ascii_case("$TTL") => {
                return vec![time.clone()];
            }
            words if self.is_indented => words,
            [_owner, words @ ..] => words,
            [] => return times,
        };
        // [TTL] [class] type, or [class] [TTL] type.
        let before_type = |word: &&Range<usize>| is_time(word) || text::class(text(word)).is_some();
        let skipped = words.iter().take_while(before_type).count();
        times.extend(
            words[..skipped]
                .iter()
                .filter(|word| is_time(word))
                .cloned(),
        );
        if let [rtype, data @ ..] = &words[skipped..]
            && text(rtype).eq_ignore_ascii_case("SOA")
        {
            let end = SOA_TIMES.end.min(data.len());
            times.extend(
                data.get(SOA_TIMES.start..end)
                    .unwrap_or_default()
                    .iter()
                    .cloned(),
            );
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_nothing_else() {
        for (text, seconds) in [
            ("$TTL 1h ; 1h\n", "$TTL 3600 ; 1h\n"),
            (
                "1h 1h IN TXT 1h \"1h ; (\" 1d\n",
                "1h 3600 IN TXT 1h \"1h ; (\" 1d\n",
            ),
            ("a IN 1d A 192.0.2.1", "a IN 86400 A 192.0.2.1"),
            (" 1m A 192.0.2.1\n\t60 A 1h", " 60 A 192.0.2.1\n\t60 A 1h"),
            (
                "@ SOA 1d 1d (\n 1 ; 1d\n 2h 1h30m\n 4w 5 )\n1d A x",
                "@ SOA 1d 1d (\n 1 ; 1d\n 7200 5400\n 2419200 5 )\n1d A x",
            ),
            ("a\\ 1h 1h A", "a\\ 1h 3600 A"),
            ("\"", "\""),
            ("(1h\n\n", "(1h\n\n"),
        ] {
            assert_eq!(in_seconds(text), seconds, "{text}");
        }
    }
}
