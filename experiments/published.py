"""Error rates that the paper gives, in per cent. Source: Howard & Ruder 2018, arXiv 1801.06146, tables 2 to 7."""

from __future__ import annotations

from collections.abc import Mapping

Errors = Mapping[str, float]

TEST: Errors = {"imdb": 4.6, "trec": 3.6, "ag_news": 5.01, "dbpedia": 0.80, "yelp_polarity": 2.16, "yelp_full": 29.98}
"""Tables 2 and 3: official test sets, both directions, all labels."""
TEST_FORWARD: Errors = {"imdb": 5.30}
"""One direction."""

_DATA = ("imdb", "trec", "ag_news")


def _rows(**rows: tuple[float, float, float]) -> dict[str, dict[str, float]]:
    return {name: dict(zip(_DATA, values)) for name, values in rows.items()}


ULMFIT = (5.00, 5.69, 5.38)
VALIDATION: Mapping[str, Errors] = {
    **_rows(ulmfit=ULMFIT, vanilla=(5.98, 7.41, 5.76), scratch=(9.93, 13.36, 6.81), full=(6.87, 6.86, 5.81)),
    **_rows(last=(6.49, 16.09, 8.38), freez=(6.37, 6.86, 5.81)),
    "no-pretraining": dict(zip(_DATA, (5.63, 10.67, 5.52))),
    "lm-none": dict(zip(_DATA, (6.99, 6.38, 6.09))),
    "lm-full": dict(zip(_DATA, (5.86, 6.54, 5.61))),
    "lm-full+discr": dict(zip(_DATA, (5.55, 6.36, 5.47))),
    "full+discr": dict(zip(_DATA, (5.57, 6.21, 5.62))),
    "chain-thaw": dict(zip(_DATA, (5.39, 6.71, 5.90))),
    "freez+discr": dict(zip(_DATA, (5.39, 5.86, 6.04))),
    "freez+stlr": dict(zip(_DATA, (5.04, 6.02, 5.35))),
    "freez+cos": dict(zip(_DATA, (5.70, 6.38, 5.29))),
}
"""Tables 4 to 7, by variant: a tenth of the training set held out, one direction, full-size model, 50 epochs."""
