from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from tests.text.samples import numbered_store
from textxfer.text import minhash
from textxfer.text.document import DataError
from textxfer.text.duplicates import MIN_TOKENS, Duplicates, Links, find_duplicates
from textxfer.text.minhash import HASHES, RECALL, band_keys, bands_for, candidates, jaccard, shingle_set
from textxfer.text.specials import SPECIALS
from textxfer.text.store import TokenStore
from textxfer.text.tokenizer import RulesTokenizer
from textxfer.text.vocab import Vocab

WORDS = np.asarray([f"w{i}" for i in range(3000)])
RULES = RulesTokenizer()
VOCAB = Vocab([*SPECIALS, *WORDS.tolist()])


def store(texts: list[str]) -> TokenStore:
    return TokenStore.build(None, texts, RulesTokenizer(), vocab=VOCAB)


def random_texts(n: int, seed: int = 0, shortest: int = 30, longest: int = 300) -> list[list[str]]:
    """Made-up documents whose words are as unequally frequent as those of a language."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, len(WORDS) + 1)
    return [rng.choice(WORDS, rng.integers(shortest, longest), p=share / share.sum()).tolist() for _ in range(n)]


def changed(words: list[str], share: float, rng: np.random.Generator) -> list[str]:
    """The document with that share of its words replaced."""
    words = list(words)
    for place in rng.choice(len(words), round(share * len(words)), replace=False):
        words[place] = str(rng.choice(WORDS))
    return words


def joined(documents: list[list[str]]) -> list[str]:
    return [" ".join(words) for words in documents]


def groups(links: Links, *, between: bool = False) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
    return {(tuple(a), tuple(b)) for a, b in links.groups(between=between)}


def plain_similarity(a: str, b: str) -> float:
    one, two = (set(itertools.pairwise(RULES(text)[1:])) for text in (a, b))
    return len(one & two) / len(one | two)


def plain_groups(texts: list[str], threshold: float) -> set[tuple[int, ...]]:
    """Every document compared with every other; groups are what hangs together."""
    group = list(range(len(texts)))
    for i, j in itertools.combinations(range(len(texts)), 2):
        if plain_similarity(texts[i], texts[j]) >= threshold:
            group = [group[i] if g == group[j] else g for g in group]
    members = [tuple(i for i, g in enumerate(group) if g == one) for one in set(group)]
    return {one for one in members if len(one) > 1}


def test_exact_duplicates() -> None:
    texts = ["a b", "w1 w2 w3", "w1", "w1 w2  w3", "w2 w1 w3", "w1 w2 w3", "w1", "w9", ""]
    found = find_duplicates(store(texts))
    assert found.exact.pairs.tolist() == [[1, 3], [1, 5], [2, 6]]
    assert found.exact.similarity.tolist() == [1, 1, 1]
    assert groups(found.exact) == {((1, 3, 5), ()), ((2, 6), ())}
    assert groups(found.near) == set()


def test_exact_duplicates_between_stores() -> None:
    found = find_duplicates(store(["w1", "w2 w3", "w4", "w1"]), store(["w4 w4", "w1", "w5", "w4", "w1"]))
    assert groups(found.exact, between=True) == {((0, 3), (1, 4)), ((2,), (3,))}
    assert len(found.exact.pairs) == 4  # three hold the group of four together, one the pair


def test_what_only_looks_equal_to_the_hash_is_no_duplicate(monkeypatch: pytest.MonkeyPatch) -> None:
    one = store(joined(random_texts(20)))
    monkeypatch.setattr("textxfer.text.duplicates._contents", lambda store: np.zeros(len(store), np.uint64))
    assert groups(find_duplicates(one).exact) == set()


@pytest.mark.parametrize("between", [False, True])
def test_planted_near_duplicates_are_found(between: bool) -> None:
    rng = np.random.default_rng(1)
    originals = random_texts(400)
    copies = [changed(words, 0.05, rng) for words in originals[:200]]
    if between:
        found = find_duplicates(store(joined(originals)), store(joined(copies)))
        hits = {(a[0], b[0]) for a, b in groups(found.near, between=True) | groups(found.exact, between=True)}
        wanted = {(i, i) for i in range(200)}
    else:
        found = find_duplicates(store(joined(originals + copies)))
        hits = {a for a, _ in groups(found.near) | groups(found.exact)}
        wanted = {(i, 400 + i) for i in range(200)}
    assert len(hits & wanted) >= 0.95 * len(wanted)
    assert hits <= wanted
    assert (found.near.similarity >= 0.75).all()


def test_similarities_are_exact() -> None:
    rng = np.random.default_rng(2)
    originals = random_texts(60, 3)
    texts = joined(originals + [changed(words, 0.04, rng) for words in originals])
    near = find_duplicates(store(texts)).near
    assert len(near.pairs) > 50
    for (i, j), similarity in zip(near.pairs.tolist(), near.similarity):
        assert similarity == pytest.approx(plain_similarity(texts[i], texts[j]))


@pytest.mark.parametrize("threshold", [0.5, 0.75, 0.9])
def test_the_plain_comparison_finds_the_same(threshold: float) -> None:
    rng = np.random.default_rng(4)
    documents = random_texts(40, 5, 20, 120)
    for words in random_texts(16, 6, 60, 120):  # chains: each a little further from the first
        for _ in range(5):
            documents.append(words)
            words = changed(words, rng.choice([0.01, 0.03, 0.08, 0.2]), rng)
    texts = list(dict.fromkeys(joined(documents)))
    wanted = plain_groups(texts, threshold)
    assert len(wanted) > 8
    assert {a for a, _ in groups(find_duplicates(store(texts), threshold=threshold).near)} == wanted


def test_the_plain_comparison_finds_the_same_between_stores() -> None:
    rng = np.random.default_rng(7)
    here = random_texts(60, 8, 20, 120)
    there = [changed(words, rng.choice([0.03, 0.06, 0.3]), rng) for words in here[:40] + here[:20]]
    ours = list(dict.fromkeys(joined(here)))
    theirs = [text for text in dict.fromkeys(joined(there)) if text not in ours]
    found = find_duplicates(store(ours), store(theirs)).near
    wanted = {(i, j) for i, a in enumerate(ours) for j, b in enumerate(theirs) if plain_similarity(a, b) >= 0.75}
    assert len(wanted) > 20
    assert {i for i, _ in found.pairs.tolist()} == {i for i, _ in wanted}
    assert {j for _, j in found.pairs.tolist()} == {j for _, j in wanted}
    assert {tuple(pair) for pair in found.pairs.tolist()} <= wanted


def planted() -> list[str]:
    rng = np.random.default_rng(9)
    originals = random_texts(50, 10)
    return joined([*originals, *(changed(words, 0.05, rng) for words in originals[:30]), *originals[20:40]])


@pytest.mark.parametrize("kind", ["exact", "near"])
def test_the_order_of_the_documents_does_not_matter(kind: str) -> None:
    texts = planted()
    order = np.random.default_rng(11).permutation(len(texts))

    def contents(found: Duplicates, texts: list[str]) -> set[tuple[str, ...]]:
        return {tuple(sorted(texts[i] for i in group)) for group, _ in getattr(found, kind).groups(between=False)}

    shuffled = [texts[i] for i in order]
    once = contents(find_duplicates(store(texts)), texts)
    assert len(once) >= 20
    assert contents(find_duplicates(store(shuffled)), shuffled) == once


def test_a_part_of_a_store_and_the_same_seed() -> None:
    texts = planted()
    whole = store(texts)
    part = np.arange(len(texts))[::-2]
    view, alone = find_duplicates(whole.subset(part)), find_duplicates(store([texts[i] for i in part]))
    for one, two in ((view.exact, alone.exact), (view.near, alone.near)):
        assert one.pairs.tolist() == two.pairs.tolist()
        assert one.similarity.tolist() == two.similarity.tolist()
    assert len(find_duplicates(whole.subset([])).exact.pairs) == 0
    assert len(find_duplicates(whole, whole.subset([])).near.pairs) == 0


def test_short_documents_are_compared_word_for_word_only() -> None:
    short = " ".join(WORDS[: MIN_TOKENS - 1])
    long = " ".join(WORDS[: MIN_TOKENS + 4])
    found = find_duplicates(store([short, f"{short} w900", long, f"{long} w900", short]))
    assert groups(found.exact) == {((0, 4), ())}
    assert groups(found.near) == {((2, 3), ())}
    assert found.eligible == (3,)


def test_the_bound_on_documents_is_told() -> None:
    texts = planted()
    found = find_duplicates(store(texts), max_documents=10)
    assert (found.eligible, found.compared) == ((80,), (10,))
    assert len(found.exact.pairs) == 20  # exact ones are looked for among all
    rest = find_duplicates(store(texts[:40]), store(texts), max_documents=10)
    assert (rest.eligible, rest.compared) == ((40, 80), (10, 10))


def test_thousands_of_near_copies_take_linear_time() -> None:
    """Forms filled in differently share all their bands: 4000 of them make 8 million pairs."""
    form = " ".join(WORDS[:200])
    texts = [f"{form} w{1000 + i % 1900} w{300 + i // 1900}" for i in range(4000)]
    began = time.perf_counter()
    found = find_duplicates(store(texts))
    assert time.perf_counter() - began < 20
    assert [len(group) for group, _ in found.near.groups(between=False)] == [4000]


def test_other_vocabularies_and_tokenizers_are_refused() -> None:
    one = store(["w1 w2"])
    with pytest.raises(DataError, match=r"the second store: the store's vocabulary has .* like="):
        find_duplicates(one, numbered_store([3]))
    other = TokenStore.build(None, ["w1"], RulesTokenizer("fastai"), vocab=VOCAB)
    with pytest.raises(DataError, match=r"its tokenizer RulesTokenizer\(rules='fastai'\) is not that of the first"):
        find_duplicates(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0.4}, "between 0.5 and 1"),
        ({"threshold": 1.1}, "threshold"),
        ({"max_documents": 0}, "at least 1"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_duplicates(store(["w1"]), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.75, 0.9, 1.0])
def test_bands_find_what_just_has_the_threshold(threshold: float) -> None:
    bands, rows = bands_for(threshold)
    assert bands * rows <= HASHES
    assert 1 - (1 - threshold**rows) ** bands >= RECALL


def test_bands_are_shared_with_the_probability_of_the_similarity() -> None:
    """A band of r values is the same with probability J^r; 40 pairs of documents, some hundred seeds."""
    shared, similarity = [], []
    _, rows = bands_for(0.75)
    rng = np.random.default_rng(12)
    originals = random_texts(40, 13, 100, 200)
    one, two = store(joined(originals)), store(joined([changed(words, 0.05, rng) for words in originals]))
    docs = np.arange(40)
    for seed in range(20):
        shared.append((band_keys(one, docs, 0.75, seed) == band_keys(two, docs, 0.75, seed)).mean())
    for doc in docs.tolist():
        similarity.append(jaccard(shingle_set(one, doc), shingle_set(two, doc)))
    assert np.mean(shared) == pytest.approx(np.mean(np.power(similarity, rows)), abs=0.02)


def test_the_size_of_blocks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    one, docs = store(planted()), np.array([5, 0, 7, 60, 61])
    keys = band_keys(one, docs, 0.75, 0)
    for block in (1, 150, 1000):
        monkeypatch.setattr(minhash, "_BLOCK", block)
        assert np.array_equal(band_keys(one, docs, 0.75, 0), keys)
    assert not np.array_equal(band_keys(one, docs, 0.75, 1), keys)


def test_candidates_share_a_key() -> None:
    keys = np.array([7, 3, 7, 5, 3, 7], np.uint64)
    pairs = [sorted(pair) for a, b in candidates(keys, np.arange(6, dtype=np.uint64)) for pair in zip(a, b)]
    assert sorted(pairs) == [[0, 2], [0, 5], [1, 4], [2, 5]]
    many = np.zeros(100, np.uint64)
    count = sum(len(a) for a, _ in candidates(many, np.arange(100, dtype=np.uint64)))
    assert count == sum(100 - lag for lag in range(1, minhash.WINDOW + 1))


def test_jaccard() -> None:
    a, b = np.array([1, 3, 5, 9], np.uint64), np.array([3, 4, 9], np.uint64)
    assert jaccard(a, b) == jaccard(b, a) == 2 / 5
    assert jaccard(a, a) == 1
    assert jaccard(a, a[:0]) == 0
    assert jaccard(a, np.array([99], np.uint64)) == 0
