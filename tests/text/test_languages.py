"""Languages and scripts: nothing is lost, the case is marked, and words can be tokenized one by one."""

# ruff: noqa: RUF001 - letters of other scripts are meant

from __future__ import annotations

import random
import re
import unicodedata
from dataclasses import replace
from importlib.util import find_spec

import pytest
import spacy

from textxfer.text.cleaning import clean
from textxfer.text.neighbours import Neighbours
from textxfer.text.rule_sets import rules
from textxfer.text.rules import Rules
from textxfer.text.specials import SPECIALS
from textxfer.text.spelling import join_pieces
from textxfer.text.subword import SubwordTokenizer
from textxfer.text.tokenizer import RulesTokenizer, SpacyTokenizer, Tokenizer

EMOJI = "👩🏽\u200d💻 👨\u200d👩\u200d👧 🇺🇦🇧🇷 ❤\ufe0f 👍🏿"
TEXTS = {
    "en": "Anna's café wasn't OPEN (she'd said so), but we paid $3.50 there in 2019.",
    "de": "Die Straße ist GROSS, das Mädchen läuft ÜBER die Brücke; z.B. am 3. Mai um 10:30 Uhr.",
    "fr": "L'été dernier, NOUS avons mangé des crêpes à l'hôtel : « c'était bon ! », dit-elle.",
    "es": "¿Dónde está EL niño? ¡Mañana comerá piñas con su tía, por 2,50 €!",
    "it": "L'amica di Niccolò È arrivata: «com'è bella la città», disse all'uomo.",
    "pt": "A AVÓ não comeu pão; João pôs a maçã à mesa às 8h30.",
    "nl": "De zee is vandaag KOUD, maar 's avonds zwemmen we in het IJsselmeer.",
    "ru": "Москва БОЛЬШАЯ, и в ней живёт мой дед; ёлка стоит 500 руб.",
    "uk": "Мій ДРУГ з'їв п'ять яблук, бо ґанок і їжак чекали в Києві.",
    "el": "Ο ΟΔΥΣΣΕΑΣ ταξίδεψε στη θάλασσα· πότε θα γυρίσει στην Ιθάκη;",
    "tr": "Işık İZMİR'de söndü, ılık IRMAK kıyısında çığlık attı.",
    "ar": "ذهبَ الولدُ إلى المدرسةِ، ثمّ عادَ في الساعة ٣ مساءً؟",
    "he": "הַיֶּלֶד הלך לבית־הספר, ואמר: «שלום» לכולם.",
    "fa": "او می\u200cخواهد کتاب‌ها را بخواند؛ قیمت ۲۵۰ تومان است.",
    "hi": "लड़की ने हिन्दी में चिट्ठी लिखी। क्या वह ज़रूर आएगी?",
    "bn": "মেয়েটি বাংলায় চিঠি লিখল। সে কি কাল আসবে?",
    "zh": "我们昨天在北京吃了饺子，花了30元。你呢？",
    "fi": "Äiti SÖI puuroa, eikä yöllä enää ollut nälkä.",
    "sv": "Ön ÄR vacker, och åren går så fort på Gotland.",
}
MARKS = {
    "en": ["xxmaj anna", "xxup open"],
    "de": ["xxmaj die", "xxmaj straße", "xxup gross", "xxmaj mädchen", "xxup über", "xxmaj brücke"],
    "fr": ["xxmaj l'", "xxup nous"],
    "es": ["xxmaj dónde", "xxup el", "xxmaj mañana"],
    "it": ["xxmaj niccolò", "xxmaj è"],
    "pt": ["xxup avó", "xxmaj joão"],
    "nl": ["xxmaj de", "xxup koud"],
    "ru": ["xxmaj москва", "xxup большая"],
    "uk": ["xxmaj мій", "xxup друг", "xxmaj києві"],
    "el": ["xxup οδυσσεας", "xxmaj ιθάκη"],
    "tr": ["xxup irmak"],
    "fi": ["xxmaj äiti", "xxup söi"],
    "sv": ["xxmaj ön", "xxup är", "xxmaj gotland"],
}
NEED_PACKAGES = {"ja": "sudachipy", "ko": "natto", "th": "pythainlp", "vi": "pyvi"}
UNSPACED = {"ja": "きのう東京で寿司を食べました。", "th": "เมื่อวานฉันกินข้าวที่กรุงเทพ", "km": "ខ្ញុំចូលចិត្តអានសៀវភៅ"}
SPACED_ELSEWHERE = {"ko": "어제 서울에서 김치를 먹었습니다.", "vi": "Hôm qua TÔI ăn phở ở Hà Nội."}
ALL = {**TEXTS, **UNSPACED, **SPACED_ELSEWHERE, "emoji": EMOJI}

