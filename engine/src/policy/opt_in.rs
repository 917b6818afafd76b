//! Marks of other products that people have on their pods and namespaces already, and what each means here.
//!
//! One table, [`TABLE`]. A mark counts where no annotation of burstlet's own stands at the same level.

use crate::policy::{
    Base, Mode,
    fields::{FieldFault, Fields},
};

/// Where a mark stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum On {
    /// A label of the pod.
    PodLabel,
    /// An annotation of the pod (of its workload's template).
    PodAnnotation,
    /// A label of the namespace.
    NamespaceLabel,
}

impl On {
    /// Where, for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::PodLabel => "label on the pod",
            Self::PodAnnotation => "annotation on the pod",
            Self::NamespaceLabel => "label on the namespace",
        }
    }
}

/// What a value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// This mode, at this value.
    Modes(&'static [(&'static str, Mode)]),
    /// The value is the base.
    Base,
}

/// A mark of another product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptIn {
    /// Where it stands.
    pub on: &'static [On],
    /// Its key.
    pub key: &'static str,
    /// What its values mean.
    pub means: Means,
}

const POD: &[On] = &[On::PodLabel, On::PodAnnotation];
const CCI: Means = Means::Modes(&[
    ("auto", Mode::WhenFull),
    ("localPrefer", Mode::WhenFull),
    ("enforce", Mode::Always),
    ("off", Mode::Never),
]);

/// All marks that are known; where a pod carries several, the first in this order counts.
pub const TABLE: &[OptIn] = &[
    // Alibaba ACK virtual node and ECI.
    OptIn { on: &[On::PodLabel], key: "alibabacloud.com/eci", means: Means::Modes(&[("true", Mode::Always)]) },
    OptIn {
        on: POD,
        key: "alibabacloud.com/burst-resource",
        means: Means::Modes(&[("eci", Mode::WhenFull), ("eci_only", Mode::Always)]),
    },
    // Huawei CCE bursting to CCI, and its older name.
    OptIn { on: &[On::PodLabel], key: "bursting.cci.io/burst-to-cci", means: CCI },
    OptIn { on: &[On::PodLabel], key: "virtual-kubelet.io/burst-to-cci", means: CCI },
    // Volcengine VKE to VCI.
    OptIn { on: POD, key: "vke.volcengine.com/burst-to-vci", means: Means::Modes(&[("enforce", Mode::Always)]) },
    // Tencent TKE to super nodes. The number of local replicas says more than the switch.
    OptIn { on: &[On::PodAnnotation], key: "LOCAL_REPLICAS", means: Means::Base },
    OptIn {
        on: &[On::PodAnnotation],
        key: "AUTO_SCALE_EKS",
        means: Means::Modes(&[("true", Mode::WhenFull), ("false", Mode::Never)]),
    },
    // Namespaces.
    OptIn { on: &[On::NamespaceLabel], key: "alibabacloud.com/eci", means: Means::Modes(&[("true", Mode::Always)]) },
    OptIn {
        on: &[On::NamespaceLabel],
        key: "virtual-node-affinity-injection",
        means: Means::Modes(&[("enabled", Mode::Always)]),
    },
];

/// A mark that was found: which, where, and what it gives or what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its key.
    pub key: &'static str,
    /// Where it stands.
    pub on: On,
    /// What it says of mode and base.
    pub fields: Result<Fields, FieldFault>,
}

/// The first mark of the table that stands at one of these places.
pub fn found<'a>(at: &[On], value: impl Fn(On, &str) -> Option<&'a str>) -> Option<Found> {
    TABLE.iter().find_map(|mark| {
        let on = mark.on.iter().copied().filter(|on| at.contains(on));
        let (on, text) = on.filter_map(|on| Some((on, value(on, mark.key)?))).next()?;
        Some(Found { key: mark.key, on, fields: mark.means.read(mark.key, text)? })
    })
}

