"""Writing text with a language model, one token at a time at constant cost.

Shapes: T time, B prompts, V vocabulary.

The state of the model is carried from token to token, so that nothing is read twice.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from textxfer.models import LanguageModel, State
from textxfer.models.precision import computing_in, measure_spans
from textxfer.names import Precision
from textxfer.text import Tokenizer, Vocab, detokenize, join_pieces
from textxfer.text.specials import BOS

_FLOAT32 = torch.finfo(torch.float32)


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: What logits are divided by: below 1 the likely tokens get likelier still; 0 takes the most
            probable one.
        top_k: Choose among that many most probable tokens; None for all.
        top_p: Choose among the fewest most probable tokens that have this probability together, in (0, 1]; None for
            all (Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", 3.1).

    Raises:
        ValueError: A value is out of its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be 0 (the most probable token) or above, not {self.temperature!r}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k!r}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p!r}")

    def choose(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Choose a token for each row.

        Args:
            logits: (B, V).
            generator: Source of chance, on the device of `logits`; torch's default one if None.

        Returns:
            Ids, (B,).
        """
        k = 1 if self.temperature == 0 else min(self.top_k or logits.shape[1], logits.shape[1])
        values, ids = logits.float(), None
        if k < logits.shape[1] or self.top_p is not None:  # else to sort all tokens would be half of the work
            values, ids = values.topk(k)
            if k == 1:
                return ids[:, 0]
        # Less the maximum, so that a small temperature leads to minus infinity at worst. One beyond the numbers of
        # float32 would count as 0 or infinity, and make NaN.
        temperature = min(max(self.temperature, _FLOAT32.tiny), _FLOAT32.max)
        probabilities = ((values - values.amax(dim=1, keepdim=True)) / temperature).softmax(dim=1)
        if self.top_p is not None:
            before = probabilities.cumsum(dim=1) - probabilities
            beyond = before >= self.top_p
            beyond[:, 0] = False  # a `top_p` below float32's numbers is 0 here
            probabilities = probabilities.masked_fill(beyond, 0.0)
        places = probabilities.multinomial(1, generator=generator)
        return (places if ids is None else ids.gather(1, places)).squeeze(1)


def generate(
    model: LanguageModel,
    vocab: Vocab,
    tokenizer: Tokenizer,
    prompts: str | Sequence[str] = "",
    n_tokens: int = 100,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop: str | None = BOS,
    allow_unknown: bool = False,
    backward: bool = False,
    dtype: Precision = "auto",
) -> list[str]:
    """Continue texts.

    Args:
        model: The language model; it is used in evaluation mode and left in the mode it was in.
        vocab: Its vocabulary.
        tokenizer: Its tokenizer.
        prompts: Beginning of a text, or of several, which are written side by side. May be empty.
        n_tokens: Most tokens to write per text.
        temperature: See `Sampling`; 0 always takes the most probable token.
        top_k: See `Sampling`.
        top_p: See `Sampling`.
        seed: Seed of the choice; equal prompts and seed give equal texts on the same kind of machine. None for
            another one each time. Torch's global generator is neither used nor changed.
        stop: Token that ends a text and is not written; the default is the one that begins the next document. None
            to write `n_tokens` in any case.
        allow_unknown: Whether the token for unknown words may be written.
        backward: Whether the model reads backwards; prompts are then ends of texts.
        dtype: In which numbers the encoder computes, see `Predictor`. In float32 a token of a large model takes several
            times as long on a CPU. Threads take turns with a model.

    Returns:
        For each prompt the text, prompt included, as `detokenize` writes it.

    Raises:
        ValueError: An argument is out of range, `stop` is not in the vocabulary, the vocabulary is not the model's,
            or the device cannot compute in `dtype`.
    """
    sampling = Sampling(temperature, top_k, top_p)
    _check(model, vocab, stop)
    begun = [tokenizer(prompt) for prompt in ([prompts] if isinstance(prompts, str) else prompts)]
    if backward:
        begun = [[*tokens[:1], *reversed(tokens[1:])] for tokens in begun]
    generator = torch.Generator(model.encoder.embedding.weight.device)
    generator.seed() if seed is None else generator.manual_seed(seed)
    if dtype == "int8":
        measure_spans(model.encoder, vocab.counts)
    with computing_in(model.encoder, dtype):  # not the logits: in 16 bits many would be equal
        written = continue_ids(
            model,
            [vocab.ids(tokens).tolist() for tokens in begun],
            n_tokens,
            sampling,
            generator=generator,
            stop_id=None if stop is None else vocab[stop],
            banned=[vocab.pad_id] if allow_unknown else [vocab.pad_id, vocab.unk_id],
        )
    texts = (tokens[1:] + vocab.to_tokens(ids) for tokens, ids in zip(begun, written))
    return [_as_text(tokens[::-1] if backward else tokens, tokenizer) for tokens in texts]


