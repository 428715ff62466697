//! Where the log goes, and traces where they're wanted.

use std::{fs::File, io::IsTerminal, os::fd::AsFd};

use livecode::{Error, Result};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::config::{Config, LogFormat};

/// The log, and traces by OpenTelemetry with the feature `otel`.
#[derive(Debug)]
pub struct Telemetry {
    #[cfg(feature = "otel")]
    tracer: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

impl Telemetry {
    /// Writes the log to standard error from now on, as `RUST_LOG` says (default: `info`). With the feature `otel` spans are
    /// exported where `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set.
    ///
    /// Not to be called within a runtime.
    ///
    /// # Errors
    ///
    /// Where the standard variables of OpenTelemetry can't be right.
    pub fn install(config: &Config) -> Result<Self> {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        // A descriptor of its own: std's has a lock, which the threads would take turns at. A line is one write.
        let stderr = std::io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Error::unavailable("standard error can't be written").with_source(error))?;
        let lines = log_layer(config.log_format, std::io::stderr().is_terminal(), File::from(stderr));
        let registry = Registry::default().with(lines.with_filter(filter));
        #[cfg(feature = "otel")]
        let tracer = crate::otel::tracer()?;
        #[cfg(feature = "otel")]
        let registry = registry.with(tracer.as_ref().map(crate::otel::layer));
        registry.try_init().map_err(|error| {
            Error::internal("the log can't be written: there is one already").with_source(error)
        })?;
        Ok(Self {
            #[cfg(feature = "otel")]
            tracer,
        })
    }

    /// Exports what is left. Not to be called within a runtime.
    pub fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(Err(error)) = self.tracer.map(|tracer| tracer.shutdown()) {
            tracing::warn!(%error, "the last traces are not exported");
        }
    }
}

/// What writes the log's lines.
pub fn log_layer<W>(format: LogFormat, ansi: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer);
    match format {
        LogFormat::Text => lines.with_ansi(ansi).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    }
}
