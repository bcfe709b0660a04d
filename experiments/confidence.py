"""Two models, five kinds of questions, five orders."""

from __future__ import annotations

from pathlib import Path

from experiments.cases import Case, finished, parser
from experiments.families import family_sets

KINDS = ("capital", "opposite", "larger", "difference", "parity")
ORDERS = 5


def kinds(_order):
    return family_sets(KINDS, 0, 12)


def main() -> None:
    flags = parser("confidence", __doc__)
    flags.add_argument("--models", type=Path, nargs="+")
    flags.add_argument("--orders", type=int, nargs="+", default=range(5))
    options = flags.parse_args()
    for order in options.orders:
        for model in options.models:
            options.model_dir = model
            finished(f"{model.name}_{order}", Case(sets=kinds, batch=12, seed=order), options)


if __name__ == "__main__":
    main()
