from __future__ import annotations

import math
from typing import Literal, get_args

import pytest
import torch

from textxfer.generation import Sampling, continue_ids, generate
from textxfer.kernels import int8_is_usable
from textxfer.models import AWDLSTMConfig, LanguageModel
from textxfer.models.precision import computing_in
from textxfer.names import Precision
from textxfer.text import RulesTokenizer, SubwordTokenizer, Vocab

TOKENIZER = RulesTokenizer()
TEXT = "the a cat dog bird sat ran flew on under over mat tree roof and or . , !"
WORDS = TEXT.split()
VOCAB = Vocab([*TOKENIZER.specials, *WORDS])
BOS, PAD, UNK = VOCAB.bos_id, VOCAB.pad_id, VOCAB.unk_id
GREEDY = Sampling(temperature=0)


@pytest.fixture
def model() -> LanguageModel:
    """Random, but far from uniform, so that texts vary and the most probable token is clear."""
    model = LanguageModel(AWDLSTMConfig(vocab=len(VOCAB), embed=12, hidden=16, layers=2))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    return model


def reread(model: LanguageModel, prompt: list[int], n_tokens: int, banned: list[int]) -> list[int]:
    """Write greedily by reading all the text again for every token."""
    ids = list(prompt)
    model.eval()
    for _ in range(n_tokens):
        logits = model(torch.tensor(ids).unsqueeze(1)).logits[-1, 0]
        logits[banned] = -torch.inf
        ids.append(int(logits.argmax()))
    return ids[len(prompt) :]


def test_equals_reading_the_whole_text_again_for_every_token(model: LanguageModel) -> None:
    prompts = [[BOS, *VOCAB.ids(words.split()).tolist()] for words in ("the cat sat", "a", "")]
    written = continue_ids(model, prompts, 15, GREEDY, banned=[PAD, UNK])
    assert written == [reread(model, prompt, 15, [PAD, UNK]) for prompt in prompts]
    assert len({tuple(ids) for ids in written}) > 1


