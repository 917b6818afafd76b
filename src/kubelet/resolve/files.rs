//! Volumes that are made of files.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Secret, Volume, VolumeProjection};

use super::{Missing, ObjectKind, Source, TokenNeed, Unresolved, fields, needs};
use crate::provider::{File, Takes};

/// Permissions of files whose volume names none.
const MODE: i32 = 0o644;

type Files = BTreeMap<String, File>;

impl Source<'_> {
    /// A volume's files; `None` for one that has none, or that the provider does not take.
    pub(super) fn files(&mut self, volume: &Volume, takes: Takes) -> Result<Option<Files>, Unresolved> {
        if !needs::is_taken(volume, takes) {
            return Ok(None);
        }
        let mut files = Files::new();
        if let Some(source) = &volume.config_map {
            let (items, mode) = (source.items.as_deref(), source.default_mode.unwrap_or(MODE));
            self.config_map(&source.name, items, mode, source.optional, &mut files);
        }
        if let Some(source) = &volume.secret {
            let (items, mode) = (source.items.as_deref(), source.default_mode.unwrap_or(MODE));
            self.secret(source.secret_name.as_deref().unwrap_or_default(), items, mode, source.optional, &mut files);
        }
        if let Some(source) = &volume.downward_api {
            let mode = source.default_mode.unwrap_or(MODE);
            self.downward(&volume.name, source.items.as_deref(), mode, &mut files)?;
        }
        if let Some(projected) = &volume.projected {
            let mode = projected.default_mode.unwrap_or(MODE);
            for source in projected.sources.iter().flatten() {
                self.project(&volume.name, source, mode, &mut files)?;
            }
        }
        Ok(Some(files))
    }

    fn project(
        &mut self,
        volume: &str,
        source: &VolumeProjection,
        mode: i32,
        files: &mut Files,
    ) -> Result<(), Unresolved> {
        if source.cluster_trust_bundle.is_some() || source.pod_certificate.is_some() {
            let problem = "clusterTrustBundle and podCertificate are not made here; take them off".to_owned();
            return Err(Unresolved::Invalid { field: format!("volume {volume}"), problem });
        }
        if let Some(source) = &source.config_map {
            self.config_map(&source.name, source.items.as_deref(), mode, source.optional, files);
        }
        if let Some(source) = &source.secret {
            self.secret(&source.name, source.items.as_deref(), mode, source.optional, files);
        }
        if let Some(source) = &source.downward_api {
            self.downward(volume, source.items.as_deref(), mode, files)?;
        }
        if let Some(token) = &source.service_account_token {
            let need = TokenNeed::new(token.audience.as_deref(), token.expiration_seconds);
            let text = self.objects.tokens.get(&need);
            let text = text.ok_or_else(|| Unresolved::Unreadable("the service account's token".to_owned()))?;
            files.insert(token.path.clone(), file(text.as_bytes(), None, mode));
        }
        Ok(())
    }

    fn config_map(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        mode: i32,
        optional: Option<bool>,
        into: &mut Files,
    ) {
        match self.objects.config_maps.get(name) {
            Some(map) => {
                let missing = select(&keys_of_map(map), items, mode, into);
                self.lack_keys(ObjectKind::ConfigMap, name, missing, optional);
            }
            None => self.lacks(ObjectKind::ConfigMap, name, None, optional),
        }
    }

    fn secret(&mut self, name: &str, items: Option<&[KeyToPath]>, mode: i32, optional: Option<bool>, into: &mut Files) {
        match self.objects.secrets.get(name) {
            Some(secret) => {
                let missing = select(&keys_of_secret(secret), items, mode, into);
                self.lack_keys(ObjectKind::Secret, name, missing, optional);
            }
            None => self.lacks(ObjectKind::Secret, name, None, optional),
        }
    }

    fn lack_keys(&mut self, kind: ObjectKind, name: &str, keys: Vec<String>, optional: Option<bool>) {
        for key in keys {
            let missing = Missing { kind, name: name.to_owned(), key: Some(key) };
            if optional == Some(true) { &mut self.absent } else { &mut self.missing }.push(missing);
        }
    }

    fn downward(
        &self,
        volume: &str,
        items: Option<&[DownwardAPIVolumeFile]>,
        mode: i32,
        files: &mut Files,
    ) -> Result<(), Unresolved> {
        for item in items.unwrap_or_default() {
            let invalid =
                |problem: String| Unresolved::Invalid { field: format!("volume {volume}: {}", item.path), problem };
            let text = if let Some(field) = &item.field_ref {
                fields::field(self.pod, self.host, &field.field_path).map_err(invalid)?.unwrap_or_default()
            } else if let Some(reference) = &item.resource_field_ref {
                fields::resource(self.pod, self.host, None, reference).map_err(invalid)?
            } else {
                continue;
            };
            files.insert(item.path.clone(), file(text.as_bytes(), item.mode, mode));
        }
        Ok(())
    }
}

fn file(data: &[u8], own: Option<i32>, default: i32) -> File {
    File { data: data.to_vec(), mode: u32::try_from(own.unwrap_or(default)).unwrap_or(0o644) & 0o777 }
}

fn keys_of_map(map: &ConfigMap) -> BTreeMap<&str, &[u8]> {
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes())).chain(binary).collect()
}

fn keys_of_secret(secret: &Secret) -> BTreeMap<&str, &[u8]> {
    secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice())).collect()
}

/// Puts the keys that `items` names, or all, into `files`; answers those that are not there.
fn select(keys: &BTreeMap<&str, &[u8]>, items: Option<&[KeyToPath]>, mode: i32, into: &mut Files) -> Vec<String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        into.extend(keys.iter().map(|(key, data)| ((*key).to_owned(), file(data, None, mode))));
        return Vec::new();
    };
    let mut missing = Vec::new();
    for item in items {
        match keys.get(item.key.as_str()) {
            Some(data) => drop(into.insert(item.path.clone(), file(data, item.mode, mode))),
            None => missing.push(item.key.clone()),
        }
    }
    missing
}
