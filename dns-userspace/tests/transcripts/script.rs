//! The form of the cases.
//!
//! ```text
//! == its name
//! forward . $A                          the server block; $A, $B, $C: upstreams, $A.tls: over TLS, $DEAD: nobody;
//!                                       %ca.pem: a file, see `certificates.rs`; before it, if wanted:
//! keys example.org                      the block's keys, instead of `.:53`
//! block KEYS                            another server block from here on, with `errors` too
//! <<< NAME                              the lines of a file, which is $DIR/NAME
//! >>>                                   NAME.yaml has manifests: what is in all of them is the cluster
//! ---
//! ask NAME TYPE [over tcp] [FLAGS] [from ADDRESS]      a client asks, with ID and case as given (`id=7`)
//! ask NAME TYPE slowly …                the same, and nobody answers at a glance
//! A gets PROTO NAME TYPE FLAGS          the next query that A gets is exactly this; PROTO: udp, tcp, tls, or
//!                                       mtls with a certificate of ours
//! A says [CHANGES] RCODE [FLAGS] [; RECORDS…]      A's reply to it; CHANGES make it wrong
//! A says#N …                            the same to the Nth query that A got
//! A closes                              the connection of that query
//! A returns                             A is a loop: asks us the same
//! A quiet                               A gets nothing more
//! A ignores checks | A answers checks   health checks are answered unless the transcript says otherwise
//! A checked N                           waits until it was checked so often; `A checked 0` that it was not
//! A check QUERY                         what the last check asked
//! A ports N | A connections N           so many, from the beginning
//! answer RCODE [FLAGS] [; RECORDS…]     what the client that asked first, of those without an answer, gets
//! answer none, silenced                 it gets no answer
//! log LINE                              the next line of `errors`; ports of ours are $ME
//! log-of TARGET LINE                    the next line of this target, some time
//! no log
//! count NAME N                          what a counter becomes
//! metric NAME{LABELS} N                 what a line of the metrics becomes
//! write NAME | LINE | LINE              the file gets new lines
//! remove NAME                           the file goes
//! cluster changes                       waits for what was written into a manifest
//! wait MILLISECONDS
//! advance SECONDS                       so much later
//! cluster                               it is known, and nothing is in it
//! touches [TOUCHES]                     what the plugins touch: `*`, `NAME`, `below NAME`, `absent NAME`, `present NAME`, `matching
//!                                       REGEX`, in the
//!                                       order of the alphabet, with commas
//! changes                               waits until they touch something else
//! start                                 the plugins begin what they do by themselves
//! fatal MESSAGE | no fatal
//! fault MESSAGE                         the server block cannot be used; nothing else may follow
//! ```

/// One transcript.
pub struct Case {
    pub name: String,
    pub keys: String,
    /// Names with what they hold.
    pub files: Vec<(String, String)>,
    pub block: String,
    pub steps: Vec<String>,
}

pub fn cases(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for part in text.split("\n== ").skip(1) {
        let (name, rest) = part.split_once('\n').expect("a name");
        let (mut keys, mut files, mut block) = (".:53".to_owned(), Vec::new(), String::new());
        let mut lines = rest.lines();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("{name}: no ---"));
            if line == "---" {
                break;
            }
            if let Some(file) = line.strip_prefix("<<< ") {
                let content: Vec<&str> = lines.by_ref().take_while(|line| *line != ">>>").collect();
                files.push((file.to_owned(), content.join("\n") + "\n"));
            } else if let Some(named) = line.strip_prefix("keys ") {
                named.clone_into(&mut keys);
            } else if let Some(keys) = line.strip_prefix("block ") {
                block.extend(["}\n", keys, " {\nerrors\n"]);
            } else {
                block += line;
                block.push('\n');
            }
        }
        let steps = lines.map(str::trim);
        let steps = steps.filter(|line| !line.is_empty() && !line.starts_with('#'));
        cases.push(Case {
            name: name.trim().to_owned(),
            keys,
            files,
            block,
            steps: steps.map(str::to_owned).collect(),
        });
    }
    cases
}
