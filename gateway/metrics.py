"""Prometheus metrics of one gateway, on a registry of its own; served on loopback by app.py."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """What operators watch. No label ever holds a tenant, a job or a runner."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("carnet_calls", "Calls by method and code.", ["method", "code"], registry=self.registry)
        self.call_seconds = Histogram(
            "carnet_call_seconds", "Seconds a unary call took.", ["method"], registry=self.registry
        )
        self.decisions = Counter("carnet_decisions", "Decisions by verdict.", ["verdict"], registry=self.registry)
        self.job_events = Counter("carnet_job_events", "Events in jobs' lives.", ["kind"], registry=self.registry)
        self.refused_results = Counter(
            "carnet_refused_results", "Results refused for a lost lease.", registry=self.registry
        )
        self.runners = Gauge("carnet_runners", "Runners attached now.", registry=self.registry)
        self.task_failures = Counter("carnet_task_failures", "Tasks that failed at root.", registry=self.registry)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)
