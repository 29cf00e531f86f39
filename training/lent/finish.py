"""End the training on a GPU machine early, and bring its weights home.

``python3 -m training.lent.finish --out "$OUT"`` lets a running training save its weights and end,
and waits for that. If it has ended already, the files come home once more.
"""

from __future__ import annotations

import argparse

from training.lent.machine import Machine, add_folder, add_out
from training.lent.watch import report, watch


def main() -> None:
    """Finish, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=60, help="longest time to wait for the end (60)"
    )
    add_out(parser)
    add_folder(parser)
    options = parser.parse_args()
    machine: Machine = options.work
    machine.stop()
    report(machine, options.out, watch(machine, options.out, options.seconds))


if __name__ == "__main__":
    main()
