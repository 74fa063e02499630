"""Data to work with: a corpus that every installation carries in itself, splits with few labels, named data sets."""

from textxfer.datasets.docstring_corpus import DocstringCorpus, collect_docstrings, docstrings
from textxfer.datasets.few import FewLabels, few_labels
from textxfer.datasets.named import NAMED, DataSet, load

__all__ = [
    "NAMED",
    "DataSet",
    "DocstringCorpus",
    "FewLabels",
    "collect_docstrings",
    "docstrings",
    "few_labels",
    "load",
]
