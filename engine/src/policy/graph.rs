//! Who comes from whom: `extends` between policies, `fallback` between pools, one tier after another.
//!
//! Each fault spells the way out: `shop/a → shop/b → shop/a`.

use std::{collections::BTreeMap, fmt::Display};

use petgraph::{graphmap::DiGraphMap, visit::Dfs};

use crate::{
    model::{ObjectName, PoolName},
    policy::{Place, fields::TierFields},
};

/// Why policies or pools do not hang together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// One leads back to itself.
    #[error("{0} is a circle; take one step out of it")]
    Circle(String),
    /// One leads to what is not there.
    #[error("{path}: there is no {what} {missing}; apply it first, or correct the name")]
    Missing {
        /// The steps up to it.
        path: String,
        /// What it should be.
        what: &'static str,
        /// Its name, and where it was looked for.
        missing: String,
    },
    /// No pod can come to a tier.
    #[error("no pod reaches {path}: {why}")]
    Unreachable {
        /// The steps up to it.
        path: String,
        /// What holds pods back.
        why: String,
    },
}

/// Steps in a row, as people read them.
fn spelt<T: Display>(steps: &[T]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → ")
}

/// Follows `next` from `start` to its end; an error where it comes back to a step. The steps are in order, `start`
/// first.
fn follow<T: Clone + Ord + Display>(
    start: &T,
    next: impl Fn(&T) -> Result<Option<T>, Missing>,
    what: &'static str,
) -> Result<Vec<T>, GraphError> {
    let mut steps = vec![start.clone()];
    while let Some(last) = steps.last() {
        match next(last) {
            Ok(None) => break,
            Ok(Some(step)) => {
                let known = steps.iter().position(|known| *known == step);
                steps.push(step);
                if let Some(known) = known {
                    return Err(GraphError::Circle(spelt(&steps[known..])));
                }
            }
            Err(Missing { name, told }) => {
                let path = format!("{} → {name}", spelt(&steps));
                return Err(GraphError::Missing { path, what, missing: told });
            }
        }
    }
    Ok(steps)
}

/// A step that is not there.
struct Missing {
    name: String,
    /// With where it was looked for.
    told: String,
}

/// What policies extend, by name.
pub type Parents = BTreeMap<ObjectName, Option<String>>;

/// Where a name that a policy of `namespace` writes is looked for: in its own namespace, then in burstlet's (`home`).
pub fn find<'a, T>(
    among: &'a BTreeMap<ObjectName, T>,
    namespace: &str,
    name: &str,
    home: &str,
) -> Option<(&'a ObjectName, &'a T)> {
    let at = |namespace: &str| among.get_key_value(&ObjectName::new(namespace, name));
    at(namespace).or_else(|| at(home))
}

/// A policy and those it comes from, itself first.
pub fn lineage(parents: &Parents, start: &ObjectName, home: &str) -> Result<Vec<ObjectName>, GraphError> {
    let next = |policy: &ObjectName| {
        let Some(Some(parent)) = parents.get(policy) else { return Ok(None) };
        match find(parents, &policy.namespace, parent, home) {
            Some((found, _)) => Ok(Some(found.clone())),
            None if *policy.namespace == *home => {
                Err(Missing { name: parent.clone(), told: format!("{parent} in namespace {home}") })
            }
            None => {
                let told = format!("{parent} in namespace {} or {home}", policy.namespace);
                Err(Missing { name: parent.clone(), told })
            }
        }
    };
    follow(start, next, "BurstPolicy")
}

/// Pools and their fallbacks.
pub type Fallbacks = BTreeMap<PoolName, Option<PoolName>>;

/// A pool and those that it falls back to, itself first.
pub fn fallbacks(pools: &Fallbacks, start: &PoolName) -> Result<Vec<PoolName>, GraphError> {
    let next = |pool: &PoolName| match pools.get(pool) {
        Some(Some(fallback)) if pools.contains_key(fallback) => Ok(Some(fallback.clone())),
        Some(Some(fallback)) => Err(Missing { name: fallback.to_string(), told: fallback.to_string() }),
        Some(None) | None => Ok(None),
    };
    follow(start, next, "VirtualPool")
}

/// Whether pods can come to every tier, from the base on.
///
/// A pod leaves a tier as full only where the tier has a cap and `when` names `Full`, and as short only where `when`
/// names `Short`. A place that stands in the list already is reached again only where a cap kept pods out of it.
pub fn reachable(tiers: &[TierFields], all: super::fields::MoveOnFields) -> Result<(), GraphError> {
    let mut graph = DiGraphMap::<usize, ()>::new();
    let mut held = None;
    for (index, tier) in tiers.iter().enumerate() {
        graph.add_node(index);
        let when = tier.move_on.when.or(all.when);
        let has_cap = tier.cap != super::Cap::default();
        let passes_full = has_cap && when.is_none_or(|when| when.full);
        let passes_short = when.is_none_or(|when| when.short);
        let is_last = index + 1 == tiers.len();
        if passes_full || passes_short || is_last {
            graph.add_edge(index, index + 1, ());
        } else if held.is_none() {
            held = Some((index, has_cap));
        }
    }
    let mut reached = vec![false; tiers.len() + 1];
    let mut walk = Dfs::new(&graph, 0);
    while let Some(index) = walk.next(&graph) {
        if let Some(reached) = reached.get_mut(index) {
            *reached = true;
        }
    }
    let path = |upto: usize| spelt(&tiers[..=upto].iter().map(|tier| place(&tier.place)).collect::<Vec<_>>());
    if let (Some(index), Some((at, has_cap))) = ((0..tiers.len()).find(|index| !reached[*index]), held) {
        let lacks = if has_cap {
            "moveOn.when of that tier is empty"
        } else {
            "it has no cap to be Full, and Short is not among moveOn.when"
        };
        let why = format!("pods wait for {} for ever, for {lacks}", place(&tiers[at].place));
        return Err(GraphError::Unreachable { path: path(index), why });
    }
    for (index, tier) in tiers.iter().enumerate() {
        let before =
            tiers[..index].iter().find(|other| other.place == tier.place && other.cap == super::Cap::default());
        if before.is_some() {
            let why = format!("{} without a cap stands in the list already", place(&tier.place));
            return Err(GraphError::Unreachable { path: path(index), why });
        }
    }
    Ok(())
}