def _check(model: LanguageModel, vocab: Vocab, stop: str | None) -> None:
    if len(vocab) != model.config.vocab:
        raise ValueError(f"the vocabulary has {len(vocab)} tokens, but the model {model.config.vocab}")
    if stop is not None and stop not in vocab:
        raise ValueError(f"the stop token {stop!r} is not in the vocabulary")


def _as_text(tokens: list[str], tokenizer: Tokenizer) -> str:
    return detokenize(join_pieces(tokens) if getattr(tokenizer, "pieces", None) else tokens)


@torch.no_grad()
def continue_ids(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    n_tokens: int,
    sampling: Sampling,
    *,
    generator: torch.Generator | None = None,
    stop_id: int | None = None,
    banned: Collection[int] = (),
) -> list[list[int]]:
    """Write the ids that follow each prompt.

    Args:
        model: The language model; it is used in evaluation mode and left in the mode it was in.
        prompts: Ids of each prompt, at least one.
        n_tokens: Most ids to write per prompt.
        sampling: How to choose them.
        generator: Source of chance, on the model's device; torch's default one if None.
        stop_id: Id that ends a text and is not returned.
        banned: Ids that are never chosen.

    Returns:
        The new ids of each prompt, without the prompt, in the order of the prompts.

    Raises:
        ValueError: A prompt is empty or `n_tokens` is negative.
    """
    if n_tokens < 0:
        raise ValueError(f"n_tokens must not be negative, not {n_tokens}")
    if not all(prompts):
        raise ValueError("a prompt needs at least one token: begin with xxbos")
    training = model.training
    if training:  # else the weights that are prepared for evaluation can stay
        model.eval()
    try:
        return _continue(model, prompts, n_tokens, sampling, generator, stop_id, list(banned)) if prompts else []
    finally:
        if training:
            model.train()


def _continue(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    n_tokens: int,
    sampling: Sampling,
    generator: torch.Generator | None,
    stop_id: int | None,
    banned: list[int],
) -> list[list[int]]:
    written: list[list[int]] = [[] for _ in prompts]
    running = set(range(len(prompts)))
    last, state = _read(model, prompts)
    never = torch.tensor(banned, dtype=torch.int64, device=last.device)
    for _ in range(n_tokens):
        logits = model.decode(last)
        logits.index_fill_(1, never, -torch.inf)
        chosen = sampling.choose(logits, generator)
        ids = chosen.tolist()
        running -= {row for row in running if ids[row] == stop_id}
        for row in running:
            written[row].append(ids[row])
        if not running:
            break
        out = model.encoder(chosen.unsqueeze(0), state)
        last, state = out.dropped[0], out.hidden
    return written


def _read(model: LanguageModel, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, State]:
    """Read each prompt by itself: last activations, (B, E), and the state after them."""
    device = model.encoder.embedding.weight.device
    outputs = [model.encoder(torch.tensor(ids, device=device).unsqueeze(1)) for ids in prompts]
    state = [
        (torch.cat([h for h, _ in layer]), torch.cat([c for _, c in layer]))
        for layer in zip(*(out.hidden for out in outputs))
    ]
    return torch.cat([out.dropped[-1] for out in outputs]), state
