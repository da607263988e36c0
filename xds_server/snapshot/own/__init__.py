"""An operator's own resources: from files in Envoy's form to values that are merged into snapshots."""
