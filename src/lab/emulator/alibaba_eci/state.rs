//! Everything the cloud knows, and what every action needs of it.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::{Value, json};

use super::{caches::ImageCache, error::ApiError, group::Group, network::Network, nodes::VirtualNode, tree::Tree};
use crate::{
    lab::emulator::{Ground, Moment, Settings, exec::Sessions},
    provider::clouds::alibaba_eci::signing::Parameters,
};

/// Ended groups that the admin endpoint still shows.
const MOST_GRAVES: usize = 100_000;

/// What an action works with besides the state.
pub(super) struct Context<'a> {
    pub(super) now: Moment,
    pub(super) ground: &'a Ground,
    pub(super) settings: Settings,
    pub(super) sessions: &'a Sessions,
    /// The address that the caller used.
    pub(super) base: String,
    pub(super) tree: Tree,
}

impl Context<'_> {
    /// A moment as the API writes it.
    pub(super) fn time(&self, moment: Moment) -> String {
        let stamp = self.ground.clock.stamp(moment);
        stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

/// What a client token answered.
#[derive(Debug, Clone)]
struct Remembered {
    parameters: u64,
    answer: Result<Value, ApiError>,
}

/// Everything the cloud knows.
#[derive(Debug)]
pub(super) struct State {
    pub(super) region: String,
    pub(super) network: Network,
    /// By id; ids grow, so this is the order of creation.
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) nodes: BTreeMap<String, VirtualNode>,
    pub(super) caches: BTreeMap<String, ImageCache>,
    /// How many instances each security group takes; a normal one where it is not named.
    pub(super) security_groups: BTreeMap<String, u64>,
    tokens: HashMap<String, Remembered>,
    graves: Vec<Value>,
    serial: u64,
}

impl State {
    pub(super) fn new(region: String, network: Network, security_groups: BTreeMap<String, u64>) -> Self {
        Self {
            region,
            network,
            groups: BTreeMap::new(),
            nodes: BTreeMap::new(),
            caches: BTreeMap::new(),
            security_groups,
            tokens: HashMap::new(),
            graves: Vec::new(),
            serial: 0,
        }
    }

    /// An id that no other thing has; later ones sort later.
    pub(super) fn id(&mut self, prefix: &str) -> String {
        self.serial += 1;
        format!("{prefix}-bp1{:015x}", self.serial)
    }

    /// An id for an answer, as a UUID.
    pub(super) fn request_id(&mut self) -> String {
        self.serial += 1;
        let word = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (self.serial, salt).hash(&mut hasher);
            hasher.finish()
        };
        let (high, low) = (word(0), word(1));
        format!(
            "{:08X}-{:04X}-5{:03X}-B{:03X}-{:012X}",
            high >> 32,
            (high >> 16) & 0xFFFF,
            high & 0xFFF,
            low >> 52,
            low & 0xFFFF_FFFF_FFFF
        )
    }

    /// Does `work` once for a client token: the same token with the same parameters gets the same answer, a refusal for
    /// want of stock included. Other refusals are not kept: their cause may be mended.
    pub(super) fn once(
        &mut self,
        action: &str,
        parameters: &Parameters,
        work: impl FnOnce(&mut Self) -> Result<Value, ApiError>,
    ) -> Result<Value, ApiError> {
        let Some(token) = parameters.get("ClientToken").filter(|token| !token.is_empty()) else { return work(self) };
        if token.len() > 64 || !token.is_ascii() {
            return Err(ApiError::parameter("ClientToken", "at most 64 ASCII characters are taken."));
        }
        let mut hasher = DefaultHasher::new();
        parameters.iter().filter(|(name, _)| *name != "ClientToken").for_each(|pair| pair.hash(&mut hasher));
        let hash = hasher.finish();
        let key = format!("{action}/{token}");
        if let Some(known) = self.tokens.get(&key) {
            if known.parameters == hash {
                return known.answer.clone();
            }
            return Err(ApiError::invalid(
                "IdempotentParameterMismatch",
                "The request uses the same client token as a previous, but non-identical request.",
            ));
        }
        let answer = work(self);
        let is_kept = answer.as_ref().err().is_none_or(|error| error.code == "OperationDenied.NoStock");
        if is_kept {
            self.tokens.insert(key, Remembered { parameters: hash, answer: answer.clone() });
        }
        answer
    }

    /// Lets everything be noticed that has happened by `now`: ends are billed, addresses come back.
    pub(super) fn settle(&mut self, ground: &Ground, now: Moment) {
        let mut gone = Vec::new();
        for group in self.groups.values_mut() {
            if let Some(at) = group.gone_at().filter(|at| *at <= now) {
                ground.bill.close(&group.id, group.finish().map_or(at, |finish| finish.at.min(at)));
                gone.push((group.id.clone(), at));
            } else if let Some(finish) = group.finish().filter(|finish| finish.at <= now && !group.is_settled) {
                group.is_settled = true;
                let is_unused = finish.status == "ScheduleFailed";
                ground.bill.close(&group.id, if is_unused { group.created } else { finish.at });
                if let Some(address) = group.address.filter(|_| is_unused) {
                    self.network.give_back(&group.vswitch, address);
                    group.address = None;
                }
            }
        }
        for (id, at) in gone {
            if let Some(group) = self.groups.remove(&id) {
                if let Some(address) = group.address {
                    self.network.give_back(&group.vswitch, address);
                }
                if self.graves.len() < MOST_GRAVES {
                    self.graves.push(summary(&group, "Gone", Some(at)));
                }
            }
        }
    }

    /// Groups that take machines of `zone` now.
    pub(super) fn standing(&self, now: Moment) -> impl Iterator<Item = &Group> {
        self.groups.values().filter(move |group| group.finish().is_none_or(|finish| finish.at > now))
    }

    /// All that stands or has ended, for the admin endpoint.
    pub(super) fn summaries(&self, now: Moment) -> Value {
        let standing = self.groups.values().map(|group| summary(group, group.status(now), None));
        standing.chain(self.graves.iter().cloned()).collect()
    }

    /// A page of `all`, which is in the order of ids, and the token of the next one.
    pub(super) fn page<'a, T>(
        all: impl Iterator<Item = (&'a String, T)>,
        token: Option<&str>,
        limit: usize,
    ) -> (Vec<T>, Option<String>) {
        let mut rest = all.skip_while(|(id, _)| token.is_some_and(|token| id.as_str() <= token)).peekable();
        let mut page = Vec::new();
        let mut last = None;
        while page.len() < limit
            && let Some((id, item)) = rest.next()
        {
            last = Some(id.clone());
            page.push(item);
        }
        let next = last.filter(|_| rest.peek().is_some());
        (page, next)
    }
}

