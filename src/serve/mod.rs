//! HTTPS listeners: certificates, client certificates, limits. Admission, extender and kubelet answer through them.
