"""What each command can be told: one dataclass per command, from which its options are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from textxfer.cli.common import VALID, NewTokenizer, Reading, Resumable
from textxfer.names import Precision
from textxfer.options import ABOVE_0, AT_LEAST_0, AT_LEAST_1, SEED, SHARE, SHARE_OR_ALL, option

_DATA = "CSV, TSV, JSON lines (also .gz, .xz, .zst), Parquet, a folder with a sub-folder per class, or a text file"
_DTYPE = (
    "numbers to compute in; auto is bf16 where the device multiplies it faster than fp32, else fp16 on a CPU, where "
    "that is weights of 16 bits, and fp32 on a GPU; int8 is for CPUs"
)


@dataclass(kw_only=True)
class PretrainConfig(Resumable, NewTokenizer):
    """Train a general language model on plain text."""

    data: tuple[Path, ...] = option((), help=f"one or more files or folders: {_DATA}", positional=True)
    store: Path | None = option(
        None, help="folder for the tokenized text: written if it is not there; if it is, DATA is not needed"
    )
    # None, not False: as in the states of runs that were begun before there was this option.
    prepare_only: bool | None = option(None, help="write the folder of --store and stop")
    max_words: int | None = option(None, help="read documents up to about this many words", within=AT_LEAST_1)
    valid: float = option(0.01, help="share of the documents held out for the perplexity", within=SHARE)
    epochs: int | None = option(None, help="epochs, instead of the recipe's", within=AT_LEAST_1)
    lr: float | None = option(None, help="highest rate, instead of the recipe's", within=ABOVE_0)
    max_vocab: int | None = option(
        None, help="most tokens of the vocabulary, instead of the recipe's", within=AT_LEAST_1
    )
    embed: int | None = option(
        None, help="width of embedding and last layer, instead of the recipe's", within=AT_LEAST_1
    )
    hidden: int | None = option(None, help="width of the other layers, instead of the recipe's", within=AT_LEAST_1)
    layers: int | None = option(None, help="number of LSTM layers, instead of the recipe's", within=AT_LEAST_1)

    def __post_init__(self) -> None:
        self.new_tokenizer()


@dataclass(kw_only=True)
class FinetuneConfig(Resumable):
    """Train a pretrained language model on a task's text."""

    data: Path = option(help=_DATA, positional=True)
    base: Path = option(
        help="folder of the pretrained language model or of the run that made it, or a name such as en-small"
    )
    max_rows: int | None = option(None, help="read only the first N documents", within=AT_LEAST_1)
    valid: float = option(0.1, help="share of the documents held out for the perplexity", within=SHARE)
    epochs: int | None = option(None, help="epochs, instead of the recipe's", within=AT_LEAST_1)


@dataclass(kw_only=True)
class ClassifyConfig(Resumable, NewTokenizer):
    """Train a classifier: language model on the task's text, classifier, report on held-out documents."""

    data: Path = option(help=f"labelled documents: {_DATA}", positional=True)
    label: str = option("label", help="column of the class name")
    base: Path | None = option(
        None, help="folder of a pretrained language model or of the run that made it, or a name such as en-small"
    )
    from_scratch: bool = option(False, help="classifier from random weights, without any language model")
    test: Path | None = option(None, help="labelled documents to report on; else a held-out share of DATA")
    split_column: str | None = option(
        None, help="column of DATA that says `train` or `test`, instead of --test (rows with another word are left out)"
    )
    valid: float | None = option(
        None, help="share of DATA held out where no other option says what is, 0.1 if left out", within=SHARE
    )
    unlabelled: tuple[Path, ...] = option((), help="further documents for the language model; labels are not used")
    max_rows: int | None = option(None, help="read only the first N documents of DATA", within=AT_LEAST_1)
    max_test: int | None = option(None, help="read only the first N documents of the test file", within=AT_LEAST_1)
    max_unlabelled: int | None = option(None, help="read only the first N further documents", within=AT_LEAST_1)
    lm_epochs: int | None = option(
        None, help="epochs of the language model, instead of the recipe's", within=AT_LEAST_1
    )
    epochs: int | None = option(
        None, help="epochs of the classifier's last stage, instead of the recipe's", within=AT_LEAST_1
    )
    repeat: int = option(
        1, help="number of runs, with seeds from --seed on; the first one's models are kept", within=AT_LEAST_1
    )
    minutes: float | None = option(
        None, help="time for the whole command, to which --recipe laptop fits its passes and epochs", within=ABOVE_0
    )

    def __post_init__(self) -> None:
        if self.base is None:
            self.new_tokenizer()
        if self.test is None and self.split_column is None:
            self.valid = self.valid or VALID


