//! Every process has exactly the rights that it uses.

use super::*;

/// Rules that the story need not make use of.
const IDLE: [(&str, &str, &str); 2] = [
    // An event that is told again within minutes is patched; whether one is, is chance.
    ("burstlet-controller", "patch", "events.k8s.io/events"),
    // The hook lets gated pods go that stand alone; here the controller, which still runs, does so before it.
    ("burstlet-uninstall", "patch", "/pods"),
];

impl House<'_> {
    /// The rules of every account of burstlet's, as installed; the uninstall hook's live as long as the hook alone.
    pub(super) async fn rules(&self) -> Vec<(&'static str, Vec<Value>)> {
        let client = &self.trial.client;
        let plain = |rules: Option<Vec<PolicyRule>>| -> Vec<Value> {
            rules.into_iter().flatten().map(|rule| serde_json::to_value(rule).unwrap()).collect()
        };
        let cluster = async |name: &str| plain(Api::<ClusterRole>::all(client.clone()).get(name).await.unwrap().rules);
        let own =
            async |name: &str| plain(Api::<Role>::namespaced(client.clone(), NAMESPACE).get(name).await.unwrap().rules);
        let hook: Value =
            serde_saphyr::from_str(include_str!("../../../helm/burstlet/files/uninstall-role.yaml")).unwrap();
        let mut controller = cluster("burstlet-controller").await;
        controller.extend(own("burstlet-credentials").await);
        vec![
            ("burstlet-admission", cluster("burstlet-admission").await),
            ("burstlet-controller", controller),
            ("burstlet-scheduler", own("burstlet-scheduler").await),
            ("burstlet-uninstall", hook["rules"].as_array().unwrap().clone()),
        ]
    }

    /// Nothing that burstlet asked was forbidden, and all that its roles allow it did ask.
    pub(super) fn roles_are_just_right(&self, rules: &[(&str, Vec<Value>)]) {
        let log = std::fs::read_to_string(self.trial.stand.cluster().audit_log()).unwrap();
        let asked = Asked::read(&log, NAMESPACE);
        // Once the hook is done, Helm takes roles and processes away in whatever order.
        let end = asked.last("burstlet-uninstall");
        assert_ne!(end, "", "the hook asked nothing");
        let forbidden: BTreeSet<_> = asked.forbidden.iter().filter(|(_, at, _)| at.as_str() < end).collect();
        let forbidden: BTreeSet<_> =
            forbidden.iter().map(|(account, _, right)| format!("{account}: {right:?}")).collect();
        let mut idle = Vec::new();
        for (account, rules) in rules {
            for right in rights::allowed(rules) {
                let is_known = IDLE.contains(&(*account, right.verb.as_str(), right.on.as_str()));
                if !asked.uses(account, &right) && !is_known {
                    idle.push(format!("{account}: {} {} {:?}", right.verb, right.on, right.name));
                }
            }
        }
        assert!(
            forbidden.is_empty() && idle.is_empty(),
            "forbidden: {forbidden:#?}; rules that nobody uses: {idle:#?}"
        );
    }
}
