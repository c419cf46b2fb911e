"""The guard-failure report, made from events alone."""
