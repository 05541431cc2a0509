"""Plans as files that deploy them: engine flags are the core, Kubernetes manifests stand around them."""
