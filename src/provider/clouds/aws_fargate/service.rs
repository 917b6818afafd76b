//! AWS's services: where each answers, and how a call of it is addressed and signed.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use crate::provider::{
    ProviderError,
    clouds::{
        Secret,
        credentials::SigningKeys,
        exchange::host_of,
        pod::invalid,
        signing::sigv4::{Keys, Scope, Signable, sign},
    },
};

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");

/// A service that speaks JSON 1.1.
#[derive(Debug)]
pub(super) struct Service {
    address: Uri,
    host: HeaderValue,
    scope: Scope,
    /// What an action's name stands behind.
    target: &'static str,
}

impl Service {
    /// Tasks.
    pub(super) fn ecs(region: &str, endpoint: Option<&str>) -> Result<Self, ProviderError> {
        Self::new("ecs", "AmazonEC2ContainerServiceV20141113", region, endpoint)
            .map_err(|error| invalid("endpoint", error))
    }

    /// `CloudWatch` Logs.
    pub(super) fn logs(region: &str, endpoint: Option<&str>) -> Result<Self, ProviderError> {
        Self::new("logs", "Logs_20140328", region, endpoint).map_err(|error| invalid("logsEndpoint", error))
    }

    fn new(
        service: &'static str,
        target: &'static str,
        region: &str,
        endpoint: Option<&str>,
    ) -> Result<Self, http::Error> {
        let address = match endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => address_of(service, region),
        };
        let address: Uri = format!("{address}/").parse()?;
        let host = HeaderValue::from_str(&host_of(&address))?;
        Ok(Self { address, host, scope: Scope { region: region.to_owned(), service }, target })
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// As people call it.
    pub(super) fn name(&self) -> &'static str {
        self.scope.service
    }

    /// A call, signed now.
    pub(super) fn request(
        &self,
        action: &str,
        body: String,
        keys: &SigningKeys,
    ) -> Result<Request<String>, ProviderError> {
        let target = format!("{}.{action}", self.target);
        let headers = HeaderMap::from_iter([
            (header::HOST, self.host.clone()),
            (header::CONTENT_TYPE, JSON),
            (TARGET, HeaderValue::from_str(&target).map_err(|error| invalid("action", error))?),
        ]);
        let signable =
            Signable { method: &Method::POST, path: "/", query: "", headers: &headers, body: body.as_bytes() };
        let token = keys.token.as_ref().map(Secret::reveal);
        let signing = Keys { id: &keys.id, secret: keys.secret.reveal(), token };
        let headers = sign(&signable, signing, &self.scope, false, jiff::Timestamp::now())
            .map_err(|error| ProviderError::Unauthorized(error.to_string()))?;
        let mut request = Request::post(self.address.clone()).body(body).map_err(|error| invalid("request", error))?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Where a service answers in a region; China's regions have a domain of their own.
pub(super) fn address_of(service: &str, region: &str) -> String {
    let china = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://{service}.{region}.amazonaws.com{china}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_answers_in_its_region_unless_the_pool_says_where() {
        let address = |region, endpoint| Service::logs(region, endpoint).unwrap().address();
        assert_eq!(address("eu-central-1", None), "https://logs.eu-central-1.amazonaws.com/");
        assert_eq!(address("cn-north-1", None), "https://logs.cn-north-1.amazonaws.com.cn/");
        assert_eq!(address("eu-central-1", Some("http://127.0.0.1:1/")), "http://127.0.0.1:1/");
        let refused = Service::logs("eu-central-1", Some("a b")).unwrap_err().to_string();
        assert!(refused.contains("logsEndpoint"), "{refused}");
    }
}
