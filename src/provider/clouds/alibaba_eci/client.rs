//! The provider's client: settings, calls, and what is known.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::time::Instant;

use super::{
    call::{Service, ServiceSettings},
    identity::Identity,
    ledger::Ledger,
    translate::invalid,
};
use crate::{
    api::pool::alibaba_eci::{AlibabaEci, ScheduleStrategy},
    provider::{
        ProviderError,
        clouds::{
            credentials::KeyStore,
            meter::Meter,
            places::{Order, Places},
        },
    },
};

/// A pool on ECI. Cheap to share by `Arc`.
#[derive(Debug)]
pub struct Eci {
    pub(super) settings: AlibabaEci,
    pub(super) api: Arc<Service>,
    pub(super) vpc: Service,
    pub(super) places: Places,
    pub(super) ledger: Arc<Ledger>,
    pub(super) meter: Meter,
    /// The kubeconfig of the kube-proxy sidecar.
    pub(super) kubeconfig: Option<String>,
    /// Addresses that each vSwitch had left when it was last asked.
    pub(super) addresses: Mutex<Option<(Instant, BTreeMap<String, u64>)>>,
    /// Why the last list failed, where it did.
    pub(super) list_fault: Mutex<Option<ProviderError>>,
}

impl Eci {
    /// A pool as its file says, whose keys are in `store`. Refuses what cannot work, before any call.
    pub fn with_keys(settings: AlibabaEci, store: Arc<dyn KeyStore>) -> Result<Self, ProviderError> {
        check(&settings)?;
        let read = |what: &str, path: &std::path::Path| {
            std::fs::read_to_string(path)
                .map_err(|error| invalid(format!("{what}: unable to read {}: {error}", path.display())))
        };
        let certificate = settings.certificate.as_deref().map(|path| read("certificate", path)).transpose()?;
        let kubeconfig = settings.kube_proxy.as_ref().map(|proxy| read("kubeProxy.kubeconfig", &proxy.kubeconfig));
        let region = &settings.region;
        let endpoint = settings.endpoint.clone().unwrap_or_else(|| format!("https://eci.{region}.aliyuncs.com"));
        let vpc = settings.vpc_endpoint.clone().or_else(|| settings.endpoint.clone());
        let vpc = vpc.unwrap_or_else(|| format!("https://vpc.{region}.aliyuncs.com"));
        let sts = settings.sts_endpoint.clone().unwrap_or_else(|| format!("https://sts.{region}.aliyuncs.com"));
        let identity = Arc::new(Identity::new(store, &sts, certificate.as_deref())?);
        let service = |endpoint: &str, version| {
            let service = ServiceSettings {
                endpoint,
                version,
                region,
                signature: settings.signature,
                certificate: certificate.as_deref(),
            };
            Service::new(&service, identity.clone())
        };
        let order = match settings.schedule_strategy {
            ScheduleStrategy::VSwitchOrdered => Order::Ordered,
            ScheduleStrategy::VSwitchRandom => Order::Spread,
        };
        Ok(Self {
            api: Arc::new(service(&endpoint, "2018-08-08")?),
            vpc: service(&vpc, "2016-04-28")?,
            places: Places::new(settings.zones.len(), order).remembering(settings.remember_shortage),
            ledger: Arc::default(),
            meter: Meter::default(),
            kubeconfig: kubeconfig.transpose()?,
            addresses: Mutex::new(None),
            list_fault: Mutex::new(None),
            settings,
        })
    }
}

fn check(settings: &AlibabaEci) -> Result<(), ProviderError> {
    settings.faults().into_iter().next().map_or(Ok(()), |fault| Err(invalid(fault)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::clouds::credentials::Held;

    fn refusal(change: impl FnOnce(&mut AlibabaEci)) -> Option<String> {
        let text =
            "{region: cn-hangzhou, zones: [{vSwitchId: vsw-a}], securityGroupId: sg-1, credentials: {environment: {}}}";
        let mut settings: AlibabaEci = serde_saphyr::from_str(text).unwrap();
        change(&mut settings);
        Eci::with_keys(settings, Arc::new(Held::default())).err().map(|error| error.to_string())
    }

    #[test]
    fn a_pool_that_cannot_work_is_refused_by_its_field() {
        assert_eq!(refusal(|_| ()), None);
        let zone = |settings: &AlibabaEci| settings.zones[0].clone();
        assert!(refusal(|s| s.zones.clear()).unwrap().contains("zones: 0"));
        assert!(refusal(|s| s.zones = vec![zone(s); 11]).unwrap().contains("zones: 11"));
        assert!(refusal(|s| s.region = "China!".to_owned()).unwrap().contains("region"));
        assert!(refusal(|s| s.security_group_id = "sg 1".to_owned()).unwrap().contains("sg 1"));
        assert!(refusal(|s| s.endpoint = Some("nowhere".to_owned())).unwrap().contains("endpoint nowhere"));
        assert!(refusal(|s| s.certificate = Some("/none.pem".into())).unwrap().contains("/none.pem"));
    }
}
