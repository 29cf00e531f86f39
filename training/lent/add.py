"""Bring a part of the data to the training on a GPU machine.

``python3 -m training.lent.add training/runs/lent/parts/2 --of 4`` copies part 2 of 4. The parts may
come in any order, and again. After the last one, the training reads the data.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from training.lent.machine import Machine, add_folder, fail, say


def add(machine: Machine, part: Path, count: int) -> list[int]:
    """Copy a part, and tell the training when all parts are there.

    Args:
        machine: The machine.
        part: Folder of the part, named by its number, from 1.
        count: Number of parts.

    Returns:
        The numbers of the parts that are missing.
    """
    shutil.copytree(part, machine.data, dirs_exist_ok=True)
    machine.arrived.mkdir(parents=True, exist_ok=True)
    (machine.arrived / part.name).touch()
    missing = missing_parts(machine, count)
    if not missing:
        machine.sent.touch()
    return missing


def missing_parts(machine: Machine, count: int) -> list[int]:
    """List the numbers of the parts that have not arrived."""
    return [
        number for number in range(1, count + 1) if not (machine.arrived / str(number)).exists()
    ]


def main() -> None:
    """Bring a part, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", type=Path)
    parser.add_argument("--of", type=int, required=True, metavar="COUNT", help="number of parts")
    add_folder(parser)
    options = parser.parse_args()
    if not options.part.is_dir():
        fail(f"{options.part} is not there: carry it along with this command.")
    if missing := add(options.work, options.part, options.of):
        say(f"Part {options.part.name} is there. Still missing: {', '.join(map(str, missing))}.")
    else:
        say(f"All {options.of} parts are there. Next: training.lent.watch")
    if not options.work.is_running():
        say(*options.work.last_lines(20))
        fail("But the training has ended: begin it again; the data stay.")


if __name__ == "__main__":
    main()