fn summary(group: &Group, status: &str, ended: Option<Moment>) -> Value {
    json!({
        "id": group.id, "name": group.name, "zone": group.zone, "status": status, "tags": group.tags,
        "finished": group.finish().filter(|finish| ended.is_none_or(|ended| finish.at <= ended)).map(|finish| finish.status),
        "created": humantime::format_duration(group.created).to_string(),
        "ended": ended.map(|at| humantime::format_duration(at).to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::new("cn-hangzhou".to_owned(), Network::new([]), BTreeMap::new())
    }

    fn parameters(token: &str, value: &str) -> Parameters {
        [("ClientToken", token), ("A", value)].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn a_token_answers_the_same_for_the_same_parameters_and_refuses_others() {
        let mut state = state();
        let mut count = 0;
        let mut call = |state: &mut State, token: &str, value: &str| {
            state.once("Create", &parameters(token, value), |_| {
                count += 1;
                Ok(json!({"Id": count}))
            })
        };
        assert_eq!(call(&mut state, "t", "1"), Ok(json!({"Id": 1})));
        assert_eq!(call(&mut state, "t", "1"), Ok(json!({"Id": 1})));
        assert_eq!(call(&mut state, "t", "2").unwrap_err().code, "IdempotentParameterMismatch");
        assert_eq!(call(&mut state, "u", "2"), Ok(json!({"Id": 2})));
    }

    #[test]
    fn a_token_that_met_no_stock_meets_none_ever_after() {
        let mut state = state();
        let refused = ApiError::denied("OperationDenied.NoStock", "");
        let first = state.once("Create", &parameters("t", "1"), |_| Err(refused.clone()));
        assert_eq!(first, Err(refused.clone()));
        assert_eq!(state.once("Create", &parameters("t", "1"), |_| Ok(json!({}))), Err(refused));
        let mended = state.once("Create", &parameters("u", "1"), |_| Err(ApiError::denied("QuotaExceeded", "")));
        assert!(mended.is_err());
        assert!(state.once("Create", &parameters("u", "1"), |_| Ok(json!({}))).is_ok());
    }

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let ids = ["a", "b", "c"].map(str::to_owned);
        let all = || ids.iter().map(|id| (id, id.clone()));
        let (first, next) = State::page(all(), None, 2);
        assert_eq!((first, next.as_deref()), (vec!["a".to_owned(), "b".to_owned()], Some("b")));
        let (last, next) = State::page(all(), next.as_deref(), 2);
        assert_eq!((last, next), (vec!["c".to_owned()], None));
    }
}
