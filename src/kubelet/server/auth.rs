//! Who asks, and whether they may: as the kubelet does it, with the API server's word.

use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{extract::Request, http::header};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;

use crate::serve::{ClientIdentity, Peer};

/// How long a token's answer holds.
const AUTHENTICATED: Duration = Duration::from_mins(2);

/// How long a permission holds.
const ALLOWED: Duration = Duration::from_mins(5);

/// How long a refusal holds.
const DENIED: Duration = Duration::from_secs(30);

/// Answers kept of each kind.
const KEPT: usize = 4096;

const TIMEOUT: Duration = Duration::from_secs(10);

/// What the guard does with a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    Allowed,
    /// Nobody known asks.
    Unknown,
    /// This user may not.
    Denied(String),
    /// The API server did not answer.
    Undecided(kube::Error),
}

/// What a request shows of its sender.
#[derive(Debug)]
pub(crate) enum Caller {
    Certificate(ClientIdentity),
    Token(String),
    Nobody,
}

impl Caller {
    /// A verified certificate goes before a token, as in the kubelet.
    pub(crate) fn of(request: &Request) -> Self {
        match request.extensions().get::<Peer>() {
            Some(Peer(Some(client))) => Self::Certificate(client.clone()),
            _ => bearer(request).map_or(Self::Nobody, |token| Self::Token(token.to_owned())),
        }
    }
}

/// A user as the API server knows them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct User {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// Answers that hold for a while; bounded.
#[derive(Debug)]
struct Cache<K, V> {
    entries: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    fn new() -> Self {
        Self { entries: Mutex::new(HashMap::new()) }
    }

    fn get(&self, key: &K, now: Instant) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|(until, _)| now < *until).map(|(_, value)| value.clone())
    }

    fn put(&self, key: K, value: V, now: Instant, holds: Duration) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= KEPT {
            entries.retain(|_, (until, _)| now < *until);
        }
        if entries.len() >= KEPT {
            // Someone makes up names: forgetting all costs a review each, and nothing else.
            entries.clear();
        }
        entries.insert(key, (now + holds, value));
    }
}

/// What a request needs: `verb` on one of the subresources of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) verb: &'static str,
    /// Any one of them will do.
    pub(super) subresources: &'static [&'static str],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Permission {
    Node { verb: &'static str, subresource: &'static str, node: String },
    Path(&'static str),
}

/// A token's hash under two secret keys: tokens themselves are not kept.
type TokenKey = (u64, u64);

pub(crate) struct Auth {
    client: Client,
    keys: (RandomState, RandomState),
    users: Cache<TokenKey, Option<User>>,
    permissions: Cache<(User, Permission), bool>,
}

impl Auth {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, keys: (RandomState::new(), RandomState::new()), users: Cache::new(), permissions: Cache::new() }
    }

    /// Whether `caller` may do what `need` says to `node`.
    pub(super) async fn check(&self, caller: Caller, node: &str, need: Need) -> Verdict {
        let user = match self.user(caller).await {
            Ok(user) => user,
            Err(verdict) => return verdict,
        };
        for subresource in need.subresources {
            let permission = Permission::Node { verb: need.verb, subresource, node: node.to_owned() };
            match self.is_allowed(&user, permission).await {
                Ok(true) => return Verdict::Allowed,
                Ok(false) => {}
                Err(error) => return Verdict::Undecided(error),
            }
        }
        Verdict::Denied(user.name)
    }

    /// Whether `caller` may get a path that is no resource of the API server's.
    pub(crate) async fn check_path(&self, caller: Caller, path: &'static str) -> Verdict {
        let user = match self.user(caller).await {
            Ok(user) => user,
            Err(verdict) => return verdict,
        };
        match self.is_allowed(&user, Permission::Path(path)).await {
            Ok(true) => Verdict::Allowed,
            Ok(false) => Verdict::Denied(user.name),
            Err(error) => Verdict::Undecided(error),
        }
    }

    async fn user(&self, caller: Caller) -> Result<User, Verdict> {
        let user = match caller {
            Caller::Certificate(client) => {
                Ok(Some(User { name: client.name, groups: client.groups, ..User::default() }))
            }
            Caller::Token(token) => self.authenticate(&token).await,
            Caller::Nobody => Ok(None),
        };
        user.map_err(Verdict::Undecided)?.ok_or(Verdict::Unknown)
    }

    async fn authenticate(&self, token: &str) -> Result<Option<User>, kube::Error> {
        let key = (self.keys.0.hash_one(token), self.keys.1.hash_one(token));
        if let Some(known) = self.users.get(&key, Instant::now()) {
            return Ok(known);
        }
        let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = self.create(&review).await?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(|info| User {
            name: info.username.unwrap_or_default(),
            uid: info.uid.unwrap_or_default(),
            groups: info.groups.unwrap_or_default(),
            extra: info.extra.unwrap_or_default(),
        });
        self.users.put(key, user.clone(), Instant::now(), AUTHENTICATED);
        Ok(user)
    }

    async fn is_allowed(&self, user: &User, permission: Permission) -> Result<bool, kube::Error> {
        let key = (user.clone(), permission);
        if let Some(known) = self.permissions.get(&key, Instant::now()) {
            return Ok(known);
        }
        let spec = match &key.1 {
            Permission::Node { verb, subresource, node } => {
                let resource = ResourceAttributes {
                    verb: Some((*verb).to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some((*subresource).to_owned()),
                    name: Some(node.clone()),
                    ..ResourceAttributes::default()
                };
                SubjectAccessReviewSpec { resource_attributes: Some(resource), ..SubjectAccessReviewSpec::default() }
            }
            Permission::Path(path) => {
                let path = NonResourceAttributes { path: Some((*path).to_owned()), verb: Some("get".to_owned()) };
                SubjectAccessReviewSpec { non_resource_attributes: Some(path), ..SubjectAccessReviewSpec::default() }
            }
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: Some(user.uid.clone()),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()),
            ..spec
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let allowed = self.create(&review).await?.status.is_some_and(|s| s.allowed && s.denied != Some(true));
        self.permissions.put(key, allowed, Instant::now(), if allowed { ALLOWED } else { DENIED });
        Ok(allowed)
    }

    async fn create<K>(&self, review: &K) -> Result<K, kube::Error>
    where
        K: kube::Resource<DynamicType = ()> + serde::Serialize + serde::de::DeserializeOwned + Clone + std::fmt::Debug,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let timed_out = || Err(kube::Error::Service(format!("no answer within {TIMEOUT:?}").into()));
        let params = PostParams::default();
        tokio::time::timeout(TIMEOUT, api.create(&params, review)).await.unwrap_or_else(|_| timed_out())
    }
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_expire_and_the_cache_is_bounded() {
        let cache = Cache::new();
        for key in 0..10_000_u32 {
            cache.put(key, true, Instant::now(), DENIED);
        }
        assert!(cache.entries.lock().unwrap().len() <= KEPT);
        assert_eq!(cache.get(&9_999, Instant::now()), Some(true));
        tokio::time::advance(DENIED).await;
        assert_eq!(cache.get(&9_999, Instant::now()), None);
    }

    #[test]
    fn only_bearer_tokens_are_read() {
        let request = |value: &str| {
            Request::builder().header(header::AUTHORIZATION, value).body(axum::body::Body::empty()).unwrap()
        };
        assert_eq!(bearer(&request("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&request("bearer  abc ")), Some("abc"));
        assert_eq!(bearer(&request("Basic abc")), None);
        assert_eq!(bearer(&request("Bearer ")), None);
    }
}
