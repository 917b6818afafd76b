//! Range queries to a live Prometheus.

use std::{collections::BTreeMap, time::Duration};

use burstlet_engine::{
    model::Timestamp,
    traffic::{Step, Zone, moment},
};
use http::{Request, Uri};
use kube::{Client, Config, client::Body};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

/// Prometheus refuses more than 11,000 values a series in one answer.
const MOST_VALUES: u64 = 10_000;

/// No answer takes longer; Prometheus itself gives a query up after two minutes.
const PATIENCE: Duration = Duration::from_secs(130);

/// From when until when, and how far values are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first value's time.
    pub from: Timestamp,
    /// No value is later.
    pub to: Timestamp,
    /// From value to value.
    pub step: Step,
}

/// A range query.
#[derive(Debug, Clone)]
pub struct Query {
    /// Where Prometheus answers, such as `http://127.0.0.1:9090`; a path before `/api/v1` is kept.
    pub url: Uri,
    /// In Prometheus' language.
    pub text: String,
    /// Its time.
    pub window: Window,
}

/// How it is asked.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Sent as a bearer token.
    pub token: Option<String>,
    /// Certificates in PEM of those that may vouch for its server, instead of the system's.
    pub authority: Option<Vec<u8>>,
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The time makes no sense.
    #[error("{text:?} is no time; write it as 2026-11-20T12:00:00Z, now or now-6h")]
    Time {
        /// What was given.
        text: String,
    },
    /// The window is empty.
    #[error("--from {from} is not before --to {to}")]
    Empty {
        /// Its begin.
        from: String,
        /// Its end.
        to: String,
    },
    /// No certificates.
    #[error("the file of --ca-file holds no certificate in PEM: {error}")]
    Authority {
        /// What is wrong.
        error: String,
    },
    /// No answer.
    #[error("{url}: no answer: {}", causes(error))]
    Unreachable {
        /// Where.
        url: Uri,
        /// Why.
        error: Box<kube::Error>,
    },
    /// An answer that is none of Prometheus.
    #[error("{url}: answered {status}: {text}")]
    Refused {
        /// Where.
        url: Uri,
        /// HTTP status.
        status: u16,
        /// What it said, shortened.
        text: String,
    },
}

impl Window {
    /// The window from `from` to `to`, either a moment or `now`, or `now-6h`, where `now` is the present.
    pub fn parse(from: &str, to: &str, step: Step, now: Timestamp) -> Result<Self, QueryError> {
        let (begin, end) = (time_of(from, now)?, time_of(to, now)?);
        if begin >= end {
            return Err(QueryError::Empty { from: from.to_owned(), to: to.to_owned() });
        }
        Ok(Self { from: begin, to: end, step })
    }

    /// Windows that Prometheus answers in one piece each.
    fn pages(self) -> impl Iterator<Item = Self> {
        let length = self.step.as_millis() * MOST_VALUES;
        let starts =
            (self.from.as_millis()..=self.to.as_millis()).step_by(usize::try_from(length).unwrap_or(usize::MAX));
        starts.map(move |start| {
            let last = start + length - self.step.as_millis();
            Self {
                from: Timestamp::from_millis(start),
                to: Timestamp::from_millis(last.min(self.to.as_millis())),
                ..self
            }
        })
    }
}

fn time_of(text: &str, now: Timestamp) -> Result<Timestamp, QueryError> {
    let wrong = || QueryError::Time { text: text.to_owned() };
    let Some(before) = text.strip_prefix("now") else { return moment(text, Zone::UTC).ok_or_else(wrong) };
    let ago = match before.strip_prefix('-') {
        Some(ago) => humantime::parse_duration(ago).map_err(|_| wrong())?,
        None if before.is_empty() => Duration::ZERO,
        None => return Err(wrong()),
    };
    let millis = now.as_millis().saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
    // Whole seconds, as the values' times are.
    Ok(Timestamp::from_millis(millis / 1000 * 1000))
}

