"""Prometheus sink: metrics and health of a node over HTTP."""

from sinks.prometheus.sink import Prometheus as Prometheus
