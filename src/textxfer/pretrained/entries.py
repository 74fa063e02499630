"""What is written down of the pretrained models that are known by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """What is known of a pretrained model.

    Attributes:
        title: What it is, in one line.
        made_by: The command that makes it.
    """

    title: str
    made_by: str


KNOWN: Mapping[str, Entry] = {
    "en-small": Entry(
        title="English Wikipedia, both directions, 2 layers of 512: for a CPU, with the recipe `small`",
        made_by="make pretrain-small",
    ),
    "en-base": Entry(
        title="English Wikipedia, both directions, 3 layers of 1152, 30,000 words; its files do not ship",
        made_by="make pretrain-gpu",
    ),
}
"""What there is to say of the models that are known by name, also of those that are not made yet."""
