//! The flags of every component.

use std::path::Path;
use std::time::Duration;

use super::certificates::CertificateFiles;
use super::layout::{Identity, Layout};
use super::options::ClusterOptions;
use super::scheduler::RAISED_QPS;

/// Services' addresses: nothing routes them, the API server only hands them out.
const SERVICE_ADDRESSES: &str = "10.96.0.0/16";

/// A duration as Go's flags and files take it.
pub(super) fn go_duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// A list of flags under construction.
#[derive(Debug, Default)]
struct Flags(Vec<String>);

impl Flags {
    fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.0.push(format!("--{name}={}", value.as_ref()));
        self
    }

    fn with_path(self, name: &str, path: &Path) -> Self {
        self.with(name, path.to_string_lossy())
    }

    fn with_pair(self, certificate: &str, key: &str, files: &CertificateFiles) -> Self {
        self.with_path(certificate, &files.certificate).with_path(key, &files.key)
    }

    /// Who may come over the aggregation layer on behalf of others.
    fn with_front_proxy(self, layout: &Layout) -> Self {
        self.with_path("requestheader-client-ca-file", &layout.front_proxy_authority.certificate)
            .with("requestheader-allowed-names", "front-proxy-client")
            .with("requestheader-username-headers", "X-Remote-User")
            .with("requestheader-group-headers", "X-Remote-Group")
            .with("requestheader-extra-headers-prefix", "X-Remote-Extra-")
    }

    /// A secure port on loopback alone.
    fn with_server(self, port: u16, files: &CertificateFiles) -> Self {
        self.with("bind-address", "127.0.0.1")
            .with("secure-port", port.to_string())
            // The port stays reserved by this process, which shares it: see `port`.
            .with("permit-port-sharing", "true")
            .with_pair("tls-cert-file", "tls-private-key-file", files)
    }

    /// The API server judges who may ask the component.
    fn with_delegated_access(self, kubeconfig: &Path) -> Self {
        self.with_path("authentication-kubeconfig", kubeconfig).with_path("authorization-kubeconfig", kubeconfig)
    }
}

pub(super) fn etcd(layout: &Layout) -> Vec<String> {
    let (client, peer) = (layout.etcd.url(), layout.etcd_peer.url());
    let authority = &layout.etcd_authority.certificate;
    Flags::default()
        .with("name", "lab")
        .with_path("data-dir", &layout.etcd_data)
        .with("listen-client-urls", &client)
        .with("advertise-client-urls", &client)
        .with("listen-peer-urls", &peer)
        .with("initial-advertise-peer-urls", &peer)
        .with("initial-cluster", format!("lab={peer}"))
        .with("socket-reuse-port", "true")
        .with_pair("cert-file", "key-file", &layout.etcd_server)
        .with_path("trusted-ca-file", authority)
        .with("client-cert-auth", "true")
        .with_pair("peer-cert-file", "peer-key-file", &layout.etcd_server)
        .with_path("peer-trusted-ca-file", authority)
        .with("peer-client-cert-auth", "true")
        // The data goes with the cluster: there is nothing to keep over a power cut.
        .with("unsafe-no-fsync", "true")
        .with("log-level", "warn")
        .0
}

pub(super) fn api_server(layout: &Layout) -> Vec<String> {
    let (public, private) = &layout.service_account_keys;
    Flags::default()
        .with_server(layout.api_server.number(), &layout.api_server_files)
        // Endpoints may not hold loopback addresses, so the Service `kubernetes` has none.
        .with("advertise-address", "127.0.0.1")
        .with("endpoint-reconciler-type", "none")
        .with("etcd-servers", layout.etcd.url())
        .with_path("etcd-cafile", &layout.etcd_authority.certificate)
        .with_pair("etcd-certfile", "etcd-keyfile", &layout.etcd_client)
        .with_path("client-ca-file", &layout.authority.certificate)
        .with("authorization-mode", "Node,RBAC")
        .with("enable-admission-plugins", "NodeRestriction")
        .with("allow-privileged", "true")
        .with("service-cluster-ip-range", SERVICE_ADDRESSES)
        .with("service-account-issuer", "https://kubernetes.default.svc.cluster.local")
        .with_path("service-account-key-file", public)
        .with_path("service-account-signing-key-file", private)
        .with_path("kubelet-certificate-authority", &layout.authority.certificate)
        .with_pair("kubelet-client-certificate", "kubelet-client-key", &layout.kubelet_client)
        .with("kubelet-preferred-address-types", "InternalIP,ExternalIP,Hostname")
        .with_pair("proxy-client-cert-file", "proxy-client-key-file", &layout.front_proxy_client)
        .with_front_proxy(layout)
        .0
}

/// What has the API server write an audit log.
pub(super) fn audit(policy: &Path, log: &Path) -> Vec<String> {
    Flags::default().with_path("audit-policy-file", policy).with_path("audit-log-path", log).0
}