impl Query {
    /// Asks, page by page, and gives all as one answer. `progress` is told after each page how far the time has come.
    pub async fn ask(&self, access: Access, mut progress: impl FnMut(Timestamp)) -> Result<Vec<u8>, QueryError> {
        let client = self.client(access)?;
        let all = |of: &Value| of.as_array().cloned().unwrap_or_default();
        let mut series: BTreeMap<String, [Vec<Value>; 2]> = BTreeMap::new();
        let mut told: [Vec<Value>; 2] = Default::default();
        for page in self.window.pages() {
            let answer = self.page(&client, page).await?;
            for row in all(&answer["data"]["result"]) {
                let of = series.entry(row["metric"].to_string()).or_default();
                of.iter_mut().zip(["values", "histograms"]).for_each(|(of, kind)| of.extend(all(&row[kind])));
            }
            for (told, kind) in told.iter_mut().zip(["warnings", "infos"]) {
                let new = all(&answer[kind]).into_iter().filter(|text| !told.contains(text)).collect::<Vec<_>>();
                told.extend(new);
            }
            progress(page.to);
        }
        let labels = |labels: &str| serde_json::from_str::<Value>(labels).unwrap_or_default();
        let row = |(metric, [values, histograms]): (String, [Vec<Value>; 2])| json!({"metric": labels(&metric), "values": values, "histograms": histograms});
        let rows: Vec<_> = series.into_iter().map(row).collect();
        let data = json!({"resultType": "matrix", "result": rows});
        let [warnings, infos] = told;
        Ok(json!({"status": "success", "data": data, "warnings": warnings, "infos": infos}).to_string().into_bytes())
    }

    fn client(&self, Access { token, authority }: Access) -> Result<Client, QueryError> {
        // The client of clusters is one of HTTP with the system's certificates.
        let mut config = Config::new(self.url.clone());
        config.auth_info.token = token.map(Into::into);
        config.root_cert = authority.map(|pem| certificates(&pem)).transpose()?;
        config.read_timeout = Some(PATIENCE);
        Client::try_from(config).map_err(|error| self.unreachable(error))
    }

    /// The whole answer to a window's query.
    async fn page(&self, client: &Client, page: Window) -> Result<Value, QueryError> {
        let seconds = |millis: u64| Duration::from_millis(millis).as_secs_f64();
        let parameters = [
            ("query", self.text.clone()),
            ("start", seconds(page.from.as_millis()).to_string()),
            ("end", seconds(page.to.as_millis()).to_string()),
            ("step", seconds(page.step.as_millis()).to_string()),
        ];
        let body = parameters.map(|(name, value)| format!("{name}={}", escaped(&value))).join("&");
        let request = Request::post("/api/v1/query_range")
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body.into_bytes()))
            .map_err(|error| self.unreachable(kube::Error::HttpError(error)))?;
        let answer = client.send(request).await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let bytes = answer.into_body().collect_bytes().await.map_err(|error| self.unreachable(error))?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if value["status"] == "success" && value["data"]["result"].is_array() {
            return Ok(value);
        }
        Err(QueryError::Refused {
            url: self.url.clone(),
            status: status.as_u16(),
            text: value["error"]
                .as_str()
                .map_or_else(|| String::from_utf8_lossy(&bytes).chars().take(120).collect(), ToOwned::to_owned),
        })
    }

    fn unreachable(&self, error: kube::Error) -> QueryError {
        QueryError::Unreachable { url: self.url.clone(), error: Box::new(error) }
    }
}

/// The certificates of a PEM file; at least one.
fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, QueryError> {
    let refuse = |error: String| QueryError::Authority { error };
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| refuse(error.to_string()))?;
    if all.is_empty() {
        return Err(refuse("there is none".to_owned()));
    }
    Ok(all.into_iter().map(|certificate| certificate.to_vec()).collect())
}

/// An error with what caused it, which for a connection says the most.
fn causes(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let told = next.to_string();
        if !text.contains(&told) {
            text.extend([": ", &told]);
        }
        cause = next.source();
    }
    text
}

