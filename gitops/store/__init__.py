"""The records: deployments with their events, good and quarantined commits. Hosts carry the truth."""
