"""Metrics, logs and traces: what the apps do is watched from here, through their signals and at the server's edge."""