SUBWORDS = SubwordTokenizer.train([*ALL.values()] * 3, 2000)


def bare(text: str) -> str:
    """A text without white space, case and the accidents of encoding."""
    text = unicodedata.normalize("NFC", clean(text, normalize=True))
    return unicodedata.normalize("NFC", "".join(text.casefold().split()))


def joined(tokens: list[str]) -> str:
    return bare("".join(token for token in tokens if token not in SPECIALS))


def shown(tokens: list[str]) -> str:
    return " ".join(tokens)


@pytest.mark.parametrize("language", TEXTS)
def test_nothing_is_lost_and_the_case_is_marked(language: str) -> None:
    text = f"{TEXTS[language]}\n{EMOJI}"
    tokens = SpacyTokenizer(language)(text)
    assert joined(tokens) == bare(text)
    for mark in MARKS.get(language, []):
        assert f" {mark} " in shown(tokens)
    if language not in MARKS:  # scripts without capitals
        assert {token for token in tokens if token in SPECIALS} == {"xxbos"}


@pytest.mark.parametrize("language", ALL)
def test_rules_alone_lose_nothing_in_any_language(language: str) -> None:
    tokens = RulesTokenizer()(ALL[language])
    assert joined(tokens) == bare(ALL[language])
    for mark in MARKS.get(language, []):
        assert f" {mark} " in shown(tokens)


@pytest.mark.parametrize("language", ALL)
def test_subwords_bring_every_language_back(language: str) -> None:
    text = clean(ALL[language], normalize=True)
    back = " ".join(join_pieces(SUBWORDS(text))[1:])
    assert back.casefold() == text.casefold()
    if language not in ("nl", "tr"):  # "IJsselmeer" has capitals that no mark tells, "İ" becomes two characters
        assert back == text


@pytest.mark.parametrize("language", [*TEXTS, "ja", "ko", "th", "vi", "km"])
def test_subwords_know_characters_of_every_language(language: str) -> None:
    tokens = SUBWORDS(ALL[language])
    assert "xxunk" not in tokens
    assert not any(token.startswith("<0x") for token in tokens)
    assert len(tokens) < len(ALL[language])


@pytest.mark.parametrize("language", TEXTS)
def test_words_alone_are_what_the_whole_text_is(language: str) -> None:
    text = f"{TEXTS[language]} {TEXTS['en']} {EMOJI}"
    chosen = rules("default")
    whole = [token.text for token in spacy.blank(language).tokenizer(chosen.pre(text)) if not token.is_space]
    assert SpacyTokenizer(language)(text) == chosen.post(whole)


@pytest.mark.parametrize("language", TEXTS)
def test_composed_and_decomposed_characters_are_the_same(language: str) -> None:
    text, composed = ALL[language], unicodedata.normalize("NFC", ALL[language])
    decomposed = unicodedata.normalize("NFD", text)
    tokenizers: list[Tokenizer] = [SpacyTokenizer(language), RulesTokenizer(), SUBWORDS]
    for tokenizer in tokenizers:
        assert tokenizer(decomposed) == tokenizer(composed) == tokenizer(text)


def test_normalization_is_stated_and_can_be_switched_off() -> None:
    plain = replace(rules("default"), normalize=False)
    assert rules("default").to_dict()["normalize"] != plain.to_dict()["normalize"]
    assert Rules.from_dict(plain.to_dict()) == plain
    assert plain.fingerprint != rules("default").fingerprint
    assert RulesTokenizer(plain).fingerprint != RulesTokenizer().fingerprint
    for decomposed in ("cafe\u0301", "и\u0306", "\u1112\u1161\u11ab"):
        composed = unicodedata.normalize("NFC", decomposed)
        assert composed != decomposed
        assert RulesTokenizer()(decomposed)[1:] == [composed]
        assert RulesTokenizer(plain)(decomposed)[1:] == [decomposed]


