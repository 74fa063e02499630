"""Data to work with: a corpus that every installation carries in itself, splits with few labels, named data sets."""

from textxfer.datasets.archives import unpack
from textxfer.datasets.catalog import NAMED
from textxfer.datasets.docstring_corpus import DocstringCorpus, collect_docstrings, docstrings
from textxfer.datasets.downloads import download
from textxfer.datasets.entries import DataSet
from textxfer.datasets.few import FewLabels, few_labels
from textxfer.datasets.named import cache_folder, describe, load

__all__ = [
    "NAMED",
    "DataSet",
    "DocstringCorpus",
    "FewLabels",
    "cache_folder",
    "collect_docstrings",
    "describe",
    "docstrings",
    "download",
    "few_labels",
    "load",
    "unpack",
]