@dataclass(kw_only=True)
class EvaluateConfig(Reading):
    """Report how a classifier does on labelled documents."""

    model: Path = option(help="folder of a classifier, or of the run that made it", positional=True)
    data: Path = option(help=f"labelled documents: {_DATA}", positional=True)
    label: str = option("label", help="column of the class name")
    max_rows: int | None = option(None, help="read only the first N documents", within=AT_LEAST_1)
    device: str | None = option(None, help="cpu, cuda or cuda:N; the GPU if there is one")
    dtype: Precision = option("auto", help=_DTYPE)
    out: Path | None = option(None, help="JSON file for the report")


@dataclass(kw_only=True)
class PredictConfig(Reading):
    """Predict the classes of documents."""

    model: Path = option(help="folder of a classifier, or of the run that made it", positional=True)
    texts: tuple[str, ...] = option((), help="texts to classify, each an argument", positional=True)
    data: Path | None = option(None, help=f"documents to classify: {_DATA}")
    device: str | None = option(None, help="cpu, cuda or cuda:N; the GPU if there is one")
    dtype: Precision = option("auto", help=_DTYPE)
    out: Path | None = option(None, help="CSV file for row, label and probabilities; else lines are printed")


@dataclass(kw_only=True)
class GenerateConfig:
    """Write text with a language model."""

    model: Path = option(
        help="folder of a language model or of the run that made it, or a name such as en-small", positional=True
    )
    prompt: str = option("", help="beginning of the text")
    tokens: int = option(100, help="tokens to write", within=AT_LEAST_0)
    temperature: float = option(
        0.8, help="spread of the choice; 0 always takes the most probable token", within=AT_LEAST_0
    )
    top_k: int | None = option(None, help="choose among the K most probable tokens", within=AT_LEAST_1)
    top_p: float | None = option(
        None, help="choose among the most probable tokens that have this mass", within=SHARE_OR_ALL
    )
    count: int = option(1, help="number of texts", within=AT_LEAST_1)
    seed: int | None = option(None, help="seed of the choice", within=SEED)
    dtype: Precision = option("auto", help=_DTYPE)


@dataclass(kw_only=True)
class ReleaseConfig(Reading):
    """Make a pretrained language model ready to be given away: small files and a model card."""

    runs: tuple[Path, ...] = option(
        help="output folders of `textxfer pretrain` or model folders: both directions, or one", positional=True
    )
    out: Path = option(help="folder to write: models, README.md and card.json")
    name: str = option(help="name of the model")
    test: tuple[Path, ...] = option((), help="texts to measure the perplexity on: plain text, or tables")
    wikitext: tuple[Path, ...] = option((), help="the same, tokenized as WikiText is; they are detokenized first")
    max_words: int | None = option(None, help="read each of these texts up to about this many words", within=AT_LEAST_1)
    source: str | None = option(None, help="what text the model was trained on, for the card")
    licence: str | None = option(None, help="licence of that text, for the card")
    note: str | None = option(None, help="a few words for the top of the card")
    dtype: Literal["fp16", "fp32"] = option("fp16", help="numbers of the files")
    shard_mb: float | None = option(
        None, help="most megabytes of a file of weights; else one file of any size", within=ABOVE_0
    )
    device: str | None = option(None, help="cpu, cuda or cuda:N; the GPU if there is one")
    replace: bool = option(False, help="replace an existing model folder")


@dataclass(kw_only=True)
class ShowConfig:
    """Print what a folder holds, or draw it: a model, a run, a training state or a token store."""

    folder: Path = option(
        help="model folder, output folder, training state or token store, or a name such as en-small", positional=True
    )
    others: tuple[Path, ...] = option(
        (), help="further token stores, such as validation and test: what they share with the first", positional=True
    )
    json: bool = option(False, help="print the figures of a token store as JSON")
    plot: Path | None = option(
        None,
        help="draw it too, into one file (.png, .svg, .pdf) or a folder of files: losses and learning rates, the "
        "confusion matrix of a classifier's run; of a token store, lengths and classes",
    )


@dataclass(kw_only=True)
class ImportConfig:
    """Make a model folder of weights of fastai 2, fastai 1 or the scripts of Howard & Ruder 2018."""

    weights: Path = option(help="file of weights: language model, encoder or classifier (.pth, .h5)", positional=True)
    vocab: Path = option(help="file of its vocabulary: pickle or JSON of a list, or .txt", positional=True)
    out: Path = option(help="model folder to write")
    replace: bool = option(False, help="replace an existing model folder")
    backward: bool = option(False, help="the model reads texts from the end to the start")
    rules: Literal["fastai", "2018"] | None = option(
        None, help="rules of its tokenizer; by default told by the names of the special tokens"
    )
    language: str = option("en", help="spaCy language code of its tokenizer")
    classes: tuple[str, ...] = option((), help="names of a classifier's classes, in the order of its outputs")
