"""Gather free running text with marks, sentence by sentence: what the counts of nhin restore learn from.

    python scripts/make_marks_corpus.py CHECKOUTS OUT

CHECKOUTS holds the repositories of ``SOURCES`` as CHECKOUTS/owner/name, each at its commit. OUT gets a text
for each source: a sentence a line, its words in NFC, the tone sign in the older place (``hòa``); prose only,
no code, no sentence twice. ``OUT/train``, ``OUT/dev`` and ``OUT/test`` share no sentence. Sources to measure
on are whole in ``OUT/held-out``, and what they hold is in no other part.
"""

import argparse
import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from nhin.files import write_atomic
from nhin.text.letters import nfc, strip_marks
from nhin.text.syllables import all_syllables, older_spellings

SHARE_KNOWN, SHARE_MARKED, MIN_WORDS = 0.85, 0.3, 3
HELD_OUT = 200  # one sentence in so many is for dev, another for test


class Source(NamedTuple):
    """Files of a repository, and how they may be passed on; ``share`` of their sentences is taken."""

    name: str
    repository: str
    commit: str
    license: str
    files: tuple[str, ...]
    share: float = 1.0
    learn: bool = True


# Books that khudocmo brought into electronic form, a repository each: public domain in Vietnam, editions CC0.
NOVELS_TO_MEASURE = {
    "ngo-tat-to_tat-den": "9c1d1ffd39e6ee7663eeb9f84a2789cb2b486a6d",
    "vu-trong-phung_so-do": "b7e4e22cb1239000b6c856bb651301d08138839b",
}
BOOKS = {
    "ho-chi-minh_ban-an-che-do-thuc-dan-phap": "869bd7f8af05043f4fa944430ce12d0da7f4b3d7",
    "ho-chi-minh_vua-di-duong-vua-ke-chuyen": "faaf452c2294a12674fe9417811d714434f332b4",
    "hoang-dao_con-duong-sang": "f25c72123975d25940fc8b932f3f55be87e720ea",
    "hoang-dao_truoc-vanh-mong-ngua": "8433552177c8184592ca5ccec99ad2dff304ad3f",
    "khai-hung_dep": "6d1faba0e5d2258aaa9fdc01d0fb78104429b372",
    "khai-hung_gia-dinh": "63949df37f4bfd59ac609dccee439fbf1dc72251",
    "khai-hung_hanh": "b6ef3039d7ee7c8d4e6f40253ab863372e63fd38",
    "khai-hung_hon-buom-mo-tien": "0e7e0c9968fe78821f7188b2dff652b0b8b4a118",
    "khai-hung_nua-chung-xuan": "cd0a6e5da835f7a726ce2e3e38ff7af7929729c9",
    "khai-hung_tieu-son-trang-si": "91fee7997bf83004dc4e3fad061ba01cc5258ba9",
    "nam-cao_song-mon": "b8cad2213b33b0f1a827d17ff420ef3470e720e2",
    "ngo-tat-to_leu-chong": "56e58232914586c5433626b5abfe8ea24eb3db0d",
    "ngo-tat-to_viec-lang": "566264b1677ea43f40799ebc16af59a125ab62ca",
    "nguyen-huy-tuong_an-tu-cong-chua": "94d7c89e1583ce3041acee430357110aa51a6c75",
    "nguyen-huy-tuong_luy-hoa": "4b7ee295ecdf88054e379bf125d079df13fd01d6",
    "nguyen-huy-tuong_song-mai-voi-thu-do": "078c2e8deac8a50afc42b565dcbeb110993b3bb1",
    "nhat-linh_buom-trang": "9a5c44dc8cfb78b632a8249a72da9f65b8b4a1aa",
    "nhat-linh_doan-tuyet": "96962ed301903e731965573a85435e2d770bdebd",
    "nhat-linh_doi-ban": "cc297a88ac4cc4cff7593e3bfe8d52be1f0975ff",
    "nhat-linh_giong-song-thanh-thuy": "766825ff2b1c10fb58905117d6bc6c8d8d7e1743",
    "nhat-linh_viet-va-doc-tieu-thuyet": "43930f68554c019c34f18123c08de795da7ef6b7",
    "nhat-linh_xom-cau-moi": "d29d4a8243ca6132b161f58419d9a6c0a71e2512",
    "thach-lam_gio-dau-mua": "9942dd3f0d66b99d37079265750e7ec3c4e3edae",
    "thach-lam_ha-noi-36-pho-phuong": "2c6e3d070654aadeb4511688131d4c612b9a646c",
    "thach-lam_nang-trong-vuon": "d750399797a19027fe0fbde7ed6b2f38a452d033",
    "thach-lam_soi-toc": "6ec8e0c94be8fb6b0fc81c66746f7de64066be0b",
    "tran-trong-kim_nho-giao": "3c6c01aecfedbb105e4c0b803e86407902265d28",
    "vu-trong-phung_cam-bay-nguoi": "7820837b21f84b1823edc9eb2f62c4217270376e",
    "vu-trong-phung_com-thay-com-co": "4fc218ef2f731971fe43c13a3a912dcaa52e88c8",
    "vu-trong-phung_dut-tinh": "87ef7ea54ab50c19e5d117ffd88ecad6e8f1c175",
    "vu-trong-phung_giong-to": "9898b9ee39d00bf0f698ebe45d4bda4e4cdab70f",
    "vu-trong-phung_ky-nghe-lay-tay": "5e59359e7171a2a8e678b4b082c0b5fdfa60b77e",
    "vu-trong-phung_lam-di": "b710174e815f38a127b2dedfc7255f89cfad3f09",
    "vu-trong-phung_lay-nhau-vi-tinh": "d3ab3067a6b05f16578fbae71b2bb9d89474596d",
    "vu-trong-phung_trung-so-doc-dac": "1465562df91e18cf1973ff2d3e12011973e2cc60",
    "vu-trong-phung_vo-de": "7bded5d6ec2770792d08a93a391e5fb0a2d597fe",
    "truyen-ngan-nam-cao": "049faf18d1313ded145258e4da1a4725cace9fbe",
}