fn place(place: &Place) -> String {
    match place {
        Place::Pool(pool) => pool.to_string(),
        Place::Real { node_selector } if node_selector.is_empty() => "real".to_owned(),
        Place::Real { node_selector } => {
            let labels = node_selector.iter().map(|(key, value)| format!("{key}={value}"));
            format!("real({})", labels.collect::<Vec<_>>().join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        fields::{MoveOnFields, Reader},
        spec,
    };

    fn parents(all: &[(&str, &str, Option<&str>)]) -> Parents {
        let one = |&(namespace, name, parent): &(&str, &str, Option<&str>)| {
            (ObjectName::new(namespace, name), parent.map(str::to_owned))
        };
        all.iter().map(one).collect()
    }

    fn line(parents: &Parents, start: &str) -> Result<String, String> {
        let found = lineage(parents, &ObjectName::new("shop", start), "burstlet-system");
        found.map(|steps| spelt(&steps)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_parent_is_looked_for_at_home_after_the_policys_own_namespace() {
        let parents = parents(&[
            ("shop", "web", Some("house")),
            ("shop", "cart", Some("own")),
            ("shop", "own", None),
            ("burstlet-system", "own", None),
            ("burstlet-system", "house", Some("root")),
            ("burstlet-system", "root", None),
        ]);
        assert_eq!(line(&parents, "web").unwrap(), "shop/web → burstlet-system/house → burstlet-system/root");
        assert_eq!(line(&parents, "cart").unwrap(), "shop/cart → shop/own");
    }

    #[test]
    fn a_circle_is_spelt_out_from_where_it_closes() {
        let parents = parents(&[
            ("shop", "a", Some("b")),
            ("shop", "b", Some("a")),
            ("shop", "c", Some("b")),
            ("shop", "d", Some("d")),
        ]);
        assert_eq!(line(&parents, "a").unwrap_err(), "shop/a → shop/b → shop/a is a circle; take one step out of it");
        assert!(line(&parents, "c").unwrap_err().starts_with("shop/b → shop/a → shop/b is a circle"));
        assert!(line(&parents, "d").unwrap_err().starts_with("shop/d → shop/d is a circle"));
    }

    #[test]
    fn a_missing_parent_is_named_with_the_way_to_it() {
        let parents = parents(&[("shop", "a", Some("b")), ("shop", "b", Some("gone"))]);
        assert_eq!(
            line(&parents, "a").unwrap_err(),
            "shop/a → shop/b → gone: there is no BurstPolicy gone in namespace shop or burstlet-system; apply it first, or correct the name"
        );
    }

    #[test]
    fn pools_that_fall_back_in_a_circle_or_to_nothing_are_refused() {
        let pools: Fallbacks = [("eci", Some("kci")), ("kci", Some("eci")), ("a", Some("gone")), ("b", None)]
            .map(|(pool, fallback)| (pool.into(), fallback.map(PoolName::from)))
            .into();
        let told = |pool: &str| fallbacks(&pools, &pool.into()).unwrap_err().to_string();
        assert_eq!(told("eci"), "eci → kci → eci is a circle; take one step out of it");
        assert_eq!(told("a"), "a → gone: there is no VirtualPool gone; apply it first, or correct the name");
        assert_eq!(fallbacks(&pools, &"b".into()).unwrap(), ["b".into()]);
    }

    #[allow(clippy::needless_pass_by_value, reason = "`json!` makes a value at each call")]
    fn tiers(all: serde_json::Value) -> Result<(), String> {
        let spec: spec::Spec = serde_json::from_value(serde_json::json!({"tiers": all})).unwrap();
        let fields = Reader::default().spec("spec", &spec);
        reachable(&fields.tiers.unwrap(), MoveOnFields::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_tier_behind_one_that_nobody_leaves_is_unreachable() {
        let waits = serde_json::json!({"when": ["Full"]});
        assert_eq!(
            tiers(serde_json::json!([{"pool": "spot"}, {"pool": "eci", "moveOn": waits}, {"pool": "kci"}, {"real": {}}])),
            Err("no pod reaches spot → eci → kci: pods wait for eci for ever, for it has no cap to be Full, and Short is not among moveOn.when".to_owned())
        );
        assert_eq!(tiers(serde_json::json!([{"pool": "eci", "max": 3, "moveOn": waits}, {"real": {}}])), Ok(()));
        assert_eq!(tiers(serde_json::json!([{"pool": "eci"}, {"pool": "kci", "moveOn": waits}])), Ok(()));
    }

    #[test]
    fn a_place_named_again_is_reached_only_past_a_cap() {
        assert_eq!(tiers(serde_json::json!([{"pool": "eci", "max": 3}, {"real": {}}, {"pool": "eci"}])), Ok(()));
        assert_eq!(
            tiers(serde_json::json!([{"pool": "eci"}, {"real": {}}, {"pool": "eci", "max": 3}])),
            Err("no pod reaches eci → real → eci: eci without a cap stands in the list already".to_owned())
        );
    }
}
