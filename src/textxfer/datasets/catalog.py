"""The data sets that are known by name: where their authors published them, under which terms, and how they are read.

Addresses, sizes and checksums are those of the original releases or, for the sets of Zhang et al., of the copies that
fast.ai keeps. Every archive has a SHA-256 here. Those of TREC were computed from copies of its files; the others
are published by other projects for the same addresses: IMDb's, WikiText's and AG News's by several, DBpedia's and
Yelp's by one. A size is given where it is certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from textxfer.datasets.entries import DataSet, Original, Remote
from textxfer.datasets.originals import TREC_CLASSES, numbered_csv, read_imdb, read_trec, read_wikitext

_FASTAI = "https://s3.amazonaws.com/fast-ai-nlp"
_TRAIN_TEST = {"train": ("train.csv.gz",), "test": ("test.csv.gz",)}
_WIKI = {split: (f"{split}.txt.gz",) for split in ("train", "valid", "test")}
_PIECES = tuple(f"train-{piece:02}.txt.xz" for piece in range(4))

_NEWS = ("World", "Sports", "Business", "Sci-Tech")  # the authors write Sci/Tech; a label should do as a file name
_ONTOLOGY = (
    *("Company", "EducationalInstitution", "Artist", "Athlete", "OfficeHolder", "MeanOfTransportation", "Building"),
    *("NaturalPlace", "Village", "Animal", "Plant", "Album", "Film", "WrittenWork"),
)
_ZHANG = 'Zhang, Zhao & LeCun (2015), "Character-level Convolutional Networks for Text Classification", NeurIPS'
_MERITY = 'Merity, Xiong, Bradbury & Socher (2016), "Pointer Sentinel Mixture Models", arXiv:1609.07843'
_YELP_TERMS = (
    "Yelp's own, which forbid to pass the reviews on. The download from a public archive is your own act: "
    "use the copy for research, and give it to nobody."
)


def _zhang(archive: str, size: int, sha256: str, classes: tuple[str, ...], *, escapes: bool = False) -> Original:
    file = Remote(f"{archive}.tgz", (f"{_FASTAI}/{archive}.tgz",), size, sha256)
    paths = {split: f"{archive}/{split}.csv" for split in ("train", "test")}
    return Original((file,), paths, numbered_csv(classes, escapes=escapes))


def _trec(name: str, split: str, size: int, sha256: str) -> Remote:
    urls = tuple(f"{host}/Data/QA/QC/{name}" for host in ("https://cogcomp.seas.upenn.edu", "http://cogcomp.org"))
    return Remote(name, urls, size, sha256, (split,), packed=False)


def _wikitext(name: str, size: int | None, sha256: str) -> Original:
    hosts = ("https://wikitext.smerity.com", "https://s3.amazonaws.com/research.metamind.io/wikitext")
    file = Remote(f"{name}-v1.zip", tuple(f"{host}/{name}-v1.zip" for host in hosts), size, sha256)
    return Original((file,), {split: f"{name}/wiki.{split}.tokens" for split in _WIKI}, read_wikitext)


NAMED: Mapping[str, DataSet] = MappingProxyType(
    {
        "trec": DataSet(
            "TREC question classification, coarse classes",
            _TRAIN_TEST,
            ("text",),
            "label",
            classes=TREC_CLASSES,
            documents={"train": 5_452, "test": 500},
            terms="None stated; published by the University of Illinois for research.",
            citation='Li & Roth (2002), "Learning Question Classifiers", COLING',
            home="https://cogcomp.seas.upenn.edu/Data/QA/QC/",
            original=Original(
                (
                    _trec(
                        "train_5500.label",
                        "train",
                        335_858,
                        "9e4c8bdcaffb96ed61041bd64b564183d52793a8e91d84fc3a8646885f466ec3",
                    ),
                    _trec(
                        "TREC_10.label",
                        "test",
                        23_354,
                        "033f22c028c2bbba9ca682f68ffe204dc1aa6e1cf35dd6207f2d4ca67f0d0e8e",
                    ),
                ),
                {"train": "train_5500.label", "test": "TREC_10.label"},
                read_trec,
            ),
        ),
        "imdb": DataSet(
            "Large Movie Review Dataset v1.0",
            {**_TRAIN_TEST, "unsup": ("unsup.csv.gz",)},
            ("text",),
            "label",
            unlabelled=("unsup",),
            classes=("neg", "pos"),
            documents={"train": 25_000, "test": 25_000, "unsup": 50_000},
            terms="No licence stated. The reviews are their writers' and IMDb's; for research, with the citation.",
            citation='Maas et al. (2011), "Learning Word Vectors for Sentiment Analysis", ACL',
            home="https://ai.stanford.edu/~amaas/data/sentiment/",
            original=Original(
                (
                    Remote(
                        "aclImdb_v1.tar.gz",
                        ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
                        84_125_825,
                        "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
                    ),
                ),
                {"train": "aclImdb/train", "test": "aclImdb/test", "unsup": "aclImdb/train/unsup"},
                read_imdb,
            ),
        ),
        "ag_news": DataSet(
            "AG's news topic classification",
            _TRAIN_TEST,
            ("title", "description"),
            "label",
            classes=_NEWS,
            documents={"train": 120_000, "test": 7_600},
            terms="For research and other purposes that are not commercial, says its readme.",
            citation=_ZHANG,
            home="http://groups.di.unipi.it/~gulli/AG_corpus_of_news_articles.html",
            original=_zhang(
                "ag_news_csv", 11_784_419, "9a8c300eabb45750237fcc669f61cb8a3448f3ef6f6098e1ce340e444f6872be", _NEWS
            ),
        ),
        "dbpedia": DataSet(
            "DBpedia ontology classification",
            _TRAIN_TEST,
            ("title", "description"),
            "label",
            classes=_ONTOLOGY,
            documents={"train": 560_000, "test": 70_000},
            terms="Text of Wikipedia by way of DBpedia: CC BY-SA 3.0 and GFDL.",
            citation=_ZHANG,
            home="https://www.dbpedia.org",
            original=_zhang(
                "dbpedia_csv", 68_341_743, "42db5221ddedddb673a4cabcc5f3a7d869714c878bcfe4ba94b29d14aa38e417", _ONTOLOGY
            ),
        ),
        "dbpedia_sample": DataSet(
            "a sample of the DBpedia ontology set, without titles",
            _TRAIN_TEST,
            ("text",),
            "label",
            classes=_ONTOLOGY,
            documents={"train": 5_000, "test": 5_000},
            terms="Text of Wikipedia by way of DBpedia: CC BY-SA 3.0 and GFDL.",
            citation=_ZHANG,
        ),
        "yelp_polarity": DataSet(
            "Yelp reviews, two classes",
            _TRAIN_TEST,
            ("text",),
            "label",
            classes=("negative", "positive"),
            documents={"train": 560_000, "test": 38_000},
            terms=_YELP_TERMS,
            citation=_ZHANG,
            home="https://www.yelp.com/dataset",
            original=_zhang(
                "yelp_review_polarity_csv",
                166_373_201,
                "528f22e286cad085948acbc3bea7e58188416546b0e364d0ae4ca0ce666abe35",
                ("negative", "positive"),
                escapes=True,
            ),
        ),
        "yelp_full": DataSet(
            "Yelp reviews, one to five stars",
            _TRAIN_TEST,
            ("text",),
            "label",
            classes=("1", "2", "3", "4", "5"),
            documents={"train": 650_000, "test": 50_000},
            terms=_YELP_TERMS,
            citation=_ZHANG,
            home="https://www.yelp.com/dataset",
            original=_zhang(
                "yelp_review_full_csv",
                196_146_755,
                "56006b0a17a370f1e366504b1f2c3e3754e4a3dda17d3e718a885c552869a559",
                ("1", "2", "3", "4", "5"),
                escapes=True,
            ),
        ),
        "wikitext-2": DataSet(
            "WikiText-2, word-level tokens",
            _WIKI,
            documents={"train": 600, "valid": 60, "test": 60},
            terms="Text of Wikipedia: Creative Commons Attribution-ShareAlike.",
            citation=_MERITY,
            home="https://wikitext.smerity.com",
            original=_wikitext(
                "wikitext-2", 4_475_746, "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c"
            ),
        ),
        "wikitext-103": DataSet(
            "WikiText-103, word-level tokens",
            _WIKI,
            documents={"train": 28_475, "valid": 60, "test": 60},
            terms="Text of Wikipedia: Creative Commons Attribution-ShareAlike.",
            citation=_MERITY,
            home="https://wikitext.smerity.com",
            original=_wikitext(
                "wikitext-103", None, "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590"
            ),
        ),
        "wikipedia-en": DataSet(
            "long articles of the English Wikipedia, not tokenized",
            {
                "train": _PIECES,
                **{piece.removesuffix(".txt.xz"): (piece,) for piece in _PIECES},
                "valid": ("valid.txt.xz",),
                "test": ("test.txt.xz",),
            },
            documents={"train": 35_429, "valid": 100, "test": 100},
            terms="Text of Wikipedia: CC BY-SA 3.0 and GFDL; attribution by the articles' page ids.",
            citation="The writers of the articles",
        ),
    }
)
"""The data sets that `load` knows, by name."""
