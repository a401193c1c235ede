//! The devices at which queries come in.

use serde_json::{Value, json};

use super::{
    outcome::{Hints, Outcome},
    surroundings::{Surroundings, blocking},
};
use crate::{
    control::{self, FetchError},
    kernel::{KernelError, Place, Selection, device_towards, survey},
};

/// What a daemon that does not answer means for the checks that would ask it.
const HUNG: Hints<'_> = Hints {
    meaning: "it may hang: the kernel answers nothing once its lease is over, within seconds, and queries go where they would go without hopzero",
    see: "hopzero status; the daemon's log",
    fix: "run this as the daemon's user, mostly root; if it hangs, restart it",
};

pub(super) async fn devices(surroundings: &mut Surroundings) -> Outcome {
    let control = surroundings.args.control.clone();
    match blocking(move || control::fetch(&control)).await {
        Ok(Ok(report)) => surroundings.daemon = Some(report),
        Ok(Err(FetchError::NoDaemon { .. })) => {}
        Ok(Err(error)) => return Outcome::failure(error.to_string(), &HUNG),
        Err(error) => return Outcome::skipped(error),
    }
    let args = surroundings.args.clone();
    let found = blocking(move || {
        let mut named = Vec::new();
        let mut selection = Selection {
            pods: Vec::new(),
            excluded: args.exclude.clone(),
        };
        for place in &args.attach {
            match place {
                Place::Device(name) => named.push(name.clone()),
                Place::Auto => named.push(device_towards(args.pod_cidr.first().copied())?),
                Place::Pods(pods) => selection.pods.push(pods.clone()),
            }
        }
        survey::devices(&named, &selection)
    });
    let found = match found.await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return missing(&error),
        Err(error) => return Outcome::skipped(error),
    };
    let names: Vec<&str> = found.iter().map(|seen| &*seen.pod.link.name).collect();
    let facts = json!({"devices": names, "daemon": surroundings.daemon.is_some()});
    let outcome = if found.is_empty() {
        Outcome::warning(
            "no device of a pod is here",
            &Hints {
                meaning: "nothing is answered in the kernel here; pods that come are covered if their devices are as --attach says",
                see: "ip -d link show type veth",
                fix: "run this on the host's network (hostNetwork: true); name the network plugin's devices with --attach, such as 'cali*' or pods:cilium",
            },
        )
    } else {
        Outcome::ok(counted(found.len(), "device"))
    };
    surroundings.devices = found;
    outcome.facts(facts)
}

fn missing(error: &KernelError) -> Outcome {
    Outcome::failure(
        error.to_string(),
        &Hints {
            meaning: "`hopzero serve` and `accelerate` do not start with this --attach",
            see: "ip link; ip route",
            fix: "name a device that is there, or pods, which are attached to as they come",
        },
    )
}

pub(super) async fn hooks(surroundings: &mut Surroundings) -> Outcome {
    if surroundings.devices.is_empty() {
        return Outcome::skipped("no device");
    }
    let taken: Vec<_> = surroundings
        .devices
        .iter()
        .filter(|seen| !seen.others.is_empty())
        .collect();
    let facts: serde_json::Map<String, Value> = taken
        .iter()
        .map(|seen| (seen.pod.link.name.clone(), json!(seen.others)))
        .collect();
    if taken.is_empty() {
        return Outcome::ok("no other agent's program is seen at them");
    }
    let lines: Vec<String> = taken
        .iter()
        .map(|seen| format!("{}: {}", seen.pod.link.name, seen.others.join(", ")))
        .collect();
    Outcome::warning(
        format!(
            "other agents' programs are at {}\n{}",
            counted(taken.len(), "device"),
            lines.join("\n")
        ),
        &Hints {
            meaning: "they are left alone. hopzero goes in front of them where the kernel lets it, and what it answers they do not see; one that comes later in front of hopzero can keep queries from it, which the self-test shows",
            see: "bpftool net; tc filter show dev … ingress",
            fix: "nothing, if the self-test is well; else start hopzero after the other agent, or choose another --hook",
        },
    )
    .facts(json!({"others": facts}))
}

