"""Old weights and their vocabulary in, a model with its text side out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from textxfer.artifact import Artifact, ArtifactError
from textxfer.files import checksum
from textxfer.importing.layouts import Net, recognize
from textxfer.importing.token_match import RuleName, TokenMatch, match_tokens
from textxfer.importing.vocab_files import read_tokens
from textxfer.importing.weight_files import read_weights
from textxfer.models import load_by_name, remap_vocab
from textxfer.text import DataError, SpacyTokenizer, Vocab

_PER_TOKEN = ("encoder.embedding.weight", "decoder_weight", "decoder_bias")


@dataclass(frozen=True)
class Imported:
    """What `import_weights` made.

    Attributes:
        artifact: The model with its text side, for `save_artifact`.
        net: What was found in the file of weights.
        tokens: What became of the vocabulary.
        notes: What the user should know: what was not in the files, and what is not exactly as it was.
    """

    artifact: Artifact
    net: Net
    tokens: TokenMatch
    notes: tuple[str, ...]

    def __str__(self) -> str:
        text = f"tokenizer: {self.artifact.tokenizer}"
        return "\n".join([str(self.net), str(self.tokens), text, *(f"note: {note}" for note in self.notes)])


def import_weights(
    weights: str | Path,
    vocab: str | Path,
    *,
    backward: bool = False,
    rules: RuleName | None = None,
    language: str = "en",
    classes: Sequence[str] = (),
) -> Imported:
    """Make a model of weights of fastai 2, fastai 1 or the scripts of 2018.

    Every token keeps its row under a new id. Special tokens that the old vocabulary lacks get the mean row.

    Args:
        weights: The file of weights: language model, encoder or classifier.
        vocab: The file of its vocabulary, see `read_tokens`.
        backward: Whether the model reads texts from the end to the start; files do not tell.
        rules: The rules of its tokenizer; None to tell by the names of the special tokens.
        language: spaCy's code of the language.
        classes: Names of the classes in the order of the outputs, for a classifier.

    Returns:
        The model with its text side, and what became of weights and vocabulary.

    Raises:
        FileNotFoundError: A file is missing.
        ArtifactError: A file is damaged, holds something else, or the two do not belong together.
        DataError: The names of the classes do not fit, or there is no such language.
    """
    weights, vocab = Path(weights), Path(vocab)
    net = recognize(read_weights(weights), weights)
    old = read_tokens(vocab)
    if len(old) != net.encoder.vocab:
        raise ArtifactError(
            f"{vocab} has {len(old):,} tokens, but {weights} has {net.encoder.vocab:,} rows: give the vocabulary that "
            "was saved with these weights"
        )
    _check_classes(weights, net, classes)
    try:
        tokens = match_tokens(old, rules)
    except (ArtifactError, DataError) as error:
        raise type(error)(f"{vocab}: {error}") from None
    tokenizer = SpacyTokenizer(language, tokens.rules)
    tokenizer("a")  # finds out whether spaCy has the language
    model = _model(net, tokens)
    notes = _notes(net, tokens, named=rules is not None)
    card = _card(weights, vocab, net, tokens, notes)
    text = Vocab(tokens.tokens), tokenizer
    artifact = Artifact(model.eval(), *text, tuple(classes), backward, {"imported": card})
    return Imported(artifact, net, tokens, notes)


def _model(net: Net, tokens: TokenMatch) -> Any:
    def rearranged(rows: Tensor) -> Tensor:
        return remap_vocab(rows[list(tokens.rows)], tokens.old_tokens, tokens.tokens)[0]

    model = net.build(replace(net.encoder, vocab=len(tokens.tokens)))
    state = {name: rearranged(value) if name in _PER_TOKEN else value for name, value in net.tensors.items()}
    load_by_name(model, state, net.kind)
    return model


def _check_classes(path: Path, net: Net, classes: Sequence[str]) -> None:
    if net.head is None:
        if classes:
            raise DataError(f"{path} holds a {net.kind}, which has no classes; leave --classes out")
        return
    if len(classes) != net.head.classes:
        raise DataError(
            f"{path} holds a classifier of {net.head.classes} outputs, and {len(classes)} class names were given; name "
            "them with --classes in the order of the outputs (fastai 2: dls.vocab[1])"
        )
    if twice := sorted({name for name in classes if list(classes).count(name) > 1}):
        raise DataError(f"--classes has a name twice: {', '.join(twice)}")


def _notes(net: Net, tokens: TokenMatch, *, named: bool) -> tuple[str, ...]:
    notes = ["dropouts are not in such files: the model has our defaults until it is trained"]
    if net.kind == "encoder":
        notes.append("there was no decoder in the file: it is the embedding, with a zero bias")
    if tokens.rules == "fastai":
        notes.append("the rules are those of fastai 2; fastai 1's are close to them, but not the same")
    else:
        notes.append("the rules are those of 2018 in our wording; a text may get a few other tokens than then")
    if net.head is not None:
        notes.append(
            f"of documents of {net.head.max_tokens:,} tokens and more the original pooled whole windows, this model "
            "pools the last tokens; a range of the outputs (y_range) cannot be seen in the file and is not kept"
        )
    if net.family != tokens.rules and not named:
        notes.append(f"the weights have the names of {net.family}, the vocabulary those of {tokens.rules}")
    return tuple(notes)


def _card(weights: Path, vocab: Path, net: Net, tokens: TokenMatch, notes: Sequence[str]) -> dict[str, Any]:
    """Return what the model folder says of its origin."""
    files = {path.name: checksum(path) for path in (weights, vocab)}
    return {
        "files": files,
        "kind": net.kind,
        "names": net.family,
        "rules": tokens.rules,
        "new_tokens": list(tokens.new),
        "dropped_tokens": len(tokens.dropped),
        "notes": list(notes),
    }
