"""The trainer leases a batch, takes one optimiser step on a LoRA adapter, and proposes a version.

    gateway ──Batch──▶ batch (micro-batches) ▶ logprobs (prompt once) ▶ algorithms ─┐
    gateway ◀─version─ publish ◀───────────────────────────── step (DeepSpeed) ◀────┘

``reference`` is the same step in plain PyTorch, one sequence at a time. Read it first. Tests
compare the fast path with it. Importing this package is cheap: only the modules that compute
import torch, DeepSpeed and PEFT.
"""
