"""Tokens of preset `fastai` beside fastai's own, document by document.

python -m benchmarks.fastai_tokens .../imdb/train.csv.gz --column text
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections import Counter
from pathlib import Path

from benchmarks import results
from benchmarks.tokenize import read_texts

_ENTITY = re.compile(r"amp;|quot;|nbsp;|#39;|#36;|#146;")


def cause(text: str, ours: list[str], theirs: list[str]) -> str:
    """Say which defect of fastai's makes the repaired tokens differ."""
    # Joined: a mark between two words can also keep spaCy from looking at them together ("'' ''Return").
    one, other = ("".join(token for token in tokens if token not in ("xxup", "xxmaj")) for tokens in (ours, theirs))
    if one == other:
        return "case"
    return "entities" if _ENTITY.search(text) else "other"


def compare(documents: list[str]) -> dict[str, int]:
    """Tokenize with fastai and with ours; return how many documents differ and why."""
    from textxfer.text import SpacyTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastai.text.core import tokenize_texts

    exact, repaired = SpacyTokenizer("en", "fastai-exact"), SpacyTokenizer("en", "fastai")
    found: Counter[str] = Counter()
    for text, theirs in zip(documents, tokenize_texts(documents, n_workers=0)):
        tokens = list(theirs)
        if exact(text) != tokens:
            found["exact_differs"] += 1
            print("differs:", repr(text[:200]), flush=True)
        ours = repaired(text)
        if ours != tokens:
            found[f"repaired_differs_{cause(text, ours, tokens)}"] += 1
    names = ("exact_differs", *(f"repaired_differs_{cause}" for cause in ("entities", "case", "other")))
    return {"documents": len(documents), **{name: found[name] for name in names}}


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="gzip'd CSV")
    parser.add_argument("--column", default="text")
    parser.add_argument("--max-rows", type=int)
    options = parser.parse_args()
    figures = compare(read_texts(options.data, options.max_rows, options.column))
    print(figures)
    name = f"fastai-tokens-{options.data.parent.name}-{options.column}"
    line = {"suite": "tokenize", "case": name, "impl": "textxfer", "device": "cpu", "workers": 1, **figures}
    if options.max_rows is None:
        results.write("tokenize", [{**line, "versions": results.versions()}])


if __name__ == "__main__":
    main()
