"""Prometheus metrics of the gateway; ``GET /metrics`` prints them."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()
counter = partial(Counter, registry=REGISTRY)
gauge = partial(Gauge, registry=REGISTRY)
histogram = partial(Histogram, registry=REGISTRY)

QUESTIONS = counter("ttrl_questions_total", "Voted questions by outcome", ["outcome"])
UNVOTED = counter("ttrl_unvoted_total", "Completions that were not voted on, by reason", ["reason"])
SAMPLES = counter("ttrl_samples_total", "Samples drawn for votes")
SAMPLED_TOKENS = counter("ttrl_sampled_tokens_total", "Completion tokens drawn for votes")
ANCHOR_TOKENS = counter("ttrl_anchor_tokens_total", "Tokens of the base model, for the confidence")
SAMPLES_SAVED = counter("ttrl_samples_saved_total", "Samples asked for and not needed")
STOPPED = counter("ttrl_votes_total", "Votes by why sampling ended", ["stopped"])
GROUPS = counter("ttrl_groups_total", "Groups by training verdict", ["verdict"])
TENTHS = [i / 10 for i in range(1, 11)]
MAJORITY = histogram("ttrl_majority_ratio", "Votes of the winner / samples", buckets=TENTHS)
ANSWER_SECONDS = histogram("ttrl_answer_seconds", "From the request to the voted answer")
IN_FLIGHT = gauge("ttrl_samples_in_flight", "Samples admitted and not yet done")
WAITING = gauge("ttrl_samples_waiting", "Samples that wait to be admitted")
VERSION = gauge("ttrl_served_version", "Number of the adapter now served; 0 is the base model")
VERSIONS = counter("ttrl_versions_total", "Adapter versions by verdict", ["verdict"])
REJECTIONS = counter("ttrl_rejections_total", "Rejected versions by stage", ["stage"])
GATE_SECONDS = histogram(
    "ttrl_gate_seconds", "Time a candidate was asked questions", buckets=[1, 2, 5, 10, 30, 60, 300]
)
GATE_TOKENS = counter("ttrl_gate_tokens_total", "Tokens drawn to examine candidates")
RESTARTS = counter("ttrl_restarts_total", "Restarts of a child process", ["process"])
BATCHES = counter("ttrl_batches_total", "Training batches by outcome", ["outcome"])
FEEDBACK = counter("ttrl_feedback_total", "Verdicts of persons on answers", ["verdict"])
ALARMS = counter("ttrl_alarms_total", "Alarms of learning by name", ["alarm"])
DROPPED = gauge("ttrl_groups_dropped", "Admitted groups dropped untrained, by reason", ["reason"])
TRAINER = gauge("ttrl_trainer", "Figures of the last optimiser step", ["figure"])


def render() -> bytes:
    """The metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
