//! Reads what pods refer to, as the node that each is bound to.
//!
//! As `system:node:NAME` ([`super::as_node`]), whom the API server lets read what a pod that is bound to that node refers
//! to, and nothing else.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::try_join_all;
use k8s_openapi::{
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{ConfigMap, Pod, Secret, ServiceAccount},
    },
    jiff::Timestamp,
};
use kube::{
    Client, Resource,
    api::{GetParams, PostParams, Request},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;

use super::{
    KubeletConfig,
    as_node::{as_node, may_not_impersonate, role_lacks, user},
    recent::Recent,
    resolve::{Host, Needs, Objects, Resolved, TokenNeed, Unresolved, resolve},
};
use crate::provider::{Content, Owner, Takes};

/// Longest wait for one object.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Seconds that a renewed file may take to be seen by its container.
const ON_ITS_WAY: i64 = 240;

/// Pauses before a read that the API server forbids is tried again: it learns of the pod's binding by a watch of its own,
/// a moment after burstlet.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1)];

/// A token, and when to ask for the next one.
#[derive(Clone)]
struct Token {
    text: String,
    /// Seconds of Unix time.
    renew_at: i64,
}

/// See the module.
pub(crate) struct Reader {
    client: Client,
    config: Arc<KubeletConfig>,
    takes: Takes,
    /// Tokens that are still good, of pods whose files are renewed.
    tokens: Mutex<HashMap<(String, TokenNeed), Token>>,
    /// What many pods of a node refer to is read once for all that come together.
    config_maps: Recent<ConfigMap>,
    secrets: Recent<Secret>,
}

impl Reader {
    pub(crate) fn new(client: Client, config: Arc<KubeletConfig>, takes: Takes) -> Self {
        Self {
            client,
            config,
            takes,
            tokens: Mutex::default(),
            config_maps: Recent::default(),
            secrets: Recent::default(),
        }
    }

    /// Makes the pod stand by itself.
    pub(crate) async fn resolve(&self, owner: &Owner, pod: Pod) -> Result<Resolved, Unresolved> {
        let needs = Needs::of(&pod, self.takes);
        if !needs.any {
            return Ok(Resolved { pod, content: Content::default(), absent: Vec::new() });
        }
        let objects = self.objects(owner, &needs, &pod).await?;
        resolve(&pod, self.takes, &objects, &self.host(owner))
    }

    /// Makes the pod stand by itself as it is now; `None` where it is gone.
    pub(crate) async fn again(&self, owner: &Owner) -> Result<Option<Resolved>, Unresolved> {
        let Some((_, pod)) = self.named::<Pod>(owner, &owner.name).await? else { return Ok(None) };
        if pod.metadata.uid.as_deref() != Some(&owner.uid) {
            return Ok(None);
        }
        self.resolve(owner, pod).await.map(Some)
    }

    /// Forgets the tokens of pods that `stays` does not know by their UID.
    pub(crate) fn forget_tokens_but(&self, stays: impl Fn(&str) -> bool) {
        self.tokens().retain(|(uid, _), _| stays(uid));
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<(String, TokenNeed), Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host(&self, owner: &Owner) -> Host {
        let node = self.config.nodes.iter().find(|node| node.name == owner.node);
        let allocatable = node.map(|node| node.capacity.resources()).unwrap_or_default();
        Host { address: self.config.address, allocatable }
    }

    async fn objects(&self, owner: &Owner, needs: &Needs, pod: &Pod) -> Result<Objects, Unresolved> {
        let maps = try_join_all(needs.config_maps.iter().map(|name| self.shared(&self.config_maps, owner, name)));
        let secrets = try_join_all(needs.secrets.iter().map(|name| self.shared(&self.secrets, owner, name)));
        let tokens = try_join_all(
            needs.tokens.iter().map(|need| async { Ok((need.clone(), self.token(owner, pod, need).await?)) }),
        );
        let (maps, secrets, tokens) = futures::try_join!(maps, secrets, tokens)?;
        Ok(Objects {
            config_maps: maps.into_iter().flatten().collect(),
            secrets: secrets.into_iter().flatten().collect(),
            tokens: tokens.into_iter().collect::<BTreeMap<_, _>>(),
        })
    }

    /// As [`Reader::named`], as it was a moment ago where another pod of the same node wanted it then.
    async fn shared<K>(&self, recent: &Recent<K>, owner: &Owner, name: &str) -> Result<Option<(String, K)>, Unresolved>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let key = [&owner.node, &owner.namespace, name].map(str::to_owned);
        recent.get(key, self.named::<K>(owner, name)).await
    }

    /// An object of the pod's namespace with its name; `None` where there is none.
    async fn named<K>(&self, owner: &Owner, name: &str) -> Result<Option<(String, K)>, Unresolved>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned,
    {
        let request = Request::new(K::url_path(&(), Some(&owner.namespace))).get(name, &GetParams::default());
        let told = || format!("{} {}/{name}", K::kind(&()), owner.namespace);
        let object: Option<K> = self.ask(owner, request, told).await?;
        Ok(object.map(|object| (name.to_owned(), object)))
    }

    /// The pod's token, a new one where the last one's end is near.
    async fn token(&self, owner: &Owner, pod: &Pod, need: &TokenNeed) -> Result<String, Unresolved> {
        let key = (owner.uid.clone(), need.clone());
        let known = self.tokens().get(&key).cloned();
        if let Some(token) = known.filter(|token| Timestamp::now().as_second() < token.renew_at) {
            return Ok(token.text);
        }
        let token = self.new_token(owner, pod, need).await?;
        let text = token.text.clone();
        if self.takes.renewals {
            self.tokens().insert(key, token);
        }
        Ok(text)
    }

    /// A token for the pod's service account that ends with the pod.
    async fn new_token(&self, owner: &Owner, pod: &Pod, need: &TokenNeed) -> Result<Token, Unresolved> {
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
        let audiences = if need.audience.is_empty() { Vec::new() } else { vec![need.audience.clone()] };
        let body = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(audiences),
                expiration_seconds: Some(need.seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(owner.name.clone()),
                    uid: Some(owner.uid.clone()),
                }),
            }),
            ..TokenRequest::default()
        };
        let told = || format!("token of the ServiceAccount {}/{account}", owner.namespace);
        let body = serde_json::to_vec(&body).map_err(|error| Unresolved::Unreadable(error.to_string()))?;
        let accounts = Request::new(ServiceAccount::url_path(&(), Some(&owner.namespace)));
        let request = accounts.create_subresource("token", account, &PostParams::default(), body);
        let asked: Option<TokenRequest> = self.ask(owner, request, told).await?;
        let status = asked.and_then(|asked| asked.status).unwrap_or_default();
        let text = status.token;
        let text = text.ok_or_else(|| Unresolved::Unreadable(format!("{}: there is no such account", told())))?;
        let now = Timestamp::now().as_second();
        let ends = status.expiration_timestamp.map_or(now, |ends| ends.0.as_second());
        Ok(Token { text, renew_at: renew_at(now, ends) })
    }

    /// Sends `request` as the pod's node; `None` where nothing is there.
    async fn ask<T: DeserializeOwned>(
        &self,
        owner: &Owner,
        request: Result<axum::http::Request<Vec<u8>>, kube::core::request::Error>,
        told: impl Fn() -> String,
    ) -> Result<Option<T>, Unresolved> {
        let unreadable = |error: &dyn std::fmt::Display| Unresolved::Unreadable(format!("{}: {error}", told()));
        let request = request.map_err(|error| unreadable(&error))?;
        let request = as_node(request, &owner.node).map_err(|error| unreadable(&error))?;
        let mut pauses = PAUSES.into_iter();
        loop {
            let call = tokio::time::timeout(TIMEOUT, self.client.request::<T>(request.clone())).await;
            match call {
                Ok(Ok(object)) => return Ok(Some(object)),
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Ok(None),
                Ok(Err(kube::Error::Api(status))) if status.code == 403 => match pauses.next() {
                    Some(pause) if !may_not_impersonate(&status.message) => tokio::time::sleep(pause).await,
                    _ => return Err(Unresolved::Forbidden(forbidden(&told(), &owner.node, &status.message))),
                },
                Ok(Err(error)) => return Err(unreadable(&error)),
                Err(_) => return Err(unreadable(&format!("no answer within {TIMEOUT:?}"))),
            }
        }
    }
}

