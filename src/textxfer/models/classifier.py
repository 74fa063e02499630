"""A text classifier: an AWD-LSTM encoder run over windows of a document, concat pooling, a small head.

Shapes: T time, B batch, E embedding, C classes, K kept steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from textxfer.kernels import check_dropout
from textxfer.models.awd_lstm import AWDLSTM
from textxfer.models.config import AWDLSTMConfig, check_keys
from textxfer.models.head import ClassifierHead
from textxfer.models.pooling import StreamingPool, concat_pool
from textxfer.models.windows import WindowPlan, drawn_bptt, encode_windows, left_aligned
from textxfer.upload import upload


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes and dropouts of what a classifier adds to its encoder. Defaults: Howard & Ruder 2018 and their scripts.

    Args:
        classes: Number of classes, C.
        head_hidden: Size of the head's hidden layer.
        dropout_pooled: Dropout of the pooled vector, the first of the head; fastai's `output_p` of a classifier.
        dropout_head: Dropout of the head's hidden layer.
        bptt: Steps per window; the gradient does not pass from one window to the one before.
        max_tokens: How many tokens at the end of each document are pooled, and so trained; None for all.
        vary_bptt: Draw the steps per window anew for each training batch: mostly near `bptt`, 5 % near half of it
            (Merity et al. 2018, section 4.1).

    Raises:
        ValueError: A size is below 1 or a dropout outside of [0, 1).
    """

    classes: int
    head_hidden: int = 50
    dropout_pooled: float = 0.4
    dropout_head: float = 0.1
    bptt: int = 70
    max_tokens: int | None = 1400
    vary_bptt: bool = False

    def __post_init__(self) -> None:
        for name in ("classes", "head_hidden", "bptt", "max_tokens"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        for name in ("dropout_pooled", "dropout_head"):
            check_dropout(getattr(self, name), name)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClassifierConfig:
        """Build a config from what `to_dict` returned.

        Args:
            values: The fields by name.

        Returns:
            The config.

        Raises:
            ValueError: A key is not a field of the config.
        """
        check_keys(values, cls)
        return cls(**values)


class ClassifierOutput(NamedTuple):
    """What a classifier returns.

    Attributes:
        logits: Unnormalized log-probabilities of the classes, (B, C), in the parameters' dtype.
        raw: The pooled states before the output dropout, each document's in order from step 0 on and zero behind,
            (K, B, E). None in evaluation without gradient, where states are pooled as they come and not kept.
        dropped: The same after the output dropout.
        lengths: Number of pooled states of each document, (B,): row b of `raw` is valid below `lengths[b]`.
    """

    logits: Tensor
    raw: Tensor | None
    dropped: Tensor | None
    lengths: Tensor


class PooledStates(NamedTuple):
    """The encoder's part of a `ClassifierOutput`: pooled vectors, (B, 3E), and what they were made of."""

    pooled: Tensor
    raw: Tensor | None
    dropped: Tensor | None
    lengths: Tensor


class TextClassifier(nn.Module):
    """Encoder, concat pooling over the last `max_tokens` tokens of a document, head.

    What a document gets does not depend on the others in its batch, nor on their order or padding, except through
    batch normalization in training. All windows of a batch share one set of dropout masks (fastai draws new ones for
    each window), so windows show in nothing but where the gradient stops.

    Memory: per document the activations of at most ceil(max_tokens / bptt) + 1 windows are kept for backward, and
    those of one window in evaluation without gradient, however long the document is. While no parameter of the
    encoder requires a gradient, nothing of it is kept for backward; its dropouts stay those of training.

    Args:
        encoder_config: Sizes and dropouts of the encoder. `dropout_output` acts before pooling, in addition to the
            head's `dropout_pooled`; the papers' recipe has it 0.
        config: Sizes and dropouts of the rest.

    Attributes:
        host_inputs: The lengths, which decide what is computed, stay on the CPU.

    Source: Howard & Ruder 2018, section 3.3.
    """

    host_inputs = (1,)

    def __init__(self, encoder_config: AWDLSTMConfig, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = AWDLSTM(encoder_config)
        self.head = ClassifierHead(
            3 * encoder_config.embed,
            config.head_hidden,
            config.classes,
            dropout_pooled=config.dropout_pooled,
            dropout_head=config.dropout_head,
        )

    def forward(self, ids: Tensor, lengths: Tensor) -> ClassifierOutput:
        """Classify documents of any lengths in any order.

        Args:
            ids: Word ids, padded behind, (T, B).
            lengths: Tokens of each document, from 1 to T, (B,). On the CPU; elsewhere they cost a synchronization.

        Returns:
            Logits, (B, C), and the pooled states, see `ClassifierOutput`.

        Raises:
            ValueError: A length is below 1 or above T, or there is not one per document.
        """
        states = self._encode(ids, lengths)
        return ClassifierOutput(self.head(states.pooled), states.raw, states.dropped, states.lengths)

    def features(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the pooled vectors [last, maximum, mean] that the head sees, (B, 3E), float32 or float64.

        Args and Raises: as `forward`.
        """
        return self._encode(ids, lengths).pooled

    def layer_groups(self) -> list[tuple[str, list[nn.Parameter]]]:
        """Return the groups of Howard & Ruder's scripts: embedding, each LSTM layer, head."""
        lstms = [(f"lstm{i}", list(lstm.parameters())) for i, lstm in enumerate(self.encoder.lstms, 1)]
        embedding, head = list(self.encoder.embedding.parameters()), list(self.head.parameters())
        return [("embedding", embedding), *lstms, ("head", head)]

    def _encode(self, ids: Tensor, lengths: Tensor) -> PooledStates:
        lengths, order = _checked(lengths.cpu(), ids).sort(descending=True, stable=True)
        bptt = drawn_bptt(self.config.bptt) if self.training and self.config.vary_bptt else self.config.bptt
        plan = WindowPlan.build(lengths, bptt, self.config.max_tokens)
        ids = ids[:, upload(order, ids.device)]
        collect = self.training or torch.is_grad_enabled()
        trains = any(parameter.requires_grad for parameter in self.encoder.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and trains):
            states = self._collect(ids, plan) if collect else self._stream(ids, plan)
        return _reordered(states, upload(order.argsort(), ids.device))

    def _collect(self, ids: Tensor, plan: WindowPlan) -> PooledStates:
        """Keep the states, for backward and for the regularizers of activations."""
        outputs = list(encode_windows(self.encoder, ids, plan))
        raw = left_aligned([(output.window, output.raw) for output in outputs], plan)
        same = all(output.raw is output.dropped for output in outputs)
        dropped = raw if same else left_aligned([(output.window, output.dropped) for output in outputs], plan)
        kept = upload(plan.kept, ids.device)
        return PooledStates(concat_pool(dropped, kept), raw, dropped, kept)

    def _stream(self, ids: Tensor, plan: WindowPlan) -> PooledStates:
        """Pool the states as they come."""
        pool = StreamingPool(plan, self.encoder.config.embed, ids.device, self.encoder.embedding.weight.dtype)
        for output in encode_windows(self.encoder, ids, plan):
            pool.add(output.window, output.dropped)
        return PooledStates(pool.result(), None, None, upload(plan.kept, ids.device))


def _checked(lengths: Tensor, ids: Tensor) -> Tensor:
    steps, batch = ids.shape
    if lengths.shape != (batch,):
        raise ValueError(f"{batch} documents need lengths of shape ({batch},), not {tuple(lengths.shape)}")
    bad = ((lengths < 1) | (lengths > steps)).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"row {bad[0]} has length {int(lengths[bad[0]])}; lengths must be from 1 to {steps}")
    return lengths


def _reordered(states: PooledStates, index: Tensor) -> PooledStates:
    pooled, raw, dropped, lengths = states
    new_raw = None if raw is None else raw[:, index]
    new_dropped = new_raw if dropped is raw else None if dropped is None else dropped[:, index]
    return PooledStates(pooled[index], new_raw, new_dropped, lengths[index])
