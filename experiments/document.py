"""Write the generated tables of ``docs/`` anew from ``experiments/results/``.

Examples::

    python experiments/document.py           # after a study's kept.json went to experiments/results
    python experiments/document.py --check   # 1 where a page is stale; a test asks the same
"""

import argparse
import sys

from running.generated import ROOT, stale


def main() -> int:
    """Write what is stale, or name it; 1 where a page is stale and only a check was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, name what is stale")
    check = parser.parse_args().check
    pages = stale()
    for page, text in pages.items():
        print(f"{page.relative_to(ROOT)}: {'stale' if check else 'written'}")
        if not check:
            page.write_text(text, encoding="utf-8")
    return 1 if check and pages else 0


if __name__ == "__main__":
    sys.exit(main())
