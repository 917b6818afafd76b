//! Image caches.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    error::ApiError,
    state::{Context, State},
};
use crate::lab::emulator::Moment;

const MOST_CACHES: usize = 100;

/// An image cache.
#[derive(Debug, Clone)]
pub(super) struct ImageCache {
    id: String,
    name: String,
    images: Vec<String>,
    gib: u32,
    tags: BTreeMap<String, String>,
    created: Moment,
    ready_at: Moment,
}

impl ImageCache {
    fn status(&self, now: Moment) -> (&'static str, &'static str) {
        if now < self.ready_at { ("Creating", "50%") } else { ("Ready", "100%") }
    }
}

fn missing(id: &str) -> ApiError {
    ApiError::not_found("InvalidParameter.ImageCacheId.NotFound", format!("The image cache {id} does not exist."))
}

/// `CreateImageCache`
pub(super) fn create(state: &mut State, context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    let name = tree.needed("ImageCacheName")?.to_owned();
    tree.needed("SecurityGroupId")?;
    let vswitch = tree.needed("VSwitchId")?;
    if state.network.vswitch(vswitch).is_none() {
        let why = format!("The specified vSwitch {vswitch} does not exist.");
        return Err(ApiError::not_found("InvalidVSwitchId.NotFound", why));
    }
    let images = tree.texts("Image");
    if images.is_empty() {
        return Err(ApiError::missing("Image"));
    }
    let gib = tree.number("ImageCacheSize")?.unwrap_or(20);
    let tags = tree.tags()?;
    let id = state.id("imc");
    let group = state.id("eci");
    let ready_at = context.now + context.ground.start_up();
    let cache = ImageCache { id: id.clone(), name, images, gib, tags, created: context.now, ready_at };
    state.caches.insert(id.clone(), cache);
    Ok(json!({"ImageCacheId": id, "ContainerGroupId": group}))
}

/// `DescribeImageCaches`
pub(super) fn describe(state: &State, context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    let limit = tree.number::<usize>("Limit")?.unwrap_or(MOST_CACHES).clamp(1, MOST_CACHES);
    let is = |parameter: &str, value: &str| tree.text(parameter).is_none_or(|wanted| wanted == value);
    let is_wanted = |cache: &ImageCache| {
        is("ImageCacheId", &cache.id)
            && is("ImageCacheName", &cache.name)
            && tree.text("Image").is_none_or(|image| cache.images.iter().any(|cached| cached == image))
    };
    let wanted = || state.caches.iter().filter(|(_, cache)| is_wanted(cache));
    let (page, next) = State::page(wanted(), tree.text("NextToken"), limit);
    let cache = |cache: &ImageCache| {
        let (status, progress) = cache.status(context.now);
        json!({
            "ImageCacheId": cache.id, "ImageCacheName": cache.name, "Images": cache.images, "Status": status,
            "Progress": progress, "ImageCacheSize": cache.gib, "RegionId": state.region,
            "SnapshotId": format!("s-{}", cache.id.trim_start_matches("imc-")),
            "CreationTime": context.time(cache.created), "Events": [],
            "Tags": cache.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect::<Vec<_>>(),
        })
    };
    let caches = page.into_iter().map(cache).collect::<Vec<_>>();
    let mut answer = json!({"ImageCaches": caches, "TotalCount": wanted().count()});
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

/// `UpdateImageCache`
pub(super) fn update(state: &mut State, context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    let id = tree.needed("ImageCacheId")?;
    let images = tree.texts("Image");
    let cache = state.caches.get_mut(id).ok_or_else(|| missing(id))?;
    if let Some(name) = tree.text("ImageCacheName") {
        name.clone_into(&mut cache.name);
    }
    if !images.is_empty() {
        cache.images = images;
        cache.ready_at = context.now + context.ground.start_up();
    }
    Ok(json!({}))
}

/// `DeleteImageCache`
pub(super) fn delete(state: &mut State, context: &Context<'_>) -> Result<Value, ApiError> {
    let id = context.tree.needed("ImageCacheId")?;
    state.caches.remove(id).map(|_| json!({})).ok_or_else(|| missing(id))
}
