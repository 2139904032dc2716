"""Plant every bug, one after the other, and write down which test saw it: ``python -m tests.mutants``.

With names, only those are planted anew, and the record of the others stays. Nothing is recorded unless the same tests
pass on the code as it is.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.mutants.mutants import MUTANTS
from tests.mutants.record import read, write
from tests.mutants.running import PASSED, tried


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="of planted bugs: all, if there is none")
    parser.add_argument("--at-once", type=int, default=2, help="how many to run side by side")
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - {mutant.name for mutant in MUTANTS}):
        parser.error(f"no bug is called {', '.join(map(repr, unknown))}")
    chosen = [mutant for mutant in MUTANTS if mutant.name in given.names or not given.names]
    with ThreadPoolExecutor(given.at_once) as pool:
        sound = [
            pool.submit(tried, None, [*wanted], reference=reference)
            for reference in (False, True)
            if (wanted := dict.fromkeys(test for m in chosen if m.reference == reference for test in m.tests))
        ]
        results = pool.map(lambda m: tried(m, m.tests, reference=m.reference), chosen)
        seen = dict(read()) if given.names else {}
        for mutant, found in zip(chosen, results, strict=True):
            print(f"{mutant.name}: {found.test or 'SURVIVED'} ({found.seconds:.0f} s) {found.why}", flush=True)
            seen[mutant.name] = {"caught_by": found.test or None, "seconds": round(found.seconds)}
    if failed := [found for found in (each.result() for each in sound) if found.why != PASSED]:
        print(f"not recorded, for without any bug {failed[0].test} fails: {failed[0].why}")
        return 2
    write(seen)
    return int(any(row["caught_by"] is None for row in seen.values()))


if __name__ == "__main__":
    sys.exit(main())
