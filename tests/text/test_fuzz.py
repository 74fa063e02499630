"""Any text, any file: what may come of it and what may not.

`make test` tries some hundred inputs, the same ones each time. `make test-slow` tries others for ten minutes, or as
long as TEXTXFER_FUZZ_MINUTES says.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from textxfer.text.corpus import read_csv, read_jsonl, read_text
from textxfer.text.document import DataError, Document, Label, unsound
from textxfer.text.rule_sets import PRESETS
from textxfer.text.specials import BOS, PAD
from textxfer.text.store import TokenStore
from textxfer.text.tokenizer import RulesTokenizer, SpacyTokenizer, Tokenizer

SECONDS = 5.0
"""Longest time that one input may take; most take a thousandth of a second."""
MINUTES = float(os.environ.get("TEXTXFER_FUZZ_MINUTES", "10"))
SLOW_TO_MAKE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

MAKERS: dict[str, Callable[[], Tokenizer]] = {
    f"{kind.kind}-{preset}": lambda kind=kind, preset=preset: kind(rules=preset)
    for kind in (RulesTokenizer, SpacyTokenizer)
    for preset in PRESETS
}
WARM, SECOND = ({name: make() for name, make in MAKERS.items()} for _ in range(2))

PIECES = st.sampled_from(
    [
        *("aaaaaaa", "!!!!!!!!!", "no no no no no", "0000000", "......", "----", "xX" * 40, "ha" * 300, "q" * 700),
        *("&amp;", "&amp", "&amp;amp;lt;", "&#39;", " #39;s", "&#x1F600;", "&#99999999;", "&#0;", "&nbsp;", "quot;"),
        *(
            "<br />",
            "<BR>",
            "<br",
            "<unk>",
            " @-@ ",
            "``",
            "''",
            "xxbos",
            "XXPAD",
            "xxunk",
            "xxup",
            "xxfld 1",
            "xxrep 3",
        ),
        *("e\u0301", "\u0301\u0301\u0301", "n\u0303" * 50, "\u0130", "\u1e9e", "\ufb03", "\u212a", "\u01c5", "\u0345"),
        *(
            "你好世界",
            "ひらがな",
            "カタカナ",
            "한국어",
            "हिन्दी",
            "ไทย",
            "العربية",
            "👍🏽",
            "👨\u200d👩\u200d👧",
            "🇩🇪🇫🇷",
            "☠️",
        ),
        *("\x85", "\u2028", "\u2029", "\t", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x1f", "\r", "\r\n", "\n", "\n\n\n"),
        *("\u00a0", "\u2003", "\u200b", "\u00ad", "\ufeff", "\u202e", "\0", "\ufffd", "\ud800", "\uffff", "\U0010ffff"),
        *(" ", "  ", "DON'T", "can\u2019t", "I'd've", "U.S.A.", "3.5%", ":-)", "a/b\\c#d", "http://x.y/z?a=1&b=2", "_"),
    ]
)
TEXTS = st.one_of(
    st.text(),
    st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=25).map("".join),
    st.lists(PIECES, max_size=25).map(" ".join),
    st.tuples(PIECES, st.integers(1, 200)).map(lambda pair: pair[0] * pair[1]),
)


def in_time(what: str, began: float) -> None:
    taken = time.perf_counter() - began
    assert taken < SECONDS, f"{what} took {taken:.1f} s"


def tokens_are_sound(name: str, text: str, others: list[str], fresh: int) -> None:
    """What holds of the tokens of any text, and that they depend on nothing but the text."""
    # A new spaCy takes a tenth of a second: mostly one that has seen other texts than WARM has to do.
    cold = SECOND[name] if name.startswith(SpacyTokenizer.kind) and fresh else MAKERS[name]()
    began = time.perf_counter()
    tokens = cold(text)
    in_time(f"tokenizing {len(text)} characters", began)
    assert tokens[0] == BOS
    assert all(isinstance(token, str) and token for token in tokens)
    assert not any(token.startswith(" ") or token.endswith(" ") for token in tokens)
    "".join(tokens).encode("utf-8")
    assert cold(text) == tokens, "the second time differs"
    for other in others:
        cold(other)
    assert cold(text) == tokens, "other texts made a difference"
    assert WARM[name](text) == tokens, "the texts of earlier examples made a difference"


def a_store_holds_every_document(texts: list[str], labels: list[str], name: str) -> None:
    """As many documents out as in, each with its tokens, and the same from the disk."""
    documents = [Document(text, labels[i % len(labels)] if labels else None, i) for i, text in enumerate(texts, 1)]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if bad := [document for document in documents if document.label and unsound(str(document.label))]:
            with pytest.raises(DataError, match=f"^row {bad[0].row}: the label .* holds"):
                TokenStore.build(Path(folder) / "store", documents, WARM[name], min_count=1)
            assert not list(Path(folder).iterdir())
            return
        built = TokenStore.build(Path(folder) / "store", documents, WARM[name], min_count=1)
        again = TokenStore.open(Path(folder) / "store")
        assert len(built) == len(again) == len(texts)
        for i, document in enumerate(documents):
            assert built.vocab.to_tokens(built[i]) == WARM[name](document.text)
            label = int(again.labels[i])
            assert (None if label < 0 else again.classes[label]) == document.label
        assert np.array_equal(built.ids, again.ids)
        assert (built.vocab, built.classes) == (again.vocab, again.classes)
        assert built.rows.tolist() == again.rows.tolist() == list(range(1, len(texts) + 1))
        assert built.tokenizer == again.tokenizer
        del built, again
    in_time(f"a store of {len(texts)} documents", began)


READERS: dict[str, Callable[[Path], Iterable[Document]]] = {
    ".csv": lambda path: read_csv(path, "text", "label"),
    ".tsv": lambda path: read_csv(path, ["text", "more"], on_empty="skip"),
    ".plain.csv": lambda path: read_csv(path, "text", quotes=False),
    ".wide.csv": lambda path: read_csv(path, "text", "label", encoding="utf-16"),
    ".several.csv": lambda path: read_csv(path, "text", "label", label_separator="|", errors="replace"),
    ".number.csv": lambda path: read_csv(path, "text", "label", numeric=True, on_empty="skip"),
    ".number.jsonl": lambda path: read_jsonl(path, "text", "label", numeric=True, errors="replace"),
    ".jsonl": lambda path: read_jsonl(path, "text", "label"),
    ".skip.jsonl": lambda path: read_jsonl(path, ["text", "more"], on_empty="skip"),
    ".wiki.txt": lambda path: read_text(path, "wiki"),
    ".blank.txt": lambda path: read_text(path, "blank"),
    ".line.txt": lambda path: read_text(path, "line"),
}
PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}
PLACE = re.compile(
    r"row \d|line \d|document \d|header|no column|columns called|the file is empty|no documents in it|packed file"
    r"|not utf-16 text"
)


def label_is_sound(label: Label | None) -> bool:
    if isinstance(label, tuple):
        return list(label) == sorted(set(label)) and all(map(label_is_sound, label))
    if isinstance(label, float):
        return math.isfinite(label)
    return label is None or (label.strip() == label != "" and "\0" not in label)


def a_file_is_read_or_refused(content: bytes, kind: str) -> None:
    """Documents come of a file, or a `DataError` that says where it is wrong; soon, and nothing else."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{kind}"
        path.write_bytes(content)
        try:
            documents = list(READERS[kind.removesuffix(".gz").removesuffix(".xz")](path))
        except DataError as error:
            message = str(error)
            assert str(path) in message
            assert PLACE.search(message), message
        else:
            assert documents
            for document in documents:
                assert isinstance(document, Document)
                assert document.text.strip()
                assert "\0" not in document.text
                assert label_is_sound(document.label)
            rows = [document.row for document in documents]
            assert rows == sorted(set(rows))
    in_time(f"reading {len(content)} bytes", began)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A table as it should be."""
    delimiter = draw(st.sampled_from([",", "\t", ";"]))
    out = io.StringIO(newline="")
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    columns = draw(st.permutations(["text", "label", "more"]))
    writer.writerow(columns)
    cell = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    cell |= st.sampled_from(["1", "-2.5", "1e3", "a|b", "|", " x "])
    writer.writerows(draw(st.lists(st.tuples(cell, cell, cell), max_size=6)))
    return out.getvalue().encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))


@st.composite
def json_lines(draw: st.DrawFn) -> bytes:
    """Lines of JSON, most of them objects."""
    plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10))
    value = st.recursive(plain, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
    keys = st.sampled_from(["text", "label", "more"])
    line = st.one_of(
        st.fixed_dictionaries({"text": st.text(min_size=1), "label": st.text(min_size=1), "more": st.text()}),
        st.dictionaries(keys, value),
        value,
    )
    ascii_only = draw(st.booleans())
    lines = [json.dumps(one, ensure_ascii=ascii_only) for one in draw(st.lists(line, max_size=6))]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


DAMAGE = st.sampled_from(
    [
        *(b'"', b'""', b",", b"\t", b";", b"\r", b"\n", b"\r\n", b"\n\n", b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80"),
        *(
            b"\x85",
            b"\xe2\x80\xa8",
            b"\xef\xbb\xbf",
            b"[" * 50,
            b"{",
            b"1" * 5000,
            b"NaN",
            b"|",
            b" = T = \n",
            b"\x1a",
            b"\\",
        ),
    ]
)


@st.composite
def damaged(draw: st.DrawFn, sound: st.SearchStrategy[bytes]) -> bytes:
    """A file to which something was done in a few places."""
    content = draw(sound)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(content)))
        n_lost = draw(st.sampled_from([0, 0, 1, 5]))
        content = content[:place] + draw(DAMAGE | st.binary(max_size=3)) + content[place + n_lost :]
    return content


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, str]:
    """The content of a file, and the ending of its name."""
    kind = draw(st.sampled_from(sorted(READERS)))
    packing = draw(st.sampled_from(["", "", "", ".gz", ".xz"]))
    plain = TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass"))
    sound = {"csv": tables(), "tsv": tables(), "jsonl": json_lines(), "txt": plain}
    content = PACKED[packing](draw(damaged(sound[kind.rpartition(".")[2]]) | st.binary() | damaged(plain)))
    if packing and draw(st.booleans()):
        content = draw(damaged(st.just(content)))
    return content, kind + packing


PROPERTIES: dict[str, tuple[Callable[..., None], dict[str, st.SearchStrategy[Any]], int]] = {
    "tokens": (
        tokens_are_sound,
        {
            "name": st.sampled_from(sorted(MAKERS)),
            "text": TEXTS,
            "others": st.lists(TEXTS, max_size=3),
            "fresh": st.integers(0, 9),
        },
        300,
    ),
    "store": (
        a_store_holds_every_document,
        {
            "texts": st.lists(TEXTS, min_size=1, max_size=8),
            "labels": st.lists(st.text(min_size=1, max_size=5).map(str.strip).filter(bool), max_size=3),
            "name": st.sampled_from(sorted(MAKERS)),
        },
        40,
    ),
    "file": (lambda file: a_file_is_read_or_refused(*file), {"file": files()}, 400),
}


@pytest.mark.parametrize("opening", ["[", '{"text":', '{"text": ['])
def test_deeply_nested_json_is_refused(opening: str) -> None:
    a_file_is_read_or_refused(opening.encode() * 50_000, ".jsonl")


CLAIMS = st.lists(
    st.sampled_from(
        ["xxbos", "xxpad", "XXPAD", "Xxbos", "aaaa", "dddd", "你", "1", "_", "w" * 256, "'s", "\u00ad", " "]
    ),
    max_size=5,
).map("".join)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(text=CLAIMS, name=st.sampled_from(sorted(name for name in MAKERS if "fastai" not in name)))
def test_no_text_claims_to_be_padding_or_a_beginning(text: str, name: str) -> None:
    tokens = WARM[name](text)
    assert BOS not in tokens[1:]
    assert PAD not in tokens


@pytest.mark.parametrize("which", PROPERTIES)
def test_some_inputs(which: str) -> None:
    check, inputs, n = PROPERTIES[which]

    @settings(max_examples=n, deadline=None, derandomize=True, database=None, suppress_health_check=SLOW_TO_MAKE)
    @given(**inputs)
    def run(**values: Any) -> None:
        check(**values)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("which", PROPERTIES)
def test_many_inputs(which: str) -> None:
    check, inputs, n = PROPERTIES[which]
    end = time.perf_counter() + 60 * MINUTES / len(PROPERTIES)
    phases = [Phase.generate, Phase.shrink]  # inputs that were not tried before, each time

    @settings(max_examples=n, deadline=None, database=None, phases=phases, suppress_health_check=SLOW_TO_MAKE)
    @given(**inputs)
    def run(**values: Any) -> None:
        check(**values)

    rounds = 0
    while time.perf_counter() < end or not rounds:
        run()
        rounds += 1
