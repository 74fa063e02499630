"""Which tables the page of results has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_TIMES = ("median_ms", "iqr_ms")
_RATIOS = ("ratio_to_fastai", "ratio_to_plain", "ratio_to_torch", "ratio_to_distilbert", "ratio_to_model")
_LAST = ("ceiling_share", "peak_rss_mb", "peak_mb")


@dataclass(frozen=True)
class Table:
    """Cases of a suite that make a table.

    Attributes:
        suite: The suite.
        text: What the table shows.
        columns: Fields of the lines; those that no line has are left out.
        prefix: Only cases whose names begin so.
    """

    suite: str
    text: str
    columns: Sequence[str]
    prefix: str = ""


_TOKENS = ("case", "impl", "workers", "tokens_per_s", "ratio_to_fastai", "ratio_to_one_worker", "peak_rss_mb")
_LM_CHECKS = ("rel_err_loss", "rel_err_grad", "loss_rel_diff")
_CAUSES = tuple(f"repaired_differs_{cause}" for cause in ("entities", "case", "other"))
_CLASSES = ("case", "impl", "dtype", *_TIMES, "documents_per_s", *_RATIOS, *_LAST, "rel_err")
_STEPS = ("case", "impl", "dtype", "ms_per_step", "host_ms", "tokens_per_s", *_RATIOS, *_LAST, *_LM_CHECKS)
TABLES: dict[str, list[Table]] = {
    "Text to ids": [
        Table(
            "tokenize",
            "Training reviews of IMDb, from texts to ids; textxfer also hashes the texts and writes a store. The case "
            "says how many reviews. `textxfer-warm`, text by text, has seen all words before and has its vocabulary; "
            "the others start from nothing.",
            _TOKENS,
            "imdb-train",
        ),
        Table(
            "tokenize",
            "A corpus streamed from packed files to a store on disk, and a quarter of it.",
            ("case", "workers", "documents", "tokens", "tokens_per_s", "peak_rss_mb"),
            "wikipedia-en",
        ),
        Table(
            "tokenize",
            "Batches for language models, 64 lanes, windows of 70.",
            ("case", "tokens", "tokens_per_s"),
            "lm-batches",
        ),
        Table(
            "tokenize",
            "Documents whose tokens differ from fastai's: preset `fastai-exact`, and preset `fastai` by cause.",
            ("case", "documents", "exact_differs", *_CAUSES),
            "fastai-tokens",
        ),
    ],
    "Training a language model": [
        Table(
            "lm_step",
            "Whole training steps, from the loader to the update: AWD-LSTM with all dropouts, AR and TAR, clipping and "
            "AdamW. `full` has embedding 400, hidden size 1152, three layers, 30,000 words, 32 lanes; `small` 200, "
            "512, two layers, 16,000 words; on a GPU the case says the vocabulary and the lanes. All windows are of 70 "
            "tokens. `plain` is a stack of `nn.LSTM` without weight drop. `loss_rel_diff` is the relative difference "
            "of the loss in bfloat16 and in float32 after training without dropout from the same weights.",
            _STEPS,
        ),
    ],
    "One LSTM layer": [
        Table(
            "lstm",
            "1152 features in and out, in evaluation and forward with backward; 20 steps, 70 with one row.",
            ("case", "impl", "dtype", *_TIMES, "tokens_per_s", *_RATIOS, "ceiling_share", "rel_err"),
        ),
    ],
    "The loss over the vocabulary": [
        Table(
            "loss",
            "From activations (N, 400) and the tied matrix to the mean cross-entropy and all gradients; the case says "
            "the numbers of tokens and words. `plain` is `F.linear` with `F.cross_entropy`, `torch-fused` torch's "
            "`linear_cross_entropy` with its own chunks, and with larger ones.",
            ("case", "impl", "dtype", *_TIMES, "tokens_per_s", *_RATIOS, *_LAST, "rel_err_x", "rel_err_weight"),
        ),
    ],
    "Classifiers": [
        Table("classify", "An epoch of training on documents as long as reviews.", _CLASSES, "train"),
        Table(
            "classify",
            "Predictions for such documents. DistilBERT has random weights and sees 512 tokens.",
            _CLASSES,
            "predict",
        ),
        Table("classify", "One text of 15 words; `model` is our model alone, on ids.", _CLASSES, "one"),
        Table("classify", "Loading a model's folder.", ("case", "impl", *_TIMES, *_RATIOS), "load"),
        Table(
            "classify",
            "One long document; the case says how many tokens.",
            ("case", "impl", "dtype", *_TIMES, "tokens_per_s", *_RATIOS, *_LAST),
            "long",
        ),
        Table(
            "classify",
            "TF-IDF and logistic regression, training on 2,000 texts and answering 500.",
            ("case", "impl", *_TIMES, "documents_per_s", "peak_rss_mb"),
            "whole",
        ),
    ],
    "Writing text": [
        Table(
            "generate",
            "So many words after a prompt, with embedding 400, three layers of 1152, 30,000 words. fastai reads the "
            "whole text again for each word. `rel_err` is that of the logits after the prompt.",
            ("case", "impl", "dtype", *_TIMES, "words_per_s", *_RATIOS, "rel_err"),
        ),
    ],
    "Optimizers": [
        Table(
            "optim",
            "Clipping and update of the full model's parameters.",
            ("case", "impl", *_TIMES, "parameters_per_s", *_RATIOS, "rel_err"),
        ),
    ],
    "Data and masks": [
        Table(
            "data",
            "An epoch of batches, 64 lanes, windows of 70.",
            ("case", "impl", *_TIMES, "tokens_per_s", *_RATIOS),
            "lm-loader",
        ),
        Table(
            "data",
            "The same from disk, for texts of so many million tokens; times are per million.",
            ("case", "impl", *_TIMES, "tokens_per_s", "ratio_to_textxfer-1m"),
            "lm-length",
        ),
        Table(
            "data",
            "A dropout mask for the recurrent weights of one layer.",
            ("case", "impl", *_TIMES, "elements_per_s", *_RATIOS),
            "mask",
        ),
    ],
}