/// When a token that holds from `now` to `ends` is to be followed by the next: a fifth of its life before its end, and at least
/// as long before as files take on their way: a look every minute, and what another cluster's kubelet takes to see a change.
fn renew_at(now: i64, ends: i64) -> i64 {
    ends.saturating_sub((ends.saturating_sub(now) / 5).max(ON_ITS_WAY))
}

fn forbidden(what: &str, node: &str, message: &str) -> String {
    if may_not_impersonate(message) {
        return format!("{what}: {}", role_lacks(node));
    }
    format!("{what}, as {}: {message}", user(node))
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        net::Ipv4Addr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use axum::http::{Request as HttpRequest, Response};
    use futures::future::join_all;
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::kubelet::NodeTemplate;

    /// An API server that has every ConfigMap and Secret, and counts who asked for which.
    fn server(asked: Arc<Mutex<Vec<(String, String)>>>, version: Arc<AtomicUsize>) -> Client {
        let service = tower::service_fn(move |request: HttpRequest<Body>| {
            let user = request.headers()["impersonate-user"].to_str().unwrap().to_owned();
            let path = request.uri().path().to_owned();
            asked.lock().unwrap().push((user, path.clone()));
            let name = path.rsplit('/').next().unwrap();
            let value = version.load(Ordering::SeqCst).to_string();
            let mut object = json!({"metadata": {"name": name}, "data": {"key": value}});
            if path.contains("secrets") {
                object["data"] = json!({"key": "c2VjcmV0"});
            }
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok::<_, Infallible>(Response::new(Body::from(object.to_string().into_bytes())))
            }
        });
        Client::new(service, "default")
    }

    fn owner(node: &str, number: usize) -> Owner {
        Owner {
            cluster: "lab".to_owned(),
            node: node.to_owned(),
            namespace: "shop".to_owned(),
            name: format!("web-{number}"),
            uid: number.to_string(),
        }
    }

    fn pod() -> Pod {
        let from = |kind: &str| json!({"name": kind, "valueFrom": {kind: {"name": "shared", "key": "key"}}});
        let spec = json!({"containers": [{"name": "c", "env": [from("configMapKeyRef"), from("secretKeyRef")]}]});
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap()
    }

    fn reader(client: Client) -> Reader {
        let config = KubeletConfig::new("lab", Vec::<NodeTemplate>::new(), Ipv4Addr::LOCALHOST.into(), 1);
        Reader::new(client, Arc::new(config), Takes::default())
    }

    #[test]
    fn a_token_is_followed_by_the_next_while_files_can_still_get_there() {
        assert_eq!(renew_at(0, 3600), 2880);
        assert_eq!(renew_at(0, 600), 360);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_thousand_pods_of_a_node_share_is_read_once_and_as_that_node() {
        let asked = Arc::default();
        let reader = reader(server(Arc::clone(&asked), Arc::default()));
        let resolved = join_all((0..1000).map(|number| {
            let node = if number % 2 == 0 { "even" } else { "odd" };
            let (reader, owner) = (&reader, owner(node, number));
            async move { reader.resolve(&owner, pod()).await.unwrap() }
        }));
        assert_eq!(resolved.await.len(), 1000);
        let mut asked = asked.lock().unwrap().clone();
        asked.sort();
        let read =
            |node: &str, kind: &str| (format!("system:node:{node}"), format!("/api/v1/namespaces/shop/{kind}/shared"));
        let once = [("even", "configmaps"), ("even", "secrets"), ("odd", "configmaps"), ("odd", "secrets")];
        assert_eq!(asked, once.map(|(node, kind)| read(node, kind)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_comes_later_gets_what_it_refers_to_as_it_is_then() {
        let (asked, version) = (Arc::default(), Arc::<AtomicUsize>::default());
        let reader = reader(server(asked, Arc::clone(&version)));
        let value = async |number| {
            let resolved = reader.resolve(&owner("node", number), pod()).await.unwrap();
            let env = resolved.pod.spec.unwrap().containers.remove(0).env.unwrap();
            env.into_iter().find(|variable| variable.name == "configMapKeyRef").unwrap().value.unwrap()
        };
        assert_eq!(value(0).await, "0");
        version.store(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(value(1).await, "1");
        assert_eq!(reader.secrets.len(), 1);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(reader.secrets.len(), 0, "a Secret stays in memory");
    }
}
