"""`make bench`: every benchmark, or those named as arguments (`nar`, `main_job`, ...)."""

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Run them one after the other."""
    known = sorted(
        path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py")
    )
    wanted = sys.argv[1:] or known
    if unknown := set(wanted) - set(known):
        sys.exit(f"no benchmark `{min(unknown)}`; there are: {', '.join(known)}")
    del sys.argv[1:]
    for name in wanted:
        print(f"== {name}", flush=True)
        importlib.import_module(f"tests.bench.bench_{name}").main()


if __name__ == "__main__":
    main()
