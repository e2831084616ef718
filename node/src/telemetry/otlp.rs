//! What the standard's environment variables say of exporting: which signals, where to, and which traces.

use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithTonicConfig};
use opentelemetry_sdk::trace::Sampler;

/// Whether a variable says something.
pub(super) fn is_set(name: &str) -> bool {
    text(name).is_some()
}

fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether all of it is switched off.
pub(super) fn is_off() -> bool {
    text("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Whether a signal is to be exported: somebody says where to, and nobody says that it is not.
fn is_wanted(signal: &str) -> bool {
    let asked =
        is_set("OTEL_EXPORTER_OTLP_ENDPOINT") || is_set(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
    let off = is_off() || text(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|value| value == "none");
    asked && !off
}

/// Where spans go; none when that is nowhere.
///
/// # Errors
/// Why not, when somebody wants them.
pub(super) fn spans() -> Result<Option<SpanExporter>, String> {
    if !is_wanted("TRACES") {
        return Ok(None);
    }
    let builder = SpanExporter::builder().with_tonic().with_tls_config(tls("TRACES")?);
    builder.build().map(Some).map_err(|error| error.to_string())
}

/// Where measures go, as for [`spans`].
pub(super) fn metrics() -> Result<Option<MetricExporter>, String> {
    if !is_wanted("METRICS") {
        return Ok(None);
    }
    let builder = MetricExporter::builder().with_tonic().with_tls_config(tls("METRICS")?);
    builder.build().map(Some).map_err(|error| error.to_string())
}

/// Where lines go, as for [`spans`].
pub(super) fn lines() -> Result<Option<LogExporter>, String> {
    if !is_wanted("LOGS") {
        return Ok(None);
    }
    let builder = LogExporter::builder().with_tonic().with_tls_config(tls("LOGS")?);
    builder.build().map(Some).map_err(|error| error.to_string())
}

/// Whom to trust at an `https` endpoint, and who asks.
fn tls(signal: &str) -> Result<ClientTlsConfig, String> {
    let file = |what: &str| {
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_{what}");
        let path = text(&own).or_else(|| text(&format!("OTEL_EXPORTER_OTLP_{what}")))?;
        Some(std::fs::read(&path).map_err(|error| format!("cannot read {path}: {error}")))
    };
    let mut config = ClientTlsConfig::new();
    config = match file("CERTIFICATE").transpose()? {
        Some(authority) => config.ca_certificate(Certificate::from_pem(authority)),
        None => config.with_enabled_roots(),
    };
    if let (Some(certificate), Some(key)) =
        (file("CLIENT_CERTIFICATE").transpose()?, file("CLIENT_KEY").transpose()?)
    {
        config = config.identity(Identity::from_pem(certificate, key));
    }
    Ok(config)
}

/// Which traces are chosen when they begin, and what is wrong with what was asked for.
pub(super) fn sampler() -> (Sampler, Option<String>) {
    choose(text("OTEL_TRACES_SAMPLER").as_deref(), text("OTEL_TRACES_SAMPLER_ARG").as_deref())
}

fn choose(name: Option<&str>, argument: Option<&str>) -> (Sampler, Option<String>) {
    let mut problem = None;
    let mut ratio = || match argument.map(str::parse::<f64>) {
        None => 1.0,
        Some(Ok(ratio)) if (0.0..=1.0).contains(&ratio) => ratio,
        Some(_) => {
            problem = Some("OTEL_TRACES_SAMPLER_ARG is no number from 0 to 1; it is taken for 1".to_owned());
            1.0
        }
    };
    let by_parent = |root: Sampler| Sampler::ParentBased(Box::new(root));
    let sampler = match name.unwrap_or("parentbased_always_on") {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio()),
        "parentbased_always_on" => by_parent(Sampler::AlwaysOn),
        "parentbased_always_off" => by_parent(Sampler::AlwaysOff),
        "parentbased_traceidratio" => by_parent(Sampler::TraceIdRatioBased(ratio())),
        other => {
            problem = Some(format!(
                "OTEL_TRACES_SAMPLER is `{other}`, which is not served; it is taken for parentbased_always_on"
            ));
            by_parent(Sampler::AlwaysOn)
        }
    };
    (sampler, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_are_read_as_the_standard_names_them() {
        let name = |sampler: &Sampler| format!("{sampler:?}");
        let table = [
            (None, None, "ParentBased(AlwaysOn)", false),
            (Some("always_off"), None, "AlwaysOff", false),
            (Some("parentbased_traceidratio"), Some("0.01"), "ParentBased(TraceIdRatioBased(0.01))", false),
            (Some("traceidratio"), Some("7"), "TraceIdRatioBased(1.0)", true),
            (Some("jaeger_remote"), None, "ParentBased(AlwaysOn)", true),
        ];
        for (given, argument, wanted, wrong) in table {
            let (sampler, problem) = choose(given, argument);
            assert_eq!(
                (name(&sampler).as_str(), problem.is_some()),
                (wanted, wrong),
                "{given:?} {problem:?}"
            );
        }
    }
}
