"""The trainer's main loop: lease → load the batch's parent → step → publish → propose.

Only the first rank talks to the gateway. It shares every reply with the other ranks before any
rank acts on the reply.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog
import torch

from ttrl_server.errors import LeaseLost, RejectedVersion, TtrlError
from ttrl_server.registry import folders
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.training import publish, state
from ttrl_server.training.command import cpu_threads
from ttrl_server.training.gateway import Gateway
from ttrl_server.training.logprobs import check_head
from ttrl_server.training.memory import Room
from ttrl_server.training.messages import Outcome
from ttrl_server.training.policy import load_policy
from ttrl_server.training.ranks import Ranks
from ttrl_server.training.state import Engine, TrainerState
from ttrl_server.training.step import build_engine, train_step
from ttrl_server.types import AdapterVersion, Batch, Parent, Probe, window

events = structlog.get_logger()


@dataclass(slots=True)
class Learner:
    """The model of this rank, and the version whose weights the model has."""

    cfg: Config
    gateway: Gateway
    ranks: Ranks
    engine: Engine
    fresh: TrainerState
    """State of a new adapter on the base model, before any step."""
    room: Room
    held: TrainerState
    """State of the engine when it last had a version's weights; the teacher's average needs it."""
    holds: int | None = None
    """The version in the engine: 0 is the fresh adapter; None: the weights belong to no version."""


def run(cfg: Config, gateway: Gateway) -> None:
    """Learns without end. Raises ConfigError, or TtrlError when the gateway cannot be reached."""
    learner = start(cfg, gateway)
    name = f"{socket.gethostname()}-{os.getpid()}"
    while True:
        batch = learner.ranks.share(gateway.lease(name) if learner.ranks.leads else None)
        if batch is not None:
            learn(learner, batch)


def start(cfg: Config, gateway: Gateway) -> Learner:
    """Joins the other ranks and loads the model."""
    began = time.monotonic()
    if cfg.hardware == "cpu":
        torch.set_num_threads(cpu_threads(cfg))
    ranks = Ranks(cfg)
    policy = load_policy(cfg)
    check_head(policy)
    fresh = state.initial(policy)
    engine = build_engine(policy, cfg)
    room = Room.of(policy.get_base_model(), cfg.train)
    shared_by = ranks.size if cfg.hardware == "cpu" else 1
    room.bytes_free = ranks.least(room.bytes_free) / shared_by  # all ranks need the same plan
    learner = Learner(cfg, gateway, ranks, engine, fresh, room, fresh)
    if ranks.leads:
        seconds = round(time.monotonic() - began, 1)
        events.info("trainer.ready", model=cfg.model, ranks=ranks.size, seconds=seconds)
    return learner


def learn(learner: Learner, batch: Batch) -> None:
    """Learns from one batch, up to the gate's judgement. A lost lease discards the step."""
    with _heartbeat(learner, batch) as lost:
        hold(learner, batch.parent)
        metrics = train_step(learner.engine, batch, learner.cfg.train, learner.room)
        if not metrics["updated"]:
            if learner.ranks.leads:
                reason = "no group has an advantage"
                if metrics["groups"]:
                    reason = "loss or gradients are not finite"
                events.info("step.skipped", batch=batch.id, reason=reason, **_rounded(metrics))
                with suppress(LeaseLost):
                    learner.gateway.skip(batch.id, reason, metrics)
            return
        learner.holds = None
        trained, known, distance = _result(learner, batch)
        metrics |= distance
        outcome = learner.ranks.share(_propose(learner, batch, trained, known, metrics, lost))
    if outcome is not None and outcome.state == "promoted":
        learner.holds, learner.held = batch.number, trained
    elif outcome is not None:
        hold(learner, outcome.parent)


def hold(learner: Learner, parent: Parent | None) -> None:
    """Restores the engine's state as it was when ``parent`` was published. Raises TtrlError when
    the parent's files cannot be read."""
    number = parent.number if parent else 0
    if learner.holds == number:
        return
    try:
        wanted = state.load(learner.cfg.adapters.dir / parent.folder) if parent else learner.fresh
    except OSError as error:
        raise TtrlError(f"the parent version cannot be read: {error}") from error
    learner.held = state.completed(wanted, learner.fresh)
    state.restore(learner.engine, learner.held)
    learner.holds = number


def _result(learner: Learner, batch: Batch) -> tuple[TrainerState, Probe, dict[str, float]]:
    """The state after the step; the probe of the adapter that is published, and its distance from
    the base model."""
    engine, decay = learner.engine, learner.cfg.train.teacher_decay
    trained = state.capture(engine)
    if decay:
        trained = state.averaged(trained, learner.held, decay)
        state.write_weights(engine, trained.served)
    try:
        return trained, publish.probe(engine, batch), publish.kl_to_base(engine, batch)
    finally:
        if decay:
            state.write_weights(engine, trained.weights)


def _propose(
    learner: Learner,
    batch: Batch,
    trained: TrainerState,
    known: Probe,
    metrics: dict[str, float],
    lost: threading.Event,
) -> Outcome | None:
    """Publishes the step as a version and proposes the version, on the first rank only.

    Returns the gate's judgement; None when the version could not be proposed.
    """
    if not learner.ranks.leads:
        return None
    try:
        if lost.is_set():
            raise LeaseLost("renewal was refused during the step")
        root = learner.cfg.adapters.dir
        version: AdapterVersion = folders.publish(
            root,
            publish.write_files(root, learner.engine.module.policy, trained, known),
            number=batch.number,
            base_model=learner.cfg.base_model,
            parent=batch.parent.number if batch.parent else 0,
            rank=learner.cfg.train.rank,
            step=trained.step,
            metrics=metrics,
            name=version_name(learner.cfg.name, batch.number),
            data=window(batch),
        )
        outcome = learner.gateway.propose(batch.id, version.folder, metrics)
    except LeaseLost as error:
        events.warning("lease.lost", batch=batch.id, reason=str(error))
        return None
    except (OSError, RejectedVersion) as error:
        # The lease runs out; the gateway leases the batch again, perhaps when the disk has space.
        events.error("version.unpublished", batch=batch.id, reason=str(error))
        return None
    judged = {"version": version.folder, "reason": outcome.reason}
    events.info(f"version.{outcome.state}", **judged, **_rounded(metrics))
    return outcome


@contextmanager
def _heartbeat(learner: Learner, batch: Batch) -> Iterator[threading.Event]:
    """Renews the lease from a thread of the first rank. The yielded event is set when the gateway
    refuses to renew."""
    lost, done = threading.Event(), threading.Event()

    def beat() -> None:
        while not done.wait(batch.lease_s / 3):
            try:
                learner.gateway.renew(batch.id)
            except LeaseLost:
                lost.set()
                return
            except TtrlError as error:
                events.warning("lease.unrenewed", batch=batch.id, reason=str(error))

    if learner.ranks.leads:
        threading.Thread(target=beat, name="heartbeat", daemon=True).start()
    try:
        yield lost
    finally:
        done.set()


def _rounded(metrics: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in metrics.items()}