def test_characters_that_belong_together_stay_together() -> None:
    assert RulesTokenizer()(EMOJI)[1:] == ["👩🏽\u200d💻", "👨\u200d👩\u200d👧", "🇺🇦", "🇧🇷", "❤\ufe0f", "👍🏿"]
    tokens = RulesTokenizer()(f"{TEXTS['hi']} {TEXTS['fa']} {TEXTS['he']}")
    words = ["लड़की", "चिट्ठी", "می\u200cخواهد", "הַיֶּלֶד"]
    assert {unicodedata.normalize("NFC", word) for word in words} <= set(tokens)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ÜBER Über über", "xxup über xxmaj über über"),
        ("STRASSE Straße ẞ", "xxup strasse xxmaj straße xxmaj ß"),
        ("ПРИВЕТ Мир мир", "xxup привет xxmaj мир мир"),
        ("ΟΔΟΣ Οδός", "xxup οδος xxmaj οδός"),
        ("IRMAK ırmak İzmir", "xxup irmak ırmak xxmaj i\u0307zmir"),  # case is Unicode's, not that of Turkish
        ("ԵՐԵՎԱՆ Երևան", "xxup երեվան xxmaj երևան"),
        ("你好 हिन्दी עברית", "你 好 हिन्दी עברית"),
    ],
)
def test_case_marks_beyond_ascii(text: str, expected: str) -> None:
    assert RulesTokenizer()(text)[1:] == expected.split(" ")


@pytest.mark.parametrize("language", TEXTS)
def test_only_special_cases_with_spaces_look_across_them(language: str) -> None:
    """Of the languages above, these four have abbreviations with a space inside."""
    special = getattr(spacy.blank(language).tokenizer, "rules", None) or {}
    spaced = [case for case in special if re.search(r"\S\s+\S", case)]
    assert bool(spaced) == (language in ("es", "ru", "el", "ar"))


@pytest.mark.parametrize(("language", "package"), NEED_PACKAGES.items())
def test_a_language_that_needs_a_package_names_it(language: str, package: str) -> None:
    if find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises((ImportError, ValueError), match=f"(?i){package}"):
        SpacyTokenizer(language)("text")


def test_a_word_does_not_depend_on_what_is_tokenized_with_it() -> None:
    """spaCy looks for emoticons across spaces, and finds none where two overlap."""
    tokenizer = SpacyTokenizer("en")
    for words in (["km:(", "("], [")", ":)="], [":", "):%"]):
        alone = [tokenizer.tokenize_chunks([word])[0] for word in words]
        assert tokenizer.tokenize_chunks(words) == alone


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("es", "viven en EE. UU. ahora"),
        ("ru", "книги в т.ч. новые"),
        ("el", "στη Μ. Ασία τότε"),
        ("ar", "عام ٣٠ ب. م هنا"),
    ],
)
def test_special_cases_with_spaces_are_found(language: str, text: str) -> None:
    chosen = rules("default")
    whole = chosen.post([token.text for token in spacy.blank(language).tokenizer(chosen.pre(text))])
    assert SpacyTokenizer(language)(text) == whole


def test_words_are_joined_wherever_they_may_belong_together() -> None:
    neighbours = Neighbours(spacy.blank("en").tokenizer)
    parts = [*"a:;)(-'.x", ":)", "(:", "'s", "He", "\n", "\n ", "so:", "(so"]
    generator = random.Random(0)
    for _ in range(300):
        chunks = generator.choices(parts, k=generator.randint(0, 12))
        joined: list[str] = []
        for i, chunk in enumerate(chunks):  # the plain way: each pair of neighbours is looked at
            if i and neighbours._together(chunks[i - 1].lower(), chunk.lower()):
                joined[-1] += f" {chunk}"
            else:
                joined.append(chunk)
        assert neighbours.join(chunks) == joined