pub(super) async fn self_test(surroundings: &mut Surroundings) -> Outcome {
    if let Some(report) = &surroundings.daemon {
        let kernel = report.kernel.clone().unwrap_or_default();
        let devices = kernel["devices"].as_array().cloned().unwrap_or_default();
        return if devices.is_empty() {
            Outcome::skipped("a daemon runs, and is attached to no device")
        } else {
            judged(&devices, devices.len(), "as the daemon says")
        };
    }
    if !survey::missing_capabilities().is_empty() {
        return Outcome::skipped("not made without the capabilities");
    }
    let all = surroundings.devices.iter();
    if let Some(seen) = all.clone().find(|seen| !seen.ours.is_empty()) {
        return Outcome::skipped(format!(
            "a hopzero is at {} already ({}), whose control socket does not answer: name it with --control",
            seen.pod.link.name,
            seen.ours.join(", ")
        ));
    }
    // The link of a card may go down for a moment when a program comes, and XDP in a driver cannot be tested anyway.
    let testable: Vec<_> = all.filter(|seen| !seen.is_card).cloned().collect();
    if testable.is_empty() {
        return Outcome::skipped("no device on which a query can be sent without touching a card");
    }
    let (count, hook, until) = (testable.len(), surroundings.args.hook, surroundings.until);
    match blocking(move || survey::self_test(&testable, hook, until)).await {
        Ok(Ok(devices)) => judged(&devices, count, "tried, and taken away again"),
        Ok(Err(error)) => Outcome::skipped(format!("the programs cannot be loaded: {error}")),
        Err(error) => Outcome::skipped(error),
    }
}

/// What tests of devices say together.
fn judged(devices: &[Value], count: usize, how: &str) -> Outcome {
    let name = |device: &Value| device["device"].as_str().unwrap_or_default().to_owned();
    let is_active = |device: &&Value| device["active"] == true;
    let active = devices.iter().filter(is_active).count();
    let untested: Vec<String> = devices
        .iter()
        .filter_map(|device| {
            Some(format!(
                "{}: {}",
                name(device),
                device["untested"].as_str()?
            ))
        })
        .collect();
    let failed: Vec<String> = (devices.iter())
        .filter(|device| !is_active(device) && device.get("untested").is_none())
        .map(|device| {
            let refused = device["refused"].as_array().into_iter().flatten();
            let reasons: Vec<&str> = refused.filter_map(Value::as_str).collect();
            format!("{}: {}", name(device), reasons.join("\n"))
        })
        .collect();
    let facts = json!({"devices": devices});
    let summary = format!(
        "a query has come back from {active} of {} ({how})",
        counted(count, "device")
    );
    let outcome = if !failed.is_empty() {
        Outcome::failure(
            format!("{summary}\n{}", failed.join("\n")),
            &Hints {
                meaning: "queries of these pods are not answered in the kernel; they go where they would go without hopzero",
                see: "bpftool net; hopzero stats, when a daemon runs",
                fix: "--hook auto tries all modes; another agent's program in front of ours has to come after it, or to pass on what it does not want (TC_ACT_UNSPEC)",
            },
        )
    } else if active < count {
        Outcome::warning(
            format!("{summary}\n{}", untested.join("\n")),
            &Hints {
                meaning: "whether these are answered in the kernel is not known; answers are right either way",
                see: "hopzero stats: `answered` grows when a pod asks",
                fix: "a device that is down comes up with its pod; more devices than there was time for: --timeout",
            },
        )
    } else {
        Outcome::ok(summary)
    };
    outcome.facts(facts)
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::outcome::Status, *};

    #[test]
    fn a_device_that_failed_counts_more_than_one_that_was_not_tested() {
        let active = json!({"device": "a", "active": true, "mode": "tc"});
        let down = json!({"device": "b", "active": false, "untested": "the device is down"});
        let lost = json!({"device": "c", "active": false, "refused": ["no answer came back"]});
        for (devices, count, status, words) in [
            (vec![active.clone()], 1, Status::Ok, "from 1 of 1 device"),
            (
                vec![active.clone()],
                2,
                Status::Warning,
                "from 1 of 2 devices",
            ),
            (
                vec![active.clone(), down.clone()],
                2,
                Status::Warning,
                "b: the device is down",
            ),
            (
                vec![active, down, lost],
                3,
                Status::Failure,
                "c: no answer came back",
            ),
        ] {
            let outcome = judged(&devices, count, "tried");
            assert_eq!(outcome.status, status);
            assert!(outcome.summary.contains(words), "{}", outcome.summary);
        }
    }
}