def test_every_token_costs_one_step(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    forward = model.encoder.forward
    monkeypatch.setattr(model.encoder, "forward", lambda ids, *rest: steps.append(len(ids)) or forward(ids, *rest))
    continue_ids(model, [[BOS, 9, 10, 11]], 5, GREEDY)
    assert steps == [4, 1, 1, 1, 1, 1]


def test_the_same_seed_gives_the_same_texts_and_leaves_the_global_generator_alone(model: LanguageModel) -> None:
    state = torch.get_rng_state()
    prompts = ["The cat", "A dog"]
    first = generate(model, VOCAB, TOKENIZER, prompts, 30, seed=1, stop=None)
    torch.rand(3)
    assert generate(model, VOCAB, TOKENIZER, prompts, 30, seed=1, stop=None) == first
    assert generate(model, VOCAB, TOKENIZER, prompts, 30, seed=2, stop=None) != first
    torch.set_rng_state(state)
    generate(model, VOCAB, TOKENIZER, prompts, 30, stop=None)
    assert torch.equal(torch.get_rng_state(), state)


def test_top_k_of_one_a_tiny_top_p_and_a_tiny_temperature_are_greedy(model: LanguageModel) -> None:
    greedy = generate(model, VOCAB, TOKENIZER, "The cat", 20, temperature=0, stop=None)
    assert generate(model, VOCAB, TOKENIZER, "The cat", 20, top_k=1, stop=None) == greedy
    assert generate(model, VOCAB, TOKENIZER, "The cat", 20, top_p=1e-6, stop=None) == greedy
    assert generate(model, VOCAB, TOKENIZER, "The cat", 20, temperature=1e-30, stop=None) == greedy


@pytest.mark.parametrize("sampling", [Sampling(5e-324), Sampling(1e-40), Sampling(top_p=1e-300)])
def test_values_below_the_numbers_of_float32_are_greedy(model: LanguageModel, sampling: Sampling) -> None:
    prompts = [[BOS, 9], [BOS, 12]]
    assert continue_ids(model, prompts, 20, sampling, banned=[PAD]) == continue_ids(
        model, prompts, 20, GREEDY, banned=[PAD]
    )


@pytest.mark.parametrize("temperature", [1e38, 1e300])
def test_the_largest_temperatures_make_all_tokens_equally_likely_but_banned_ones(temperature: float) -> None:
    found = shares(Sampling(temperature), [3.0, -math.inf, -4.0, 0.0, 9.0])
    torch.testing.assert_close(found, torch.tensor([0.25, 0, 0.25, 0.25, 0.25]), rtol=0, atol=0.015)
    assert found[1] == 0


def shares(sampling: Sampling, logits: list[float], n: int = 20_000) -> torch.Tensor:
    rows = torch.tensor([logits]).expand(n, -1)
    return sampling.choose(rows, torch.Generator().manual_seed(0)).bincount(minlength=len(logits)) / n


@pytest.mark.parametrize(
    "sampling, expected",
    [
        (Sampling(), [0.1, 0.4, 0.2, 0.3]),
        (Sampling(temperature=0.5), [0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3]),
        (Sampling(top_k=2), [0, 4 / 7, 0, 3 / 7]),
        (Sampling(top_k=9), [0.1, 0.4, 0.2, 0.3]),
        (Sampling(top_p=0.69), [0, 4 / 7, 0, 3 / 7]),
        (Sampling(top_p=0.71), [0, 4 / 9, 2 / 9, 3 / 9]),
        (Sampling(top_p=1.0), [0.1, 0.4, 0.2, 0.3]),
        (Sampling(top_k=2, top_p=0.5), [0.0, 1.0, 0.0, 0.0]),
    ],
)
def test_tokens_are_chosen_with_their_probabilities(sampling: Sampling, expected: list[float]) -> None:
    logits = [math.log(p) + 5 for p in (0.1, 0.4, 0.2, 0.3)]
    torch.testing.assert_close(shares(sampling, logits), torch.tensor(expected), rtol=0, atol=0.015)


@pytest.mark.parametrize("dtype", get_args(Precision))
def test_it_computes_in_other_numbers(model: LanguageModel, dtype: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    if dtype == "int8" and not int8_is_usable(torch.device("cpu")):
        pytest.skip("torch has no 8-bit products here")
    seen = []
    forward = model.encoder.forward
    layer = model.encoder.lstms[0]

    def watch() -> None:
        seen.append((layer.compute_dtype, model.compute_dtype))

    monkeypatch.setattr(model.encoder, "forward", lambda *args: watch() or forward(*args))
    state = torch.get_rng_state()
    model.train()
    text = generate(model, VOCAB, TOKENIZER, "The cat", 5, seed=0, stop=None, dtype=dtype)[0]
    assert text.startswith("The cat") and len(text) > len("The cat")
    with computing_in(model.encoder, dtype):
        assert set(seen) == {(layer.compute_dtype, None)}
    assert layer.compute_dtype is None and model.encoder.training
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_limit_nothing_is_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "topk", lambda *_: pytest.fail("sorted"))
    logits = torch.randn(3, 50)
    expected = (logits / 0.7).softmax(dim=1).multinomial(1, generator=torch.Generator().manual_seed(3))[:, 0]
    for sampling in (Sampling(0.7), Sampling(0.7, top_k=50)):
        assert torch.equal(sampling.choose(logits, torch.Generator().manual_seed(3)), expected)


def test_stop_token_ends_a_text_and_is_not_written(model: LanguageModel) -> None:
    prompts = [[BOS, 9], [BOS, 12], [BOS]]
    free = continue_ids(model, prompts, 12, GREEDY)
    stop = free[0][4]
    stopped = continue_ids(model, prompts, 12, GREEDY, stop_id=stop)
    assert stopped == [ids[: ids.index(stop)] if stop in ids else ids for ids in free]
    assert len(stopped[0]) <= 4


def test_padding_is_never_written_and_unknown_words_only_on_request(model: LanguageModel) -> None:
    assert model.decoder_bias is not None
    with torch.no_grad():
        model.decoder_bias[[PAD, UNK]] = 100.0
    text = generate(model, VOCAB, TOKENIZER, "The cat", 20, seed=0, stop=None)[0]
    assert "xxpad" not in text and "xxunk" not in text
    text = generate(model, VOCAB, TOKENIZER, "The cat", 20, seed=0, stop=None, allow_unknown=True)[0]
    assert text.count("xxunk") == 20


def test_texts_begin_with_their_prompt_even_where_it_is_unknown(model: LanguageModel) -> None:
    texts = generate(model, VOCAB, TOKENIZER, ["The wombat sat", "A dog"], 5, seed=0)
    assert texts[0].startswith("The wombat sat") and texts[1].startswith("A dog")
    assert generate(model, VOCAB, TOKENIZER, ["The wombat sat"], 0) == ["The wombat sat"]
    assert len(generate(model, VOCAB, TOKENIZER, n_tokens=5)) == 1
    assert generate(model, VOCAB, TOKENIZER, []) == []


def test_a_backward_model_writes_from_the_end(model: LanguageModel) -> None:
    prompt = ["sat", "on", "the", "mat"]
    settings = {"temperature": 0, "stop": None, "backward": True, "dtype": "fp32"}
    text = generate(model, VOCAB, TOKENIZER, " ".join(prompt), 6, **settings)[0]  # type: ignore[arg-type]
    ids = [BOS, *VOCAB.ids(prompt[::-1]).tolist()]
    written = VOCAB.to_tokens(reread(model, ids, 6, [PAD, UNK]))
    assert text.endswith("sat on the mat")
    words = [word for word in written[::-1] if word in WORDS[:16]]
    found = iter(text.lower().replace(",", " ").replace(".", " ").replace("!", " ").split())
    assert all(word in found for word in words), "the words stand in the text in reverse order of writing"


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_its_mode_and_without_gradient(model: LanguageModel, training: bool) -> None:
    model.train(training)
    first = generate(model, VOCAB, TOKENIZER, "The cat", 10, seed=0)
    assert model.training is training
    assert first == generate(model, VOCAB, TOKENIZER, "The cat", 10, seed=0)
    with pytest.raises(IndexError):
        continue_ids(model, [[10_000]], 3, GREEDY)
    assert model.training is training


@pytest.mark.parametrize(
    "argument, value, message",
    [
        ("temperature", -0.1, "temperature must be 0"),
        ("temperature", math.nan, "temperature"),
        ("temperature", math.inf, "temperature"),
        ("top_k", 0, "top_k must be at least 1"),
        ("top_p", 0.0, "top_p must be above 0"),
        ("top_p", 1.1, "top_p"),
    ],
)
def test_nonsense_is_refused(argument: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**{argument: value})  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="stop token 'xxeos'"):
        generate(model, VOCAB, TOKENIZER, "The cat", stop="xxeos")
    with pytest.raises(ValueError, match="dtype must be one of"):
        generate(model, VOCAB, TOKENIZER, "The cat", dtype="fp8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the vocabulary has 9 tokens, but the model 27"):
        generate(model, Vocab([*TOKENIZER.specials, "a"]), TOKENIZER, "The cat")
    with pytest.raises(ValueError, match="at least one token"):
        continue_ids(model, [[BOS], []], 3, GREEDY)
    with pytest.raises(ValueError, match="n_tokens"):
        continue_ids(model, [[BOS]], -1, GREEDY)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("backward", [False, True])
def test_pieces_of_words_become_text(kind: Literal["unigram", "bpe"], backward: bool) -> None:
    pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
    prompt = "The Dog flew OVER a tree, öde"
    tokenizer = SubwordTokenizer.train([TEXT, "The cat and the dog sat under a roof.", prompt] * 3, 320, kind)
    vocab = Vocab(tokenizer.pieces)
    model = LanguageModel(AWDLSTMConfig(vocab=len(vocab), embed=12, hidden=16, layers=1))
    [text] = generate(model, vocab, tokenizer, prompt, 12, seed=1, stop=None, backward=backward)
    assert len(text) > len(prompt) and "Dog flew OVER a tree" in text
    assert "\u2581" not in text and "<0x" not in text
