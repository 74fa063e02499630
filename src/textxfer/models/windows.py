"""Running an encoder over documents window by window (BPT3C, Howard & Ruder 2018, 3.3).

Shapes: T time, B batch, E embedding, K kept steps.

Documents are padded behind and handled longest first, so that the documents still running are always the first rows.
Windows lie at the same places for every document, whatever else is in the batch, and the state is detached between
them. A document's kept tokens are its last ones; only windows that contain some of them are recorded for backward, for
each document by itself: other rows of the same window run without a graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from textxfer.chance import generator
from textxfer.models.awd_lstm import AWDLSTM, EncoderOutput, State
from textxfer.models.dropout import EncoderDraw
from textxfer.upload import upload


class Window(NamedTuple):
    """Some steps of some documents.

    Attributes:
        start: First step.
        stop: Step after the last one.
        skip: Documents before this row keep nothing of the window; documents behind keep at least one token.
        rows: Documents from this row on have ended before the window.
    """

    start: int
    stop: int
    skip: int
    rows: int


class WindowOutput(NamedTuple):
    """What the encoder returned for the documents `skip` to `rows` of a window, (steps, rows - skip, E) each."""

    window: Window
    raw: Tensor
    dropped: Tensor


@dataclass(frozen=True)
class WindowPlan:
    """Which steps of which documents are encoded together.

    Attributes:
        lengths: Tokens of each document, longest first, (B,) on the CPU.
        first_kept: First kept token of each document, (B,) on the CPU.
        bptt: Steps per window.
        windows: The windows in order of time.
    """

    lengths: Tensor
    first_kept: Tensor
    bptt: int
    windows: tuple[Window, ...]

    @classmethod
    def build(cls, lengths: Tensor, bptt: int, max_tokens: int | None) -> WindowPlan:
        """Plan the windows for documents sorted by length.

        Args:
            lengths: Tokens of each document, longest first, (B,) on the CPU.
            bptt: Steps per window.
            max_tokens: How many tokens at the end of each document are kept; None for all.
        """
        first_kept = torch.zeros_like(lengths) if max_tokens is None else (lengths - max_tokens).clamp(min=0)
        longest = int(lengths[0])
        windows = []
        for start in range(0, longest, bptt):
            stop = min(start + bptt, longest)
            windows.append(Window(start, stop, int((first_kept >= stop).sum()), int((lengths > start).sum())))
        return cls(lengths, first_kept, bptt, tuple(windows))

    @property
    def kept(self) -> Tensor:
        """Number of kept tokens of each document, (B,)."""
        return self.lengths - self.first_kept


def drawn_bptt(bptt: int) -> int:
    """Draw the steps per window of a batch: normal around `bptt`, in 5 % of cases around half of it, spread 5, >= 5.

    Of torch's generator on the CPU, so that a resumed training draws what an unbroken one does.
    """
    own = generator()
    share, offset = torch.rand((), generator=own).item(), torch.randn((), generator=own).item()
    mean = bptt / 2 if share < 0.05 else bptt
    return max(int(mean + 5 * offset), min(5, bptt))


def encode_windows(encoder: AWDLSTM, ids: Tensor, plan: WindowPlan) -> Iterator[WindowOutput]:
    """Encode documents window by window, with one set of dropout masks, and yield what is kept.

    Args:
        encoder: The encoder.
        ids: Word ids, documents longest first, padded behind, (T, B).
        plan: The windows.
    """
    draw = encoder.draw(ids.shape[1])
    state = encoder.initial_state(ids.shape[1])
    for window in plan.windows:
        outputs = _encode_window(encoder, ids[window.start : window.stop], window, state, draw)
        state = [
            (torch.cat([h for h, _ in layer]).detach(), torch.cat([c for _, c in layer]).detach())
            for layer in zip(*(output.hidden for output in outputs))
        ]
        if window.skip < window.rows:
            yield WindowOutput(window, outputs[-1].raw, outputs[-1].dropped)


def _encode_window(
    encoder: AWDLSTM, ids: Tensor, window: Window, state: State, draw: EncoderDraw
) -> list[EncoderOutput]:
    """Encode the rows that keep nothing of the window without a graph, then the others."""

    def encode(start: int, stop: int) -> EncoderOutput:
        rows = [(h[start:stop], c[start:stop]) for h, c in state]
        return encoder(ids[:, start:stop], rows, draw.rows(start, stop))

    _, _, skip, rows = window
    if skip and not torch.is_grad_enabled():  # nothing to save: one call is faster than two
        out = encode(0, rows)
        return [EncoderOutput(out.raw[:, skip:], out.dropped[:, skip:], out.hidden)]
    outputs = []
    if skip:
        with torch.no_grad():
            outputs.append(encode(0, skip))
    if skip < rows:
        outputs.append(encode(skip, rows))
    return outputs


def left_aligned(pieces: Sequence[tuple[Window, Tensor]], plan: WindowPlan) -> Tensor:
    """Put the kept states of each document one behind the other, zeros behind them.

    Args:
        pieces: States of the documents `skip` to `rows` for each window that is kept, (steps, rows - skip, E).
        plan: The plan of all windows.

    Returns:
        States, (K, B, E): those of row b are valid for steps below `plan.kept[b]`.
    """
    like = pieces[0][1]
    flat = torch.cat([*(states.flatten(0, 1) for _, states in pieces), like.new_zeros(1, like.shape[-1])])
    where = _flat_index([window for window, _ in pieces], plan, zero_row=len(flat) - 1)
    return flat[upload(where, flat.device)]


def _flat_index(windows: Sequence[Window], plan: WindowPlan, zero_row: int) -> Tensor:
    """Find, for kept step k of row b, its row among the flattened pieces, (K, B)."""
    offset, width, skip = torch.zeros(3, len(plan.windows), dtype=torch.int64)
    end = 0
    for window in windows:
        index = window.start // plan.bptt
        offset[index], width[index], skip[index] = end, window.rows - window.skip, window.skip
        end += (window.stop - window.start) * (window.rows - window.skip)
    step = torch.arange(int(plan.kept.max())).unsqueeze(1)
    row = torch.arange(len(plan.lengths))
    position = plan.first_kept + step
    index = position // plan.bptt
    place = offset[index] + position % plan.bptt * width[index] + row - skip[index]
    return torch.where(step < plan.kept, place, zero_row)
