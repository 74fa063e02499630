"""Weights of old libraries compute after the import what they computed before, and bad files are refused."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.programs.old_nets import FASTAI, HEAD_PLACES, OLD_TOKENS, TOKENS, WORDS, Plain, PlainHead
from textxfer.artifact import ArtifactError, load_artifact, load_language_model
from textxfer.cli import main
from textxfer.importing import Imported, import_weights, match_tokens, read_tokens, read_weights
from textxfer.models import LanguageModel, TextClassifier
from textxfer.text import DataError

TOLERANCE = {"rtol": 0, "atol": 1e-5}


def write(folder: Path, weights: object, tokens: object = TOKENS, **options) -> tuple[Path, Path]:
    """Write weights and vocabulary as old libraries do."""
    places = folder / "model.pth", folder / "itos.pkl"
    torch.save(weights, places[0], **options)
    places[1].write_bytes(pickle.dumps(tokens))
    return places


def logits_of(made: Imported, tokens: list[str], order: list[str]) -> Tensor:
    """Run an imported language model over tokens: logits, with the columns in the order of `order`."""
    model, vocab = made.artifact.model, made.artifact.vocab
    assert isinstance(model, LanguageModel)
    with torch.no_grad():
        logits = model(torch.from_numpy(vocab.ids(tokens))[:, None]).logits[:, 0]
    return logits[:, torch.from_numpy(vocab.ids(order))]


IDS = torch.tensor([2, 10, 4, 9, 0, 12, 10, 11, 8, 1, 3])


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("dropped", [False, True], ids=["fastai 2", "fastai 1"])
def test_a_language_model_of_fastai_computes_the_same(tmp_path, layers, dropped):
    plain = Plain(len(TOKENS), layers)
    made = import_weights(*write(tmp_path, {"model": plain.fastai(dropped=dropped), "opt": {"lr": 1.0}}))
    got = logits_of(made, [TOKENS[i] for i in IDS], TOKENS)
    torch.testing.assert_close(got, plain.logits(IDS), **TOLERANCE)
    assert made.net.kind == "language model"
    assert made.net.encoder.tie
    assert made.artifact.tokenizer.to_dict()["rules"]["kind"] == "fastai"
    assert made.artifact.vocab.tokens[:8] == ("xxunk", "xxpad", "xxbos", "xxfld", "xxrep", "xxwrep", "xxup", "xxmaj")
    assert made.artifact.vocab.tokens[8:] == ("xxeos", *WORDS)


@pytest.mark.parametrize("new_format", [False, True])
def test_a_language_model_of_2018_computes_the_same(tmp_path, new_format):
    plain = Plain(len(OLD_TOKENS))
    files = write(tmp_path, plain.of_2018(), OLD_TOKENS, _use_new_zipfile_serialization=new_format)
    made = import_weights(*files)
    names = {"_unk_": "xxunk", "_pad_": "xxpad", "t_up": "xxup", "xbos": "xxbos", "xfld": "xxfld", "tk_rep": "xxrep"}
    order = [names.get(token, token) for token in OLD_TOKENS]
    got = logits_of(made, [order[i] for i in IDS], order)
    torch.testing.assert_close(got, plain.logits(IDS, bias=False), **TOLERANCE)
    assert (made.net.family, made.tokens.rules, made.tokens.new) == ("2018", "2018", ("xxwrep",))
    assert not made.net.encoder.bias
    assert made.artifact.tokenizer.to_dict()["rules"]["name"] == "2018"
    weight = made.artifact.model.encoder.embedding.weight
    torch.testing.assert_close(weight[made.artifact.vocab["xxwrep"]], plain.embedding.mean(dim=0))


def test_the_mean_row_has_the_mean_bias(tmp_path):
    tokens = [token for token in TOKENS if token != "xxwrep"]
    plain = Plain(len(tokens))
    made = import_weights(*write(tmp_path, plain.fastai(), tokens))
    assert made.tokens.new == ("xxwrep",)
    expected = plain.states(IDS) @ plain.embedding.mean(dim=0) + plain.bias.mean()
    got = logits_of(made, [tokens[i] for i in IDS], ["xxwrep"])
    torch.testing.assert_close(got[:, 0], expected, **TOLERANCE)


def test_a_decoder_of_its_own_is_kept(tmp_path):
    plain = Plain(len(TOKENS))
    plain.decoder = plain.embedding.flip(0) + 1
    made = import_weights(*write(tmp_path, plain.fastai()))
    assert not made.net.encoder.tie
    got = logits_of(made, [TOKENS[i] for i in IDS], TOKENS)
    torch.testing.assert_close(got, plain.logits(IDS), **TOLERANCE)


@pytest.mark.parametrize("of_2018", [False, True])
def test_an_encoder_alone_gets_the_embedding_as_decoder(tmp_path, of_2018):
    plain = Plain(len(TOKENS))
    weights = plain.encoder_of_2018() if of_2018 else plain.encoder_of_fastai(dropped=True)
    made = import_weights(*write(tmp_path, weights))
    assert made.net.kind == "encoder"
    assert any("no decoder in the file" in note for note in made.notes)
    got = logits_of(made, [TOKENS[i] for i in IDS], TOKENS)
    torch.testing.assert_close(got, plain.logits(IDS, bias=False), **TOLERANCE)


def test_half_precision_becomes_float32(tmp_path):
    plain = Plain(len(TOKENS))
    made = import_weights(*write(tmp_path, {name: tensor.half() for name, tensor in plain.fastai().items()}))
    weight = made.artifact.model.encoder.embedding.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight[made.artifact.vocab["cat"]], plain.embedding[TOKENS.index("cat")].half().float())


@pytest.mark.parametrize("place", HEAD_PLACES)
def test_a_classifier_computes_the_same(tmp_path, place):
    plain, head = Plain(len(TOKENS)), PlainHead(biases=not place.startswith("fastai 2"))
    weights, prefix = plain.encoder_of_fastai(dropped=False), "0.module."
    if place == "2018":
        weights, prefix = plain.encoder_of_2018(), "0."
    named = {f"{prefix}{name}": tensor for name, tensor in weights.items()} | head.named(HEAD_PLACES[place])
    made = import_weights(*write(tmp_path, named), classes=["a", "b", "c"])
    model, vocab = made.artifact.model, made.artifact.vocab
    assert isinstance(model, TextClassifier)
    assert model.config.bptt == (72 if place.startswith("fastai 2") else 70)
    with torch.no_grad():
        got = model(torch.from_numpy(vocab.ids([TOKENS[i] for i in IDS]))[:, None], torch.tensor([len(IDS)])).logits
    torch.testing.assert_close(got[0], head.logits(plain.states(IDS)), **TOLERANCE)
    assert made.artifact.classes == ("a", "b", "c")
    assert int(model.head.norm_pooled.num_batches_tracked) == 40


def test_a_classifier_needs_the_names_of_its_classes(tmp_path):
    named = {f"0.module.{n}": t for n, t in Plain(len(TOKENS)).encoder_of_fastai(dropped=False).items()}
    files = write(tmp_path, named | PlainHead().named(HEAD_PLACES["fastai 1"]))
    with pytest.raises(DataError, match=r"3 outputs, and 0 class names.*--classes"):
        import_weights(*files)
    with pytest.raises(DataError, match="twice: a"):
        import_weights(*files, classes=["a", "b", "a"])
    files = write(tmp_path, Plain(len(TOKENS)).fastai())
    with pytest.raises(DataError, match="holds a language model, which has no classes"):
        import_weights(*files, classes=["a"])


def test_other_heads_are_refused_and_the_encoder_named_as_the_way(tmp_path):
    encoder = {f"0.module.{n}": t for n, t in Plain(len(TOKENS)).encoder_of_fastai(dropped=False).items()}
    head = PlainHead().named(HEAD_PLACES["fastai 1"])
    heads = {
        "the layers norm, linear, norm, linear, linear": head | {"1.layers.8.weight": torch.ones(2, 3)},
        "the layers linear, norm, linear, norm": PlainHead().named(("1", "0", "3", "2")),
        "1 output": PlainHead(classes=1).named(HEAD_PLACES["fastai 1"]),
        "of an unknown kind": head | {"1.layers.2.scale": torch.ones(3)},
    }
    for message, weights in heads.items():
        with pytest.raises(ArtifactError, match=rf"{message}.*save_encoder"):
            import_weights(*write(tmp_path, encoder | weights), classes=["a", "b", "c"])


def test_repeats_and_fillers_are_dropped_and_the_last_row_counts(tmp_path):
    tokens = [*TOKENS, "cat", "xxfake", "xxfake", "xxfake"]
    plain = Plain(len(tokens))
    made = import_weights(*write(tmp_path, plain.fastai(), tokens))
    assert made.tokens.dropped == ("cat", "xxfake", "xxfake", "xxfake")
    assert "xxfake" not in made.artifact.vocab
    row = made.artifact.model.encoder.embedding.weight[made.artifact.vocab["cat"]]
    assert torch.equal(row, plain.embedding[len(TOKENS)])
    assert "4 dropped: 'cat', 'xxfake'" in str(made)


def test_a_word_with_one_of_our_names_gives_way():
    matched = match_tokens(["_unk_", "_pad_", "xxup", "the", "t_up"])
    assert matched.old_tokens == ("xxunk", "xxpad", "the", "xxup")
    assert matched.rows == (0, 1, 3, 4)
    assert matched.dropped == ("xxup",)
    assert matched.renamed == 3


def test_rules_can_be_named_and_must_be_if_the_tokens_do_not_tell():
    with pytest.raises(DataError, match="--rules"):
        match_tokens(["the", "cat"])
    assert match_tokens(["the", "cat"], "2018").new == ("xxunk", "xxpad", "xxbos", "xxfld", "xxrep", "xxwrep", "xxup")
    assert match_tokens(TOKENS, "2018").tokens[:7] == ("xxunk", "xxpad", "xxbos", "xxfld", "xxrep", "xxwrep", "xxup")
    assert match_tokens(["_unk_", "_pad_", "a"], "fastai").old_tokens == ("xxunk", "xxpad", "a")


def test_sentence_pieces_are_refused():
    with pytest.raises(ArtifactError, match=r"3 of 12 tokens begin with.*SentencePiece"):
        match_tokens([*FASTAI, "▁the", "▁cat", "▁s"])
    assert match_tokens([*FASTAI, "▁"]).rows[-1] == 9


def test_vocabulary_files_of_all_kinds(tmp_path):
    place = tmp_path / "itos.pkl"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for tokens in (TOKENS, tuple(TOKENS), ["a", *["xxfake"] * 700]):
            place.write_bytes(pickle.dumps(tokens, protocol))
            assert read_tokens(place) == list(tokens)
    (tmp_path / "v.json").write_text(json.dumps(TOKENS), encoding="utf-8")
    assert read_tokens(tmp_path / "v.json") == TOKENS
    lines = [token for token in TOKENS if token != "\n"]
    (tmp_path / "v.txt").write_bytes("\r\n".join([*lines, "\x85", ""]).encode())
    assert read_tokens(tmp_path / "v.txt") == [*lines, "\x85"]


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path):
    bait, place = tmp_path / "bait", tmp_path / "itos.pkl"
    for value in (Payload(bait), ["a", Payload(bait)], Counter("a")):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            place.write_bytes(pickle.dumps(value, protocol))
            with pytest.raises(ArtifactError, match=r"itos\.pkl: no pickle of a list of strings, and not run.*JSON"):
                read_tokens(place)
    assert not bait.exists()
    place.write_bytes(pickle.dumps(Payload(bait)))
    pickle.loads(place.read_bytes())  # the bait works
    assert bait.exists()


def test_weights_that_run_code_are_refused_and_not_run(tmp_path):
    bait = tmp_path / "bait"
    for new_format in (False, True):
        weights = {"model": Plain(len(TOKENS)).fastai(), "opt": Payload(bait)}
        files = write(tmp_path, weights, _use_new_zipfile_serialization=new_format)
        with pytest.raises(
            ArtifactError, match=r"model\.pth: refers to \w+\.mkdir, which is no tensor, and was not run"
        ):
            import_weights(*files)
    files[0].write_bytes(pickle.dumps(Payload(bait)))
    with pytest.raises(ArtifactError, match=r"model\.pth"):
        import_weights(*files)
    assert not bait.exists()


def nested(depth: int) -> tuple:
    value: tuple = ()
    for _ in range(depth):
        value = (value, value)
    return value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps([["a"]]), "lists or tuples in a list"),
        (pickle.dumps(nested(60)), "lists or tuples in a list"),
        (pickle.dumps({"a": 1}), "EMPTY_DICT"),
        (pickle.dumps(["a", 1]), "BININT1"),
        (pickle.dumps(b"abc"), "SHORT_BINBYTES"),
        (pickle.dumps("abc"), "holds a str"),
        (pickle.dumps([]), "empty"),
        (b"\x80\x04]\x8c\x01ar\xff\xff\xff\x7fa.", "places of memory"),
        (b"\x80\x05\x96\x00\x00\x00\x00\x10\x00\x00\x00.", "BYTEARRAY8|damaged"),
        (b"\x80\x04]\x94h\x00a.", "token 0 is a list"),
        (b"\x80\x04]h\x07a.", "no pickle of a list|damaged"),
        (b"\x80\x04a.", "damaged|no pickle"),
        (pickle.dumps(TOKENS)[:-9], "damaged"),
        (b"no pickle at all", "damaged|no pickle"),
        (b"", "damaged"),
    ],
)
def test_other_and_damaged_pickles_are_refused(tmp_path, data, message):
    place = tmp_path / "itos.pkl"
    place.write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"itos\.pkl.*({message})"):
        read_tokens(place)


def test_other_vocabulary_files_are_refused(tmp_path, monkeypatch):
    cases = {"a.json": b'{"a": 1}', "b.json": b'["a", 2]', "c.json": b"[", "d.txt": b"\xff\xfe", "e.txt": b"a\n\nb\n"}
    messages = ["holds a dict", "token 1 is a int", "not readable", "not UTF-8", "line 2 is empty"]
    for (name, data), message in zip(cases.items(), messages):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ArtifactError, match=rf"{name}.*{message}"):
            read_tokens(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_tokens(tmp_path / "nowhere.pkl")
    monkeypatch.setattr("textxfer.importing.vocab_files.MAX_BYTES", 3)
    with pytest.raises(ArtifactError, match="8 bytes are no vocabulary"):
        read_tokens(tmp_path / "a.json")


def test_a_vocabulary_of_another_length_is_refused(tmp_path):
    files = write(tmp_path, Plain(len(TOKENS)).fastai(), TOKENS[:-1])
    with pytest.raises(ArtifactError, match=r"itos\.pkl has 15 tokens, but .*model\.pth has 16 rows"):
        import_weights(*files)


@pytest.mark.parametrize("new_format", [False, True])
def test_truncated_weights_are_refused(tmp_path, new_format):
    files = write(tmp_path, Plain(len(TOKENS)).fastai(), _use_new_zipfile_serialization=new_format)
    data = files[0].read_bytes()
    for length in (0, 3, 20, len(data) // 2, len(data) - 30):
        files[0].write_bytes(data[:length])
        with pytest.raises(ArtifactError, match=r"model\.pth"):
            import_weights(*files)


def test_files_that_are_no_weights_are_refused(tmp_path):
    place = tmp_path / "model.h5"
    place.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ArtifactError, match="an HDF5 file"):
        read_weights(place)
    values = {
        "holds a list": [torch.ones(2)],
        "holds a dict": {},
        "a is a str": {"a": "b"},
        "a has numbers of type torch.int64": {"a": torch.ones(2, dtype=torch.int64)},
        "a holds numbers that are not finite": {"a": torch.tensor([1.0, torch.nan])},
        "a is no plain tensor": {"a": torch.zeros(1).expand(1 << 40)},
    }
    for message, value in values.items():
        torch.save(value, place)
        with pytest.raises(ArtifactError, match=rf"model\.h5: {message}"):
            read_weights(place)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_weights(tmp_path / "nowhere.pth")


def test_all_names_and_shapes_that_are_wrong_are_listed(tmp_path):
    plain = Plain(len(TOKENS))
    weights = plain.fastai()
    del weights["0.rnns.1.module.bias_hh_l0"], weights["0.rnns.2.weight_hh_l0_raw"]
    weights |= {"0.extra": torch.ones(1), "0.encoder_dp.emb.weight": plain.embedding + 1}
    with pytest.raises(ArtifactError) as caught:
        import_weights(*write(tmp_path, weights))
    for part in ("0.rnns.1: no bias_hh_l0", "0.rnns.2: no weight_hh_l0_raw", "0.extra: unknown", "emb.weight: differs"):
        assert part in str(caught.value)
    weights = plain.fastai() | {"1.decoder.bias": torch.ones(3), "0.rnns.1.module.weight_ih_l0": torch.ones(40, 9)}
    with pytest.raises(ArtifactError) as caught:
        import_weights(*write(tmp_path, weights))
    assert "1.decoder.bias: shape (3,), but (16,) is needed" in str(caught.value)
    assert "0.rnns.1.module.weight_ih_l0: shape (40, 9), but (40, 10) is needed" in str(caught.value)
    with pytest.raises(ArtifactError, match="a decoder and a classifier's head"):
        import_weights(*write(tmp_path, plain.fastai() | PlainHead().named(HEAD_PLACES["fastai 1"])))
    weights = plain.fastai() | {"0.rnns.0.weight_hh_l0_raw": torch.ones(7)}
    with pytest.raises(ArtifactError, match=r"0\.rnns\.0\.weight_hh_l0_raw: shape \(7,\)"):
        import_weights(*write(tmp_path, weights))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0.rnns.0.layers.0.linear.weight_raw", "a QRNN"),
        ("0.rnns.0.linear.module.weight_raw", "a QRNN"),
        ("0.layers.0.mhra.attention.weight", "a Transformer"),
        ("0.rnns.0.module.weight_ih_l0_reverse", "both ways"),
    ],
)
def test_other_nets_are_refused(tmp_path, name, message):
    files = write(tmp_path, {"0.encoder.weight": torch.ones(16, 6), name: torch.ones(2, 2)})
    with pytest.raises(ArtifactError, match=rf"{message}.*{name}"):
        import_weights(*files)
    with pytest.raises(ArtifactError, match=r"no encoder\.weight in it.*conv"):
        import_weights(*write(tmp_path, {"conv": torch.ones(1)}))


def test_gates_of_a_gru_are_refused(tmp_path):
    weights = Plain(len(TOKENS)).fastai() | {"0.rnns.0.module.weight_ih_l0": torch.ones(30, 6)}
    with pytest.raises(ArtifactError, match="three gates"):
        import_weights(*write(tmp_path, weights))


def test_the_command_writes_a_model_folder_and_says_what_it_found(tmp_path, capsys):
    tokens = [*TOKENS, "xxfake"]
    plain = Plain(len(tokens))
    weights, vocab = write(tmp_path, plain.fastai(), tokens)
    out = tmp_path / "out"
    assert main(["import", str(weights), str(vocab), "--out", str(out), "--backward"]) == 0
    printed = capsys.readouterr().out
    assert "language model of fastai 2 or 1: embedding 6, hidden 10, 3 layers, decoder tied, with bias" in printed
    assert "17 tokens" not in printed
    assert "16 tokens: 16 kept their rows, 6 of them moved; 1 dropped: 'xxfake'" in printed
    model, artifact = load_language_model(out)
    assert artifact.backward
    assert artifact.card["imported"]["files"].keys() == {"model.pth", "itos.pkl"}
    ids = torch.from_numpy(artifact.vocab.ids([tokens[i] for i in IDS]))
    with torch.no_grad():
        got = model(ids[:, None]).logits[:, 0, torch.from_numpy(artifact.vocab.ids(TOKENS))]
    torch.testing.assert_close(got, plain.logits(IDS)[:, :-1], **TOLERANCE)

    assert main(["import", str(weights), str(vocab), "--out", str(out)]) == 2
    assert "--replace" in capsys.readouterr().err
    assert main(["import", str(weights), str(vocab), "--out", str(out), "--replace", "--rules", "2018"]) == 0
    assert not load_artifact(out).backward
    vocab.write_bytes(pickle.dumps(Counter("a")))
    assert main(["import", str(weights), str(vocab), "--out", str(tmp_path / "other")]) == 2
    assert "not run" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_an_imported_classifier_predicts(tmp_path, capsys):
    named = {f"0.module.{n}": t for n, t in Plain(len(TOKENS)).encoder_of_fastai(dropped=False).items()}
    files = write(tmp_path, named | PlainHead(biases=False).named(HEAD_PLACES["fastai 2"]))
    out = tmp_path / "out"
    assert main(["import", *map(str, files), "--out", str(out), "--classes", "a", "b", "c"]) == 0
    assert "head 18 to 5 to 3 classes" in capsys.readouterr().out
    assert main(["predict", str(out), "the cat sat", "--dtype", "fp32", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.split("\t")[1] in "abc"
    assert main(["import", *map(str, files), "--out", str(tmp_path / "other"), "--language", "zz-none"]) == 2


def test_an_unknown_language_is_an_error(tmp_path):
    with pytest.raises(DataError, match="zz"):
        import_weights(*write(tmp_path, Plain(len(TOKENS)).fastai()), language="zz")


def test_fastai_itself_computes_the_same(tmp_path):
    """Train fastai's nets for a moment, save them in its ways, import and compare; in a process of its own."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('fastai') is None)"
    if subprocess.run([sys.executable, "-c", code], check=False).returncode:
        pytest.skip("fastai is not installed (benchmarks/fastai-requirements.txt)")
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.import_check", "--tiny"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.rsplit("|", 1) for line in done.stdout.splitlines() if "|" in line]
    assert len(rows) == 5
    assert all(float(difference) < 1e-5 for _, difference in rows)