def list_books(name: str, books: dict[str, str], learn: bool) -> list[Source]:
    """Return a source for each book, all under one name."""
    terms = "public domain in Vietnam, edition CC0"
    return [
        Source(name, f"khudocmo/{book}", commit, terms, ("doc.md",), learn=learn)
        for book, commit in books.items()
    ]


SOURCES = (
    *list_books("novels", NOVELS_TO_MEASURE, False),
    Source("news", "UniversalDependencies/UD_Vietnamese-VTB", "e8fa54835582fb5d0c767f19f0992675726fa084",
           "CC BY-SA 4.0", ("*.conllu",), learn=False),
    Source("speech", "UniversalDependencies/UD_Vietnamese-TueCL", "c4461c65d4875a9bf85517ea83eae82e470cd198",
           "CC BY-SA 4.0", ("*.conllu",), learn=False),
    Source("phrases", "hiepnguyen034/Neural-machine-translator", "ca3ae303c01408a68f0a06117a0e9825a764093e",
           "Tatoeba's, CC BY 2.0 FR by its look; only measured on", ("eng_vie_data/vie.txt",), learn=False),
    *list_books("books", BOOKS, True),
    Source("encyclopedia", "undertheseanlp/corpus.viwiki", "0b727cc0461e1de6435d4ec70c99dc86253e56d8",
           "CC BY-SA 3.0 (Vietnamese Wikipedia, 2017)", ("viwiki/*.txt",)),
    Source("law", "diepxuan/diepxuan.github.io", "fbaa690e1c9ff35deabbf5e9a8b8830ce3d54048",
           "official texts, outside copyright (Law 50/2005/QH11, article 15)", ("van-ban/*/*.md",), 0.2),
    Source("voices", "mozilla/voice-web", "e0bfbc4be9eb6a97f7dd92eb938200f09f04ba96",
           "CC0 (sentences of Common Voice)", ("server/data/vi/*.txt",)),
    Source("textbook", "d2l-ai/d2l-vi", "c775d6b4998e6243ec5d11f950e67679555a2c74",
           "CC BY-SA 4.0", ("chapter_*/*_vn.md", "chapter_*/*.md")),
    Source("web", "tamnd/mdn-translated-content-vi", "ae75a22dbb491eb2bdae41e163d133ebd46f91da",
           "CC BY-SA 2.5 (MDN)", ("files/vi/**/*.md",), 0.15),
    Source("go", "tamnd/golang-website-vi", "365a36281ec318c669f9104be2111eacb77b7fd9",
           "BSD 3-clause", ("_content_vi/**/*.md",), 0.3),
    Source("react", "reactjs/vi.react.dev", "b149357cfb8ae87f02ef108132114e5641d5c16f",
           "CC BY 4.0", ("src/content/**/*.md",)),
)  # fmt: skip

