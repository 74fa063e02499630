from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from textxfer.kernels import cpu_multiplies_bf16


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    cpu_multiplies_bf16.cache_clear()
    yield
    cpu_multiplies_bf16.cache_clear()


@pytest.mark.parametrize(
    "told, expected",
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),  # oneDNN would imitate it
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "aarch64"}, True),
        (None, True),
    ],
)
def test_what_onednn_says_is_checked_where_torch_knows_more(
    told: dict[str, bool] | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(_is_mkldnn_bf16_supported=lambda: True))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    if told is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert cpu_multiplies_bf16() == expected


def test_without_onednn_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not cpu_multiplies_bf16()
