"""Print the verdict on each construct and the totals: ``python -m tests.constructs [part of a name]``."""

import sys
from collections import Counter

from tests.constructs.catalogue import CATALOGUE, jit_for_tests
from tests.constructs.construct import judge


def main() -> int:
    """Judge the constructs whose names contain the argument; return 1 if one is wrong or an error."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    totals: Counter[str] = Counter()
    group = ""
    for entry in CATALOGUE:
        if wanted not in entry.name:
            continue
        if entry.group != group:
            group = entry.group
            print(f"\n{group}")
        verdict = judge(entry.path, entry.name, jit_for_tests)
        totals[verdict.letter] += 1
        print(f"  {verdict.letter}  {entry.name:<55} {verdict.detail[:160]}", flush=True)
    print("\n" + ", ".join(f"{letter} {totals[letter]}" for letter in "GBWE"))
    print("G wholly in the graph once settled, B right with Python's help, W wrong, E an error")
    return 1 if totals["W"] or totals["E"] else 0


if __name__ == "__main__":
    sys.exit(main())
