from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from textxfer.models import (
    AWDLSTM,
    AWDLSTMConfig,
    ClassifierConfig,
    LanguageModel,
    TextClassifier,
    TransferReport,
    load_encoder,
    remap_vocab,
    transfer_language_model,
)

OLD = ["xxunk", "xxpad", "a", "b", "c"]
NEW = ["xxunk", "xxpad", "c", "new", "a", "newer"]
CONFIG = AWDLSTMConfig(vocab=len(OLD), embed=4, hidden=6, layers=2)


def test_rows_follow_their_words_and_new_words_get_the_mean() -> None:
    weights = torch.randn(5, 4)
    rows, report = remap_vocab(weights, OLD, NEW, counts=[10, 0, 50, 5, 30, 5])
    mean = weights.mean(dim=0)
    expected = torch.stack([weights[0], weights[1], weights[4], mean, weights[2], mean])
    torch.testing.assert_close(rows, expected)
    assert (report.n_tokens, report.n_new) == (6, 2)
    assert report.matched_types == pytest.approx(4 / 6)
    assert report.matched_mass == pytest.approx(0.9)


def test_of_a_corpus_without_tokens_nothing_is_covered() -> None:
    assert remap_vocab(torch.randn(5, 4), OLD, NEW, counts=[0] * 6)[1].matched_mass == 0


def test_one_number_per_word_is_remapped_too() -> None:
    rows, _ = remap_vocab(torch.tensor([1.0, 2, 3, 4, 5]), OLD, NEW)
    assert rows.tolist() == [1, 2, 5, 3, 3, 3]


def test_the_result_is_a_copy_without_gradient() -> None:
    weights = torch.randn(5, 4, requires_grad=True)
    rows, _ = remap_vocab(weights, OLD, OLD)
    assert not rows.requires_grad and torch.equal(rows, weights)
    rows.zero_()
    assert weights.any()


def test_report_reads_well() -> None:
    assert str(TransferReport(17_430, 3_120, 0.973)) == (
        "matched 82.1 % of the vocabulary's types, 97.3 % of its token mass, 3,120 new tokens got the mean row"
    )
    assert str(TransferReport(10, 1)) == "matched 90.0 % of the vocabulary's types, 1 new token got the mean row"


@pytest.mark.parametrize(
    "old, new, counts, message",
    [
        (OLD[:4], NEW, None, "5 rows of weights, but 4 old tokens"),
        (OLD, NEW, [1], "1 counts, but 6 new tokens"),
        (["a", "b", "a", "c", "b"], NEW, None, "old vocabulary: 'a', 'b'"),
        (OLD, ["x", "x"], None, "new vocabulary: 'x'"),
        (OLD, [], None, "the new vocabulary is empty"),
    ],
)
def test_what_does_not_fit_is_refused(old: list[str], new: list[str], counts: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        remap_vocab(torch.randn(5, 4), old, new, counts)


@pytest.mark.parametrize("tie", [True, False])
def test_language_model_keeps_what_it_knows_about_known_words(tie: bool) -> None:
    source = LanguageModel(replace(CONFIG, tie=tie))
    assert source.decoder_bias is not None
    torch.nn.init.normal_(source.decoder_bias)
    model, report = transfer_language_model(source, OLD, NEW)
    assert model.config == replace(CONFIG, vocab=len(NEW), tie=tie) and report.n_new == 2
    text = ["a", "c", "xxunk", "a"]
    old = source.eval()(torch.tensor([[OLD.index(t)] for t in text])).logits
    new = model.eval()(torch.tensor([[NEW.index(t)] for t in text])).logits
    known = [token for token in NEW if token in OLD]
    torch.testing.assert_close(
        new[..., [NEW.index(t) for t in known]], old[..., [OLD.index(t) for t in known]], rtol=1e-5, atol=1e-6
    )


def test_language_model_from_weights_with_other_dropouts() -> None:
    source = LanguageModel(CONFIG)
    model, _ = transfer_language_model(source.state_dict(), OLD, NEW, config=CONFIG.scaled(0.5))
    assert model.config.dropout_weight == CONFIG.dropout_weight / 2
    assert torch.equal(model.encoder.lstms[0].weight_hh, source.encoder.lstms[0].weight_hh)


def test_order_in_the_file_does_not_matter_names_do() -> None:
    source = LanguageModel(CONFIG)
    shuffled = dict(reversed(source.state_dict().items()))
    model, _ = transfer_language_model(shuffled, OLD, OLD, config=CONFIG)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in model.state_dict().items())


def test_all_differences_are_listed() -> None:
    state = LanguageModel(CONFIG).state_dict()
    state["rnn.weight"] = state.pop("encoder.layers.0.weight_hh")
    with pytest.raises(ValueError) as error:
        transfer_language_model(state, OLD, NEW, config=replace(CONFIG, hidden=7))
    text = str(error.value)
    assert "encoder.layers.0.weight_hh: missing" in text
    assert "rnn.weight: not a parameter" in text
    assert "encoder.layers.0.weight_ih: shape (24, 4), but the language model needs (28, 4)" in text


def test_a_state_dict_needs_a_config() -> None:
    with pytest.raises(ValueError, match="pass config"):
        transfer_language_model(LanguageModel(CONFIG).state_dict(), OLD, NEW)


def test_weights_without_an_embedding_are_refused() -> None:
    with pytest.raises(ValueError, match=r"encoder.embedding.weight: missing"):
        transfer_language_model({"decoder_bias": torch.zeros(5)}, OLD, NEW, config=CONFIG)


def test_encoder_goes_into_a_classifier() -> None:
    source = LanguageModel(CONFIG)
    classifier = TextClassifier(CONFIG.scaled(0.5), ClassifierConfig(classes=2))
    head = {name: value.clone() for name, value in classifier.head.state_dict().items()}
    load_encoder(classifier, source.encoder)
    assert classifier.encoder.config.dropout_weight == CONFIG.dropout_weight / 2
    for name, value in source.encoder.state_dict().items():
        assert torch.equal(classifier.encoder.state_dict()[name], value)
    assert all(torch.equal(classifier.head.state_dict()[name], value) for name, value in head.items())
    source.encoder.embedding.weight.data.zero_()
    assert classifier.encoder.embedding.weight.any(), "the weights are copied, not shared"


def test_an_encoder_of_another_size_changes_nothing() -> None:
    classifier = TextClassifier(CONFIG, ClassifierConfig(classes=2))
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"embedding.weight: shape \(9, 4\), but the classifier's encoder needs \(5, 4\)"
    ):
        load_encoder(classifier, AWDLSTM(replace(CONFIG, vocab=9)))
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
