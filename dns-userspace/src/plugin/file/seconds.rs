//! What zone files have and the crate that reads them does not know, written in its words: times with units as BIND has
//! them (`$TTL 1h`, `2w`, `1h30m`) in seconds, and `@` within data (RFC 1035 section 5.1) as the origin's name.

use std::ops::Range;

use hickory_proto::serialize::txt::parse_ttl;

use crate::plugin::text;

/// Where times of an SOA record stand in its data: refresh, retry, expire, minimum.
const SOA_TIMES: Range<usize> = 3..7;

/// Types whose data is text.
const TEXTS: [&str; 5] = ["TXT", "SPF", "HINFO", "CAA", "NAPTR"];

/// The text with every time in seconds and every name written out, in a file that begins with this origin.
pub(super) fn plain(zone: &str, origin: &str) -> String {
    let mut origin = origin.to_owned();
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
                    entry.write(zone, &mut origin, &mut copied, &mut written);
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
    entry.write(zone, &mut origin, &mut copied, &mut written);
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
    /// Writes the text up to its last change, and begins anew.
    fn write(&mut self, zone: &str, origin: &mut String, copied: &mut usize, written: &mut String) {
        let entry = std::mem::take(self);
        let seconds = entry.times(zone).into_iter().filter_map(|word| {
            let seconds = parse_ttl(&zone[word.clone()]).ok()?;
            Some((word, seconds.to_string()))
        });
        let origins = entry.origins(zone).map(|word| (word, origin.clone()));
        let mut changes: Vec<_> = seconds.chain(origins).collect();
        changes.sort_by_key(|(word, _)| word.start);
        for (word, change) in changes {
            written.push_str(&zone[*copied..word.start]);
            written.push_str(&change);
            *copied = word.end;
        }
        if let [control, name, ..] = entry.words.as_slice()
            && zone[control.clone()].eq_ignore_ascii_case("$ORIGIN")
        {
            *origin = match &zone[name.clone()] {
                "@" => return,
                name if name.ends_with('.') => name.to_owned(),
                name if origin == "." => format!("{name}."),
                name => format!("{name}.{origin}"),
            };
        }
    }

    /// Every `@` in data that is a name, not text.
    fn origins(&self, zone: &str) -> impl Iterator<Item = Range<usize>> {
        let text = |word: &Range<usize>| zone[word.clone()].to_ascii_uppercase();
        let owners = usize::from(!self.is_indented);
        let is_text = |word: &Range<usize>| TEXTS.contains(&text(word).as_str());
        let has_text = self.words.iter().skip(owners).any(is_text);
        let data = self.words.iter().skip(owners).cloned();
        data.filter(move |word| !has_text && &zone[word.clone()] == "@")
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
            assert_eq!(plain(text, "example."), seconds, "{text}");
        }
    }

    #[test]
    fn at_is_the_origin_but_in_text() {
        for (text, written) in [
            ("@ CNAME @\n a MX 1 @", "@ CNAME example.\n a MX 1 example."),
            (
                "a TXT @ \"@\"\n CAA 0 issue @",
                "a TXT @ \"@\"\n CAA 0 issue @",
            ),
            (
                "$ORIGIN sub\na CNAME @\n$ORIGIN b.test.\na CNAME @\n$ORIGIN @\na CNAME \\@",
                "$ORIGIN sub\na CNAME sub.example.\n$ORIGIN b.test.\na CNAME b.test.\n$ORIGIN b.test.\na CNAME \\@",
            ),
        ] {
            assert_eq!(plain(text, "example."), written, "{text}");
        }
    }
}
