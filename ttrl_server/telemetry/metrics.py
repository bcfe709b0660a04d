"""Prometheus metrics of the gateway; ``GET /metrics`` prints them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()

QUESTIONS = Counter(
    "ttrl_questions_total", "Voted questions by outcome", ["outcome"], registry=REGISTRY
)
UNVOTED = Counter(
    "ttrl_unvoted_total",
    "Completions that were not voted on, by reason",
    ["reason"],
    registry=REGISTRY,
)
SAMPLES = Counter("ttrl_samples_total", "Samples drawn for votes", registry=REGISTRY)
SAMPLED_TOKENS = Counter(
    "ttrl_sampled_tokens_total", "Completion tokens drawn for votes", registry=REGISTRY
)
SAMPLES_SAVED = Counter(
    "ttrl_samples_saved_total", "Samples asked for and not needed", registry=REGISTRY
)
STOPPED = Counter("ttrl_votes_total", "Votes by why sampling ended", ["stopped"], registry=REGISTRY)
GROUPS = Counter("ttrl_groups_total", "Groups by training verdict", ["verdict"], registry=REGISTRY)
MAJORITY = Histogram(
    "ttrl_majority_ratio",
    "Votes of the winner / samples",
    buckets=[i / 10 for i in range(1, 11)],
    registry=REGISTRY,
)
ANSWER_SECONDS = Histogram(
    "ttrl_answer_seconds", "From admission to the voted answer", registry=REGISTRY
)
IN_FLIGHT = Gauge("ttrl_samples_in_flight", "Samples admitted and not yet done", registry=REGISTRY)
VERSION = Gauge(
    "ttrl_served_version",
    "Number of the adapter now served; 0 is the base model",
    registry=REGISTRY,
)
VERSIONS = Counter(
    "ttrl_versions_total", "Adapter versions by verdict", ["verdict"], registry=REGISTRY
)
REJECTIONS = Counter(
    "ttrl_rejections_total", "Rejected versions by stage", ["stage"], registry=REGISTRY
)
GATE_SECONDS = Histogram(
    "ttrl_gate_seconds",
    "Time a candidate was asked questions",
    buckets=[1, 2, 5, 10, 30, 60, 300],
    registry=REGISTRY,
)
GATE_TOKENS = Counter(
    "ttrl_gate_tokens_total", "Tokens drawn to examine candidates", registry=REGISTRY
)
RESTARTS = Counter(
    "ttrl_restarts_total", "Restarts of a child process", ["process"], registry=REGISTRY
)
BATCHES = Counter(
    "ttrl_batches_total", "Training batches by outcome", ["outcome"], registry=REGISTRY
)
FEEDBACK = Counter(
    "ttrl_feedback_total", "Verdicts of persons on answers", ["verdict"], registry=REGISTRY
)
ALARMS = Counter("ttrl_alarms_total", "Alarms of learning by name", ["alarm"], registry=REGISTRY)
DROPPED = Gauge(
    "ttrl_groups_dropped",
    "Admitted groups dropped untrained, by reason",
    ["reason"],
    registry=REGISTRY,
)
TRAINER = Gauge("ttrl_trainer", "Figures of the last optimiser step", ["figure"], registry=REGISTRY)


def render() -> bytes:
    """The metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
