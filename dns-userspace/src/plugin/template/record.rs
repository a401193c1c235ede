//! One record, as a template.

use gtmpl::Template;
use hickory_proto::rr::Record;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::data::{self, Data};
use crate::{
    corefile::{Fault, Word},
    plugin::{Failure, Request, metrics::Families, text},
};

/// `coredns_template_*`
#[derive(Clone, Default)]
pub(super) struct TemplateMetrics {
    pub matches: Family<Labels, Counter>,
    template_failures: Family<RecordLabels, Counter>,
    rr_failures: Family<RecordLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Labels {
    server: String,
    zone: String,
    view: String,
    class: String,
    r#type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RecordLabels {
    server: String,
    zone: String,
    view: String,
    class: String,
    r#type: String,
    section: &'static str,
    template: String,
}

impl Families for TemplateMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "coredns_template_matches",
            "Queries that a template matched",
            self.matches.clone(),
        );
        registry.register(
            "coredns_template_template_failures",
            "Records that could not be written from a template",
            self.template_failures.clone(),
        );
        registry.register(
            "coredns_template_rr_failures",
            "Templates that wrote no record",
            self.rr_failures.clone(),
        );
    }
}

impl Labels {
    /// Of one query.
    pub(super) fn new(request: &Request, data: &Data) -> Self {
        Labels {
            server: request.server.to_string(),
            zone: data.zone.clone(),
            view: request.view.to_string(),
            class: data.class.clone(),
            r#type: data.rtype.clone(),
        }
    }
}

/// A record of one section.
pub(super) struct RecordTemplate {
    section: &'static str,
    text: String,
    template: Template,
}

impl RecordTemplate {
    /// Reads it.
    pub(super) fn read(section: &'static str, word: &Word) -> Result<Self, Fault> {
        if word.text.contains(".Meta") {
            return Err(word.not("a template without `.Meta`, which hopzero does not have"));
        }
        let mut template = Template::with_name(section);
        template.add_func("parseInt", data::parse_int);
        template
            .parse(word.text.as_str())
            .map_err(|error| word.not(&format!("a Go template: {error}")))?;
        Ok(RecordTemplate {
            section,
            text: word.text.clone(),
            template,
        })
    }

    /// The record for a query.
    pub(super) fn record(
        &self,
        data: &Data,
        labels: &Labels,
        metrics: &TemplateMetrics,
    ) -> Result<Record, Failure> {
        let written = self.template.render(&data.context());
        let (failed, error) = match written {
            Err(error) => (&metrics.template_failures, error.to_string()),
            Ok(written) => match text::record(&written) {
                Ok(record) => return Ok(record),
                Err(error) => (&metrics.rr_failures, format!("{error}: {written}")),
            },
        };
        let labels = labels.clone();
        let labels = RecordLabels {
            server: labels.server,
            zone: labels.zone,
            view: labels.view,
            class: labels.class,
            r#type: labels.r#type,
            section: self.section,
            template: self.text.clone(),
        };
        failed.get_or_create(&labels).inc();
        Err(Failure::new(format_args!("plugin/template: {error}")))
    }
}