pub(super) fn controller_manager(layout: &Layout, options: &ClusterOptions) -> Vec<String> {
    let Identity { kubeconfig, server, port, .. } = &layout.controller_manager;
    let flags = Flags::default()
        .with_server(port.number(), server)
        .with_path("kubeconfig", kubeconfig)
        .with_delegated_access(kubeconfig)
        .with_path("client-ca-file", &layout.authority.certificate)
        .with_front_proxy(layout)
        .with("leader-elect", "false")
        .with("use-service-account-credentials", "true")
        .with_path("service-account-private-key-file", &layout.service_account_keys.1)
        .with_path("root-ca-file", &layout.authority.certificate)
        .with_pair("cluster-signing-cert-file", "cluster-signing-key-file", &layout.authority)
        .with("horizontal-pod-autoscaler-sync-period", go_duration(options.hpa_sync))
        .with("horizontal-pod-autoscaler-cpu-initialization-period", go_duration(options.cpu_initialization))
        .with("horizontal-pod-autoscaler-initial-readiness-delay", go_duration(options.initial_readiness));
    let flags = if options.raised_client_limits {
        flags.with("kube-api-qps", RAISED_QPS.to_string()).with("kube-api-burst", (2 * RAISED_QPS).to_string())
    } else {
        flags
    };
    flags.0
}

pub(super) fn scheduler(layout: &Layout, identity: &Identity, configuration: &Path) -> Vec<String> {
    Flags::default()
        .with_server(identity.port.number(), &identity.server)
        .with_path("config", configuration)
        .with_delegated_access(&identity.kubeconfig)
        .with_path("client-ca-file", &layout.authority.certificate)
        .with_front_proxy(layout)
        .0
}

pub(super) fn metrics_server(layout: &Layout, options: &ClusterOptions) -> Vec<String> {
    let Identity { kubeconfig, server, port, .. } = &layout.metrics_server;
    Flags::default()
        .with_server(port.number(), server)
        .with_path("kubeconfig", kubeconfig)
        .with_delegated_access(kubeconfig)
        .with("kubelet-use-node-status-port", "true")
        .with("kubelet-preferred-address-types", "InternalIP")
        .with_path("kubelet-certificate-authority", &layout.authority.certificate)
        .with("metric-resolution", go_duration(options.metrics_resolution))
        // Must be shorter than the resolution.
        .with("kubelet-request-timeout", "5s")
        .0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::folder::Folder;
    use super::*;

    fn layout() -> (Layout, Folder) {
        let folder = Folder::create().unwrap();
        (Layout::create(&folder).unwrap().0, folder)
    }

    /// Flag → value; a flag given twice fails.
    fn parsed(arguments: Vec<String>) -> BTreeMap<String, String> {
        let count = arguments.len();
        let flags: BTreeMap<_, _> = arguments
            .into_iter()
            .map(|argument| {
                let (name, value) = argument.strip_prefix("--").unwrap().split_once('=').unwrap();
                (name.to_owned(), value.to_owned())
            })
            .collect();
        assert_eq!(flags.len(), count);
        flags
    }

    #[test]
    fn go_reads_the_durations() {
        assert_eq!(go_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(go_duration(Duration::from_mins(5)), "300000ms");
    }

    #[test]
    fn every_component_serves_on_loopback_under_its_own_certificate() {
        let (layout, _folder) = layout();
        let options = ClusterOptions::default();
        let all = [
            api_server(&layout),
            controller_manager(&layout, &options),
            scheduler(&layout, &layout.scheduler, Path::new("/x/scheduler.yaml")),
            scheduler(&layout, &layout.dedicated_scheduler, Path::new("/x/dedicated.yaml")),
            metrics_server(&layout, &options),
        ]
        .map(parsed);
        let distinct =
            |name: &str| all.iter().map(|flags| flags[name].clone()).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(distinct("bind-address").into_iter().collect::<Vec<_>>(), ["127.0.0.1"]);
        for name in ["secure-port", "tls-cert-file", "tls-private-key-file"] {
            assert_eq!(distinct(name).len(), all.len(), "{name}");
        }
    }

    #[test]
    fn the_database_takes_clients_of_its_own_authority_only() {
        let (layout, _folder) = layout();
        let (etcd, api_server) = (parsed(etcd(&layout)), parsed(api_server(&layout)));
        assert_eq!(etcd["client-cert-auth"], "true");
        assert_eq!(etcd["peer-client-cert-auth"], "true");
        assert_eq!(etcd["trusted-ca-file"], api_server["etcd-cafile"]);
        let authorities = ["client-ca-file", "etcd-cafile", "requestheader-client-ca-file"];
        let distinct: std::collections::BTreeSet<_> = authorities.iter().map(|name| &api_server[*name]).collect();
        assert_eq!(distinct.len(), authorities.len());
    }

    #[test]
    fn client_limits_are_stock_unless_raised() {
        let (layout, _folder) = layout();
        let flags = |raised| {
            let options = ClusterOptions { raised_client_limits: raised, ..ClusterOptions::default() };
            parsed(controller_manager(&layout, &options))
        };
        assert!(!flags(false).contains_key("kube-api-qps"));
        assert_eq!(flags(true)["kube-api-qps"], "2000");
    }
}
