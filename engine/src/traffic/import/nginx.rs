//! NGINX's status API, polled: one JSON document a line, with the requests so far.

use serde::Deserialize;

use super::{Fault, Faults, ImportError, Place, Values, series::Series};

#[derive(Debug, Deserialize)]
struct Status {
    /// Milliseconds since 1970.
    timestamp: u64,
    requests: Requests,
}

#[derive(Debug, Deserialize)]
struct Requests {
    total: u64,
}

/// Reads such documents.
#[derive(Debug)]
pub(super) struct Statuses {
    series: Series,
    pub(super) rows: u64,
}

impl Statuses {
    pub(super) fn new() -> Self {
        Self { series: Series::new(Values::Counters, None, true), rows: 0 }
    }

    pub(super) fn line(&mut self, number: u64, line: &[u8], faults: &mut Faults) -> Result<(), ImportError> {
        if line.is_empty() {
            return Ok(());
        }
        match serde_json::from_slice::<Status>(line) {
            Ok(status) => {
                self.rows += 1;
                // Fewer than 2^53 requests were ever served by one server.
                let total = std::time::Duration::from_secs(status.requests.total).as_secs_f64();
                self.series.push(status.timestamp, total, number, faults)
            }
            Err(error) => faults.meet(Place::Line(number), Fault::NoStatus { what: error.to_string() }),
        }
    }

    pub(super) fn finish(self) -> Series {
        self.series
    }
}