/// As a value of a form is written.
fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{Router, http::HeaderMap, routing::post};
    use burstlet_engine::traffic::import::{Import, Importer, Settings};

    use super::*;

    const NOW: u64 = 1_763_640_000_500;

    fn window(from: &str, to: &str, step: Step) -> Result<Window, QueryError> {
        Window::parse(from, to, step, Timestamp::from_millis(NOW))
    }

    #[test]
    fn a_window_is_named_by_moments_or_from_now() {
        let found = window("now-6h", "now", Step::SECOND).unwrap();
        assert_eq!((found.from.as_millis(), found.to.as_millis()), (1_763_618_400_000, 1_763_640_000_000));
        let found = window("2025-11-20T12:00:00Z", "2025-11-20 13:00+01:00", Step::SECOND);
        assert_eq!(
            found.unwrap_err().to_string(),
            "--from 2025-11-20T12:00:00Z is not before --to 2025-11-20 13:00+01:00"
        );
        for text in ["yesterday", "now-", "now+1h", "6h"] {
            let told = window(text, "now", Step::SECOND).unwrap_err().to_string();
            assert_eq!(told, format!("{text:?} is no time; write it as 2026-11-20T12:00:00Z, now or now-6h"));
        }
    }

    #[test]
    fn no_page_is_longer_than_prometheus_answers_and_none_misses_a_value() {
        let whole = window("now-24h", "now", Step::SECOND).unwrap();
        let pages: Vec<_> = whole.pages().collect();
        let times: Vec<u64> =
            pages.iter().flat_map(|page| (page.from.as_millis()..=page.to.as_millis()).step_by(1000)).collect();
        assert!(times.iter().copied().eq((whole.from.as_millis()..=whole.to.as_millis()).step_by(1000)));
        assert_eq!(pages.len(), 9);
    }

    /// Answers with a counter that rises by 5 a second, and keeps what it was asked.
    async fn fake() -> (Uri, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let answer = move |headers: HeaderMap, body: String| async move {
            let url = reqwest::Url::parse(&format!("http://form/?{body}")).unwrap();
            let form: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
            let token = headers.get("authorization").map(|token| token.to_str().unwrap().to_owned());
            seen.lock().unwrap().push(format!("{} {}", form["query"], token.unwrap_or_default()));
            if form["query"] == "up(" {
                let error = r#"{"status":"error","errorType":"bad_data","error":"1:4: parse error"}"#;
                return (axum::http::StatusCode::BAD_REQUEST, error.to_owned());
            }
            let number = |name: &str| form[name].parse::<u64>().unwrap();
            let times = (number("start")..=number("end")).step_by(usize::try_from(number("step")).unwrap());
            let values: Vec<_> = times.map(|time| json!([time, (time * 5).to_string()])).collect();
            let rows = json!([{"metric": {"__name__": "r_total"}, "values": values}]);
            (
                axum::http::StatusCode::OK,
                json!({"status": "success", "data": {"resultType": "matrix", "result": rows}, "infos": ["hm"]})
                    .to_string(),
            )
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mount", listener.local_addr().unwrap()).parse().unwrap();
        let router = Router::new().route("/mount/api/v1/query_range", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, asked)
    }

    #[tokio::test]
    async fn pages_of_a_live_query_become_one_answer() {
        let (url, asked) = fake().await;
        let window = window("now-3h", "now", Step::SECOND).unwrap();
        let query = Query { url, text: "r_total{a=\"b c&\"}".to_owned(), window };
        let answer = query.ask(Access { token: Some("secret".to_owned()), authority: None }, |_| {}).await.unwrap();
        let mut importer = Importer::new(Settings::default());
        importer.push(&answer).unwrap();
        let Import { recording, report } = importer.finish().unwrap();
        assert_eq!(report.assumptions[1..], ["Prometheus says: hm"], "of both pages, once");
        assert_eq!((recording.requests().len(), recording.total().round()), (10_800, 54_000.0));
        assert_eq!(*asked.lock().unwrap(), ["r_total{a=\"b c&\"} Bearer secret"; 2]);
    }

    #[tokio::test]
    async fn a_file_without_certificates_vouches_for_nobody() {
        let window = window("now-3h", "now", Step::SECOND).unwrap();
        let query = Query { url: Uri::from_static("https://127.0.0.1:1"), text: "up".to_owned(), window };
        let access = Access { authority: Some(b"not a certificate".to_vec()), token: None };
        let refused = query.ask(access, |_| {}).await.unwrap_err().to_string();
        assert_eq!(refused, "the file of --ca-file holds no certificate in PEM: there is none");
    }

    #[tokio::test]
    async fn a_refusal_says_what_prometheus_said() {
        let (url, _) = fake().await;
        let window = window("now-3h", "now", Step::SECOND).unwrap();
        let query = Query { url: url.clone(), text: "up(".to_owned(), window };
        let refused = query.ask(Access::default(), |_| {}).await.unwrap_err().to_string();
        assert_eq!(refused, format!("{url}: answered 400: 1:4: parse error"));
        let nobody = Query { url: Uri::from_static("http://127.0.0.1:1"), text: "up".to_owned(), window };
        assert!(
            nobody
                .ask(Access::default(), |_| {})
                .await
                .unwrap_err()
                .to_string()
                .starts_with("http://127.0.0.1:1/: no answer: ")
        );
    }
}
