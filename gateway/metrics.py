"""Prometheus metrics of one gateway, on a registry of its own; served by metricsserver.py."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class Metrics:
    """What operators watch. No label ever holds a tenant, a job or a runner."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter(
            "carnet_calls", "Calls by method and outcome.", ["method", "outcome"], registry=self.registry
        )
        self.decisions = Counter("carnet_decisions", "Decisions by verdict.", ["verdict"], registry=self.registry)
        self.job_events = Counter("carnet_job_events", "Events in jobs' lives.", ["kind"], registry=self.registry)
        self.refused_results = Counter(
            "carnet_refused_results", "Results refused for a lost lease.", registry=self.registry
        )
        self.shadowed = Counter(
            "carnet_shadowed", "Decisions for a shadow: compared, failed, dropped.", ["how"], registry=self.registry
        )
        self.runners = Gauge("carnet_runners", "Runners attached now.", registry=self.registry)
        self.task_failures = Counter("carnet_task_failures", "Tasks that failed at root.", registry=self.registry)

    def count_call(self, method: str, outcome: str) -> None:
        """One call ended: OK, or with the reason of an error."""
        self.calls.labels(method, outcome).inc()

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)
