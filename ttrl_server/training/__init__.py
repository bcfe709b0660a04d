"""The trainer: leases a batch, takes one optimiser step on a LoRA adapter, publishes it as a
version and proposes it.

    gateway ──Batch──▶ batch (micro-batches) ▶ logprobs (prompt once) ▶ algorithms ─┐
    gateway ◀─version─ publish ◀───────────────────────────── step (DeepSpeed) ◀────┘

``reference`` is the same step in plain PyTorch, one sequence at a time: read it first, tests hold
the fast path to it. Importing this package imports nothing heavy; torch and friends are imported by
the modules that compute.
"""
