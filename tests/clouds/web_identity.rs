//! Web identity at ECI (RRSA): the cluster's token of burstlet's service account in place of keys.

use std::{path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use burstlet::{
    api::pool::alibaba_eci::AlibabaEci,
    lab::emulator::{Emulator, Ground},
    provider::{Provider, ProviderError, clouds::alibaba_eci::Eci},
};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    alibaba_eci_sdk::emulator,
    keys::Fixed,
    trial::{owner, pod, prompt},
};

/// A cloud, and a file in which Kubernetes would write the token.
struct Trial {
    ground: Arc<Ground>,
    emulator: Emulator,
    folder: TempDir,
}

impl Trial {
    async fn start() -> Self {
        let (ground, _, emulator) = emulator(prompt()).await;
        let trial = Self { ground, emulator, folder: tempfile::tempdir().unwrap() };
        trial.write_token(600);
        trial
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// A token that ends in so many seconds.
    fn write_token(&self, lasts: i64) {
        let claims = json!({"iss": "https://cluster", "sub": "system:serviceaccount:burstlet-system:burstlet-controller",
            "aud": ["sts.aliyuncs.com"], "exp": jiff::Timestamp::now().as_second() + lasts});
        let part = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
        let token = [part(json!({"alg": "RS256"}).to_string()), part(claims.to_string()), part("hush-hush".to_owned())];
        std::fs::write(self.file(), token.join(".") + "\n").unwrap();
    }

    fn keys(&self) -> Fixed {
        Fixed::new(&[
            ("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::113511544585:role/burst"),
            ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "acs:ram::113511544585:oidc-provider/cluster"),
            ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", self.file().to_str().unwrap()),
        ])
    }

    fn provider(&self, keys: Fixed, signature: &str) -> Arc<Eci> {
        let address = self.emulator.address();
        let pool: AlibabaEci = serde_json::from_value(json!({
            "region": "cn-hangzhou", "zones": [{"vSwitchId": "vsw-a"}], "securityGroupId": "sg-1",
            "credentials": {"environment": {}}, "endpoint": address, "stsEndpoint": address, "signature": signature,
        }))
        .unwrap();
        Arc::new(Eci::with_keys(pool, Arc::new(keys)).unwrap())
    }

    fn exchanges(&self) -> u64 {
        self.ground.calls().get("AssumeRoleWithOIDC").map_or(0, |calls| calls.arrived)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_exchange_serves_a_burst_and_keys_that_the_cloud_has_ended_are_exchanged_anew() {
    for signature in ["V3", "V1"] {
        let trial = Trial::start().await;
        let eci = trial.provider(trial.keys(), signature);
        let creations = (0..30).map(|number| {
            let eci = eci.clone();
            async move { eci.create(&owner(&format!("u-{number}")), &pod()).await.map(drop) }
        });
        assert!(futures::future::join_all(creations).await.into_iter().all(|created| created.is_ok()));
        assert_eq!((eci.list("lab").await.unwrap().len(), trial.exchanges()), (30, 1));

        trial.ground.clock.advance(Duration::from_mins(61));
        assert_eq!(eci.list("lab").await.unwrap().len(), 30);
        assert_eq!(trial.exchanges(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_ended_is_told_without_its_text_and_the_next_one_is_taken_up() {
    let trial = Trial::start().await;
    trial.write_token(-1);
    let eci = trial.provider(trial.keys(), "V3");
    let refused = eci.list("lab").await.unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, ProviderError::Unauthorized(_)) && text.contains("credentials: "), "{text}");
    assert!(text.contains("AuthenticationFail.OIDCToken.Expired"), "{text}");
    let token = std::fs::read_to_string(trial.file()).unwrap();
    assert!(!text.contains(token.trim()) && !format!("{refused:?} {eci:?}").contains(token.trim()));
    trial.write_token(600);
    assert_eq!(eci.list("lab").await.unwrap(), []);
    assert!(!format!("{eci:?}").contains(token.trim()));

    std::fs::remove_file(trial.file()).unwrap();
    // What was granted still serves.
    assert_eq!(eci.list("lab").await.unwrap(), []);
    let refused = trial.provider(trial.keys(), "V3").list("lab").await.unwrap_err().to_string();
    assert!(refused.contains("unable to read the cluster's token") && refused.contains("token"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_and_stored_keys_come_first() {
    let trial = Trial::start().await;
    let keys = Fixed::new(&[("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::113511544585:role/burst")]);
    let refused = trial.provider(keys, "V3").list("lab").await.unwrap_err();
    assert!(refused.to_string().contains("ALIBABA_CLOUD_OIDC_PROVIDER_ARN"), "{refused}");
    assert!(trial.ground.calls().is_empty(), "{:?}", trial.ground.calls());

    let keys = trial.keys();
    keys.set("ALIBABA_CLOUD_ACCESS_KEY_ID", "testid");
    keys.set("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "testsecret");
    assert_eq!(trial.provider(keys, "V3").list("lab").await.unwrap(), []);
    assert_eq!(trial.exchanges(), 0);
}
