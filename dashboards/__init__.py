"""Grafana dashboards as code: `python -m dashboards` writes the JSON files beside it, which Grafana loads.

`board` is what a dashboard is here, a table of panels; `grafana` makes Grafana's JSON of it; the others are dashboards.
"""