impl Means {
    /// `None`: a value that asks for nothing, such as `alibabacloud.com/eci=false`.
    fn read(self, key: &str, text: &str) -> Option<Result<Fields, FieldFault>> {
        match self {
            Self::Base => Some(match text.parse::<Base>() {
                Ok(base) => Ok(Fields { base: Some(base), mode: Some(Mode::AfterBase), ..Fields::default() }),
                Err(error) => Err(FieldFault::new(key, error.to_string())),
            }),
            Self::Modes(modes) => match modes.iter().find(|(word, _)| *word == text) {
                Some((_, mode)) => Some(Ok(Fields { mode: Some(*mode), ..Fields::default() })),
                None if matches!(text, "" | "false" | "disabled") => None,
                None => {
                    let allowed: Vec<_> = modes.iter().map(|(word, _)| *word).collect();
                    let says = format!("{text:?} is not known; allowed are {}", allowed.join(", "));
                    Some(Err(FieldFault::new(key, says)))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(on: On, key: &'static str, value: &'static str) -> Option<Found> {
        found(&[On::PodLabel, On::PodAnnotation, On::NamespaceLabel], move |place, name| {
            (place == on && name == key).then_some(value)
        })
    }

    fn mode(on: On, key: &'static str, value: &'static str) -> Option<Mode> {
        at(on, key, value)?.fields.unwrap().mode
    }

    #[test]
    fn alibabacloud_com_eci_on_the_pod() {
        assert_eq!(mode(On::PodLabel, "alibabacloud.com/eci", "true"), Some(Mode::Always));
        assert_eq!(at(On::PodLabel, "alibabacloud.com/eci", "false"), None);
        assert_eq!(at(On::PodAnnotation, "alibabacloud.com/eci", "true"), None, "a label, not an annotation");
    }

    #[test]
    fn alibabacloud_com_eci_on_the_namespace() {
        assert_eq!(mode(On::NamespaceLabel, "alibabacloud.com/eci", "true"), Some(Mode::Always));
    }

    #[test]
    fn virtual_node_affinity_injection() {
        assert_eq!(mode(On::NamespaceLabel, "virtual-node-affinity-injection", "enabled"), Some(Mode::Always));
        assert_eq!(at(On::NamespaceLabel, "virtual-node-affinity-injection", "disabled"), None);
        assert_eq!(at(On::PodLabel, "virtual-node-affinity-injection", "enabled"), None);
    }

    #[test]
    fn alibabacloud_com_burst_resource() {
        for on in [On::PodLabel, On::PodAnnotation] {
            assert_eq!(mode(on, "alibabacloud.com/burst-resource", "eci"), Some(Mode::WhenFull));
            assert_eq!(mode(on, "alibabacloud.com/burst-resource", "eci_only"), Some(Mode::Always));
        }
    }

    #[test]
    fn huaweis_burst_to_cci_in_both_spellings() {
        for key in ["bursting.cci.io/burst-to-cci", "virtual-kubelet.io/burst-to-cci"] {
            let modes = ["auto", "localPrefer", "enforce", "off"].map(|value| mode(On::PodLabel, key, value).unwrap());
            assert_eq!(modes, [Mode::WhenFull, Mode::WhenFull, Mode::Always, Mode::Never]);
        }
    }

    #[test]
    fn volcengines_burst_to_vci_as_label_or_annotation() {
        for on in [On::PodLabel, On::PodAnnotation] {
            assert_eq!(mode(on, "vke.volcengine.com/burst-to-vci", "enforce"), Some(Mode::Always));
        }
    }

    #[test]
    fn tencents_local_replicas_and_auto_scale_eks() {
        let fields = at(On::PodAnnotation, "LOCAL_REPLICAS", "2").unwrap().fields.unwrap();
        assert_eq!((fields.mode, fields.base), (Some(Mode::AfterBase), Some(Base::count(2))));
        assert_eq!(mode(On::PodAnnotation, "AUTO_SCALE_EKS", "true"), Some(Mode::WhenFull));
        assert_eq!(mode(On::PodAnnotation, "AUTO_SCALE_EKS", "false"), Some(Mode::Never));
        let both = found(&[On::PodAnnotation], |_, key| match key {
            "AUTO_SCALE_EKS" => Some("true"),
            "LOCAL_REPLICAS" => Some("4"),
            _ => None,
        });
        assert_eq!(both.unwrap().key, "LOCAL_REPLICAS");
    }

    #[test]
    fn a_value_that_is_not_known_is_told_with_those_that_are() {
        let fault = at(On::PodLabel, "bursting.cci.io/burst-to-cci", "always").unwrap().fields.unwrap_err();
        assert_eq!(
            fault.to_string(),
            "bursting.cci.io/burst-to-cci: \"always\" is not known; allowed are auto, localPrefer, enforce, off"
        );
    }
}
