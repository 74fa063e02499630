"""Pretrained models by name: those that ship with the package, those of this machine, and those of a server.

The files of a model that ships lie beside this one, in a folder of its name. `find` says where a model is;
`textxfer.ulmfit.pretrained` reads it.
"""

from textxfer.pretrained.entries import KNOWN, Entry
from textxfer.pretrained.lookup import check_name, describe, find, is_model, names, places, resolve
from textxfer.pretrained.remote import write_index

__all__ = [
    "KNOWN",
    "Entry",
    "check_name",
    "describe",
    "find",
    "is_model",
    "names",
    "places",
    "resolve",
    "write_index",
]