_CODE = re.compile(
    r"\A---\n.*?\n---\n|```.*?```|~~~.*?~~~|<(script|style|pre)\b.*?</\1>|<[^>\n]{1,300}>|\{\{.*?\}\}|\{#.*?\}"
    r"|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]{1,200}\$|:[a-z]+:|!\[[^\]]*\]\([^)]*\)|\]\([^)\s]*\)|https?://\S+",
    re.DOTALL,
)
_BREAKS = re.compile(r"\n\s*(?:[-*+>#|=]|\d+[.)])|[|•]|\n\s*\n|==+")  # where a sentence ends without a stop
_ENDS = re.compile(r"(?<=[.!?;:…])\s+")
_STOPS = re.compile(r"[.!?;:…\n\r]+")  # as in nhin.data.pairs.marks
_WORD = re.compile(r"[^\W\d_]+")
_strip = lru_cache(2**16)(strip_marks)


def read_prose(path: Path) -> Iterator[str]:
    """Yield the parts of a file that may be sentences, without code and markup."""
    text = nfc(path.read_text("utf-8", errors="replace"))
    if path.suffix == ".conllu":
        for line in text.splitlines():
            if line.startswith("# text ="):
                yield line[8:].strip()
        return
    if path.suffix == ".md":
        text = _CODE.sub(" ", text)
        text = _BREAKS.sub("\n\n", text)
        text = re.sub(r"(?<!\n)\n(?!\n)", " ", text)
    for line in text.splitlines():
        yield from _ENDS.split(line.strip())


def find_sentences(part: str, older: dict[str, str]) -> list[str]:
    """Return the sentences of a part of a text if it is Vietnamese with marks, otherwise none."""
    sentences: list[list[str]] = [_WORD.findall(sentence) for sentence in _STOPS.split(part)]
    words = [word.lower() for sentence in sentences for word in sentence]
    known = sum(word in all_syllables() for word in words)
    marked = sum(_strip(word) != word for word in words)
    if len(words) < MIN_WORDS or known < SHARE_KNOWN * len(words) or marked < SHARE_MARKED * len(words):
        return []
    return [" ".join(older.get(word, word) for word in sentence) for sentence in sentences if sentence[1:]]


def read_sentences(root: Path, files: tuple[str, ...], older: dict[str, str]) -> Iterator[str]:
    """Yield the sentences of files of a repository, in the order of their names."""
    for path in sorted({path for pattern in files for path in root.glob(pattern)}):
        for part in read_prose(path):
            yield from find_sentences(part, older)


def draw(sentence: str) -> float:
    """Return a number from 0 to 1 that depends on the words of a sentence alone."""
    digest = hashlib.blake2b(sentence.lower().encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def main() -> None:
    """Read every source, the ones to measure on first, and write its parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    changes = (str.lower, str.capitalize, str.upper)
    older = {change(new): change(old) for new, old in older_spellings().items() for change in changes}
    seen = set[float]()
    for name, sources in groupby(SOURCES, key=lambda source: source.name):
        parts: dict[str, list[str]] = {part: [] for part in ("train", "dev", "test", "held-out")}
        for source in sources:
            for sentence in read_sentences(args.checkouts / source.repository, source.files, older):
                number = draw(sentence)
                if number in seen:
                    continue
                seen.add(number)
                if not source.learn:
                    parts["held-out"].append(sentence)
                elif number * 1000 % 1 < source.share:
                    place = int(number * HELD_OUT)
                    parts["dev" if place == 0 else "test" if place == 1 else "train"].append(sentence)
        counts = []
        for part, lines in parts.items():
            if lines:
                write_atomic(args.out / part / f"{name}.txt", "\n".join(lines) + "\n")
                counts.append(f"{part} {sum(line.count(' ') + 1 for line in lines):,} words")
        print(f"{name}: {', '.join(counts) or 'nothing'}", flush=True)


if __name__ == "__main__":
    main()
