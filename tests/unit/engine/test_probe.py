"""Served = trained: which engines pass the comparison, and which are found out."""

from __future__ import annotations

import math
import random

import pytest

from ttrl_server.engine.probe import compare
from ttrl_server.errors import RejectedVersion
from ttrl_server.types import Probe

LENGTH, SEQUENCES = 20, 4


def nats(seed: int, scale: float) -> list[float]:
    """Noise for every scored token, sequences one after another."""
    source = random.Random(seed)
    return [source.gauss(0, scale) for _ in range(LENGTH * SEQUENCES)]


def shifted(values: list[float], by: list[float]) -> list[float]:
    return [value + change for value, change in zip(values, by, strict=True)]


def rows(values: list[float]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(values[i : i + LENGTH]) for i in range(0, len(values), LENGTH))


BASE = [-abs(value) for value in nats(0, 2.0)]


def trained(change: list[float]) -> tuple[Probe, list[float]]:
    """A probe whose adapter changes the log-probabilities by ``change``, and what they become."""
    adapter = shifted(BASE, change)
    sequences = tuple(tuple(range(LENGTH + 3)) for _ in range(SEQUENCES))
    return Probe(sequences, (3,) * SEQUENCES, rows(adapter), rows(BASE)), adapter


@pytest.mark.parametrize("rounding", [0.0, 1e-5, 0.02])
@pytest.mark.parametrize("change", [0.005, 0.05, 0.5])
def test_an_engine_with_the_trained_weights_passes_at_any_precision(
    rounding: float, change: float
) -> None:
    probe, adapter = trained(nats(1, change))
    served, without = shifted(adapter, nats(2, rounding)), shifted(BASE, nats(3, rounding))
    figures = compare(probe, served, without, tolerance=4)
    assert figures["probe_change"] == pytest.approx(change, rel=0.3)
    for differ in ("probe_on", "probe_off"):
        assert figures[differ] == pytest.approx(rounding, rel=0.3, abs=1e-12)


@pytest.mark.parametrize("change", [1e-5, 0.05, 0.5])
def test_an_engine_that_ignores_the_adapter_is_found_out_however_small_the_step(
    change: float,
) -> None:
    probe, _ = trained(nats(1, change))
    served = shifted(BASE, nats(2, 0.02))
    with pytest.raises(RejectedVersion, match="as if there were no adapter") as error:
        compare(probe, served, list(served), tolerance=4)
    assert error.value.stage == "probe"


@pytest.mark.parametrize(
    ("served", "change"),
    [(nats(9, 0.2), nats(1, 0.2)), (nats(1, 0.2), shifted(nats(1, 0.2), nats(4, 0.1)))],
    ids=["other weights", "the parent's weights"],
)
def test_an_engine_with_other_weights_is_found_out(
    served: list[float], change: list[float]
) -> None:
    probe, _ = trained(change)
    with pytest.raises(RejectedVersion, match="not the weights that were trained"):
        compare(probe, shifted(BASE, served), shifted(BASE, nats(3, 0.005)), tolerance=4)


def test_the_tolerance_is_measured_against_the_difference_with_the_adapter_off() -> None:
    probe, adapter = trained(nats(1, 0.2))
    served, without = shifted(adapter, [0.05] * len(adapter)), shifted(BASE, [0.02] * len(BASE))
    assert compare(probe, served, without, tolerance=4)["probe_on"] == pytest.approx(0.05)
    says = r"differ by 5\.00e-02 nats with the adapter on, by 2\.00e-02 with it off"
    with pytest.raises(RejectedVersion, match=says):
        compare(probe, served, without, tolerance=2)


@pytest.mark.parametrize("change", [0.0, 1e-9])
def test_an_adapter_that_changes_nothing_is_rejected_before_the_engine_is_blamed(
    change: float,
) -> None:
    probe, adapter = trained([change] * len(BASE))
    with pytest.raises(RejectedVersion, match="the adapter changes nothing"):
        compare(probe, adapter, BASE, tolerance=4)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_never_pass(bad: float) -> None:
    probe, adapter = trained(nats(1, 0.2))
    for served, without in (([bad, *adapter[1:]], BASE), (adapter, [bad, *BASE[1:]])):
        with pytest.raises(RejectedVersion, match="not finite"):
            compare(probe, served, without, tolerance=4)
    wrong_probe, _ = trained([bad, *nats(1, 0.2)[1:]])
    with pytest.raises(RejectedVersion):
        compare(wrong_probe, adapter, BASE, tolerance=4)


def test_a_probe_without_a_scored_token_proves_nothing() -> None:
    with pytest.raises(RejectedVersion):
        compare(Probe((), (), (), ()), [], [], tolerance=4)
