"""What scripts/mutate does with a session of cosmic-ray: chooses its mutants, and tells what became of them."""

from __future__ import annotations

import ast
import random
import sys
from pathlib import Path
from typing import Any

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkerOutcome, WorkItem, WorkResult

SAME = {"core/ReplaceComparisonOperator_Is_Eq", "core/ReplaceComparisonOperator_IsNot_NotEq"}
"""They do what the code did: what is compared by ``is`` here, None and members of an Enum, equals nothing else."""

Span = tuple[tuple[int, int], tuple[int, int]]
"""(line, column) where something begins, and where it ends."""


def annotations(module: Path) -> list[Span]:
    """Where a module has them; they are not evaluated."""
    found = []
    for node in ast.walk(ast.parse(module.read_text())):
        for each in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(each, ast.expr):
                found.append(((each.lineno, each.col_offset), (each.end_lineno or 0, each.end_col_offset or 0)))
    return found


def place(item: WorkItem) -> tuple[Any, ...]:
    mutation = item.mutations[0]
    return mutation.start_pos, mutation.operator_name, mutation.occurrence


def choose(session: WorkDB, number: str, seed: str) -> None:
    """Leave so many mutants, all of them for ``""``; the same ones for the same module and seed."""
    items = sorted(session.work_items, key=place)
    spans = annotations(items[0].mutations[0].module_path) if items else []
    worth = [
        item
        for item in items
        if item.mutations[0].operator_name not in SAME
        and not any(begin <= item.mutations[0].start_pos < end for begin, end in spans)
    ]
    chosen = random.Random(int(seed)).sample(worth, min(int(number), len(worth))) if number else worth
    session.clear()
    session.add_work_items(chosen)
    print(f"{len(chosen)} of {len(worth)} mutants are tried")


def is_hung(result: WorkResult) -> bool:
    """By cosmic-ray's clock, or by the limit of CPU time that scripts/mutate sets."""
    return result.output is not None and result.output.endswith(("timeout", "it hangs\n"))


def tell(session: WorkDB) -> None:
    """The survivors by their place, and how many died."""
    completed = sorted(session.completed_work_items, key=lambda each: place(each[0]))
    # cosmic-ray cannot make some, such as of "except sqlite3.Error", and calls them killed.
    results = [each for each in completed if each[1].worker_outcome is WorkerOutcome.NORMAL]
    survivors = [(item.mutations[0], result) for item, result in results if not result.is_killed]
    for mutation, result in survivors:
        changed = [
            line for line in (result.diff or "").splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
        ]
        print(f"\n{mutation.module_path}:{mutation.start_pos[0]}: {mutation.operator_name.removeprefix('core/')}")
        print("\n".join(changed))
    died, hung = len(results) - len(survivors), sum(is_hung(result) for _, result in results)
    share = f" ({100 * died / len(results):.0f}%)" if results else ""
    unmade = f"; {len(completed) - len(results)} could not be made" if len(results) < len(completed) else ""
    print(f"\n{died} of {len(results)} mutants died{share}, {hung} of them as they hung{unmade}")


if __name__ == "__main__":
    command, path, *options = sys.argv[1:]
    with use_db(path, WorkDB.Mode.open) as opened:
        {"choose": choose, "tell": tell}[command](opened, *options)
