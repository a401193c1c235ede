//! The properties that say where the API server is and how much it is asked: `kubeconfig`, `endpoint`, `tls`,
//! `apiserver_qps`, `apiserver_burst`, `apiserver_max_inflight`.
//!
//! There is one cluster for all `kubernetes` of a configuration: a second one that names another API server is an error.
//! Properties that are not given are those of the first.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    corefile::{Directive, Fault},
    source::cluster::{Access, Limits},
};

/// The API server that a configuration names. A clone learns of it too.
#[derive(Clone, Default)]
pub struct ApiServer(Arc<Mutex<(Option<Access>, Limits)>>);

/// What one `kubernetes` says.
#[derive(Default)]
pub(super) struct Wish {
    kubeconfig: Option<Access>,
    endpoint: Option<String>,
    tls: Option<[String; 3]>,
    limits: Limits,
}

impl ApiServer {
    /// What was named, if anything, and the limits.
    pub fn named(&self) -> (Option<Access>, Limits) {
        let named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        named.clone()
    }

    /// Takes the wish of a `kubernetes`; the first counts, and others must not differ.
    pub(super) fn wish(&self, wish: Wish, directive: &Directive) -> Result<(), Fault> {
        let mut named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // As in CoreDNS, a kubeconfig goes first, and `tls` is for `endpoint`.
        let tls = wish.tls;
        let endpoint = wish.endpoint.map(|url| Access::Endpoint { url, tls });
        let differs = |message: String| {
            Fault::new(
                directive.span(),
                message,
                "the same as in the first `kubernetes`, or nothing",
            )
        };
        match (&named.0, wish.kubeconfig.or(endpoint)) {
            (Some(first), Some(second)) if *first != second => {
                return Err(differs(format!(
                    "{second}, but another `kubernetes` names {first}"
                )));
            }
            (None, access @ Some(_)) => named.0 = access,
            _ => {}
        }
        match wish.limits {
            limits if limits == Limits::default() || limits == named.1 => {}
            limits if named.1 == Limits::default() => named.1 = limits,
            _ => {
                return Err(differs(
                    "other limits than those of another `kubernetes`".to_owned(),
                ));
            }
        }
        Ok(())
    }
}

impl Wish {
    /// Whether the property is one of these.
    pub fn has(name: &str) -> bool {
        matches!(
            name,
            "endpoint"
                | "tls"
                | "kubeconfig"
                | "apiserver_qps"
                | "apiserver_burst"
                | "apiserver_max_inflight"
        )
    }

    /// Reads a property.
    pub fn read(&mut self, property: &Directive) -> Result<(), Fault> {
        match property.name.text.as_str() {
            "kubeconfig" => {
                let (file, context) = match property.args.as_slice() {
                    [file] => (file, None),
                    [file, context] => (file, Some(context.text.clone())),
                    _ => return Err(property.wrong_arguments("KUBECONFIG [CONTEXT]")),
                };
                let file = file.text.clone().into();
                self.kubeconfig = Some(Access::Kubeconfig { file, context });
            }
            "endpoint" => {
                let [url, others @ ..] = property.args.as_slice() else {
                    return Err(property.wrong_arguments("URL"));
                };
                if !others.is_empty() {
                    tracing::warn!(
                        target: "plugin/kubernetes",
                        "of several endpoints only the first one, {}, is asked",
                        url.text
                    );
                }
                self.endpoint = Some(url.text.clone());
            }
            "tls" => {
                let files = property.exactly::<3>("CERT KEY CACERT")?;
                self.tls = Some(files.each_ref().map(|file| file.text.clone()));
            }
            "apiserver_qps" => {
                let [number] = property.exactly(NOT_NEGATIVE)?;
                let qps = number.parse::<f64>(NOT_NEGATIVE)?;
                if qps.is_nan() || qps < 0.0 {
                    return Err(number.not(NOT_NEGATIVE));
                }
                self.limits.qps = Some(qps);
            }
            name => {
                let [number] = property.exactly(NOT_NEGATIVE)?;
                let number = Some(number.parse(NOT_NEGATIVE)?);
                if name == "apiserver_burst" {
                    self.limits.burst = number;
                } else {
                    self.limits.in_flight = number;
                }
            }
        }
        Ok(())
    }
}

const NOT_NEGATIVE: &str = "a number, not negative";
