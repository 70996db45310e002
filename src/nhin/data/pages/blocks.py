"""Blocks of a page. Each is written between x1 and x2, from y downwards, and returns where it ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nhin.data.images.line_text import LineTextGenerator, draw_email, draw_measure, draw_serial, draw_url
from nhin.data.images.text_generator import choose, draw_date, draw_number, draw_phone, draw_price
from nhin.data.images.textless import KINDS, draw_kind
from nhin.data.pages.page_writer import PageWriter, TextStyle
from nhin.data.pages.theme import Theme
from nhin.image.render import Rng

_BULLETS = ("-", "•", "–", "+", "*", "1.", "2.", "a)", "b)", "1)", "I.", "II.", "2.1.", "☐", "■")


@dataclass(frozen=True, slots=True)
class BlockWriter:
    """Writes blocks of random text.

    Args:
        page: The page.
        theme: Its styles.
        texts: Gives random text.
    """

    page: PageWriter
    theme: Theme
    texts: LineTextGenerator

    @property
    def rng(self) -> Rng:
        """The page's source of randomness."""
        return self.page.rng

    @property
    def size(self) -> int:
        """Pixels per em of the body."""
        return self.theme.size

    def words(self, low: int, high: int) -> str:
        """Draw words of low to high characters in all."""
        return self.texts.draw_words(self.rng, int(self.rng.integers(low, high + 1)))

    def sentence(self, low: int, high: int) -> str:
        """Draw running text of low to high characters."""
        length = int(self.rng.integers(low, high + 1))
        return self.texts.draw_running_text(self.rng, length)

    def value(self) -> str:
        """Draw what is filled into a form or a table: a number, a price, a date, a name, a code."""
        kinds: Sequence[Callable[[Rng], str]] = (
            draw_number,
            draw_price,
            draw_phone,
            draw_date,
            draw_serial,
            draw_measure,
            draw_email,
            draw_url,
        )
        draw = int(self.rng.integers(len(kinds) + 6))
        return kinds[draw](self.rng) if draw < len(kinds) else self.words(3, 24).title()

    def figure(self) -> str:
        """Draw a number, a price or a measure."""
        return choose(self.rng, (draw_number(self.rng), draw_price(self.rng), draw_measure(self.rng)))

    def wrap(self, text: str, style: TextStyle, width: float) -> list[str]:
        """Break a text into lines of at most a width, where one word fits."""
        lines: list[list[str]] = []
        space, end = self.page.measure(" ", style), width
        for word in text.split():
            step = self.page.measure(word, style)
            if not lines or end + space + step > width:
                lines.append([])
                end = -space
            lines[-1].append(word)
            end += space + step
        return [" ".join(words) for words in lines]

    def paragraph(
        self, x1: float, x2: float, y: float, count: int, style: TextStyle | None = None, text: str = ""
    ) -> float:
        """Write a paragraph of about ``count`` lines, flush left or justified, with or without an indent."""
        style = style or self.theme.body
        step = style.size * self.theme.pitch
        is_justified, indent = self.rng.random() < 0.5, 0.0
        if self.rng.random() < 0.5:
            indent = style.size * float(self.rng.uniform(1, 3))
        letters = max(4, int((x2 - x1) / (0.48 * style.size)))
        text = text or self.sentence(int(letters * max(0.3, count - 0.7)), int(letters * count))
        self.page.begin_block()
        lines = self._wrap_indented(text, style, x2 - x1, indent)
        for number, line in enumerate(lines):
            start = x1 + (indent if number == 0 else 0)
            if is_justified and number < len(lines) - 1:
                self.page.write_justified(start, y + style.size, line, style, x2 - start)
            else:
                self.page.write(start, y + style.size, line, style)
            y += step
        return y

    def _wrap_indented(self, text: str, style: TextStyle, width: float, indent: float) -> list[str]:
        first = self.wrap(text, style, max(width - indent, style.size))[:1]
        rest = text[len(first[0]) :].strip() if first else ""
        return [*first, *self.wrap(rest, style, width)]

    def heading(
        self, x1: float, x2: float, y: float, factor: float = 1.0, middle: bool | None = None
    ) -> float:
        """Write a heading of one to three lines, in the middle or flush left."""
        style = self.theme.title.scale(factor)
        text = self.words(6, 60 if factor < 1.8 else 34)
        text = text.upper() if self.rng.random() < 0.55 else text[:1].upper() + text[1:]
        if self.rng.random() < 0.04:
            text = "  ".join(" ".join(word) for word in text[:30].split())
        middle = bool(self.rng.random() < 0.5) if middle is None else middle
        return self.lines(x1, x2, y, self.wrap(text, style, x2 - x1), style, middle)

    def lines(
        self, x1: float, x2: float, y: float, texts: Sequence[str], style: TextStyle, middle: bool = False
    ) -> float:
        """Write lines below each other as one block."""
        self.page.begin_block()
        for text in texts:
            x = (x1 + x2) / 2 if middle else x1
            self.page.write(x, y + style.size, text, style, "middle" if middle else "left")
            y += style.size * max(1.1, self.theme.pitch * 0.95)
        return y

    def items(self, x1: float, x2: float, y: float, count: int) -> float:
        """Write items with bullets or numbers."""
        bullet, gap = choose(self.rng, _BULLETS), self.size * float(self.rng.uniform(0.9, 2))
        apart = self.rng.random() < 0.4
        for _ in range(count):
            texts = self.wrap(self.sentence(8, 110), self.theme.body, x2 - x1 - gap)
            self.page.begin_block()
            for number, text in enumerate(texts):
                if number == 0 and not apart:
                    self.page.write(x1, y + self.size, f"{bullet} {text}", self.theme.body)
                else:
                    if number == 0:
                        self.bullet(x1, y)
                    self.page.write(x1 + gap, y + self.size, text, self.theme.body)
                y += self.size * self.theme.pitch
        return y

    def bullet(self, x: float, y: float) -> None:
        """Draw a dot or a box that is no text."""
        color, half = self.theme.body.color, self.size * float(self.rng.uniform(0.1, 0.18))
        top = y + self.size * 0.62 - half
        if self.rng.random() < 0.6:
            self.page.draw.ellipse((x, top, x + 2 * half, top + 2 * half), color)
        else:
            self.page.fill((x, top, x + 4 * half, top + 4 * half), None, color)

    def form(self, x1: float, x2: float, y: float, count: int) -> float:
        """Write labels and values: on one line, apart, on leaders, in boxes, or left empty."""
        way = int(self.rng.integers(5))
        column = x1 + (x2 - x1) * float(self.rng.uniform(0.25, 0.5))
        label_style = self.theme.bold if self.rng.random() < 0.4 else self.theme.body
        value_style = self.theme.body if self.rng.random() < 0.8 else self.theme.italic
        for _ in range(count):
            base = y + self.size
            label = self.words(3, 22).capitalize() + choose(self.rng, (":", ":", "", " :"))
            self.page.begin_block()
            if way == 0:
                self._write_fitting(x1, x2, base, (f"{label} {self.value()}", label), label_style)
            else:
                end = self._write_fitting(x1, x2, base, (label,), label_style)
                start = max(column, end + self.size) if way != 2 else end + 0.3 * self.size
                if way in (2, 3):
                    self.leader(start, x2, base)
                if way == 4:
                    low = base + 0.35 * self.size
                    self.page.fill((start, base - self.size, x2, low), None, self.theme.body.color)
                value = self.value()
                if (
                    self.rng.random() < 0.75
                    and start + self.page.measure(value, value_style) < x2 + self.size
                ):
                    inset = self.size * float(self.rng.uniform(0.2, 1.2)) if way > 1 else 0.0
                    self.page.write(start + inset, base - (0.12 * self.size if way in (2, 3) else 0),
                                    value, value_style)  # fmt: skip
            y += self.size * max(self.theme.pitch, 1.5 if way == 4 else 1.1)
        return y

    def _write_fitting(
        self, x1: float, x2: float, base: float, texts: Sequence[str], style: TextStyle
    ) -> float:
        """Write the first text that fits, or the words of the last one that do; return where it ends."""
        for text in texts:
            if self.page.measure(text, style) <= x2 - x1:
                return self.page.write(x1, base, text, style)
        return self.page.write(x1, base, self.wrap(texts[-1], style, x2 - x1)[0], style)

    def leader(self, x1: float, x2: float, base: float) -> None:
        """Draw dots or a line to be filled in, or between an entry and its page."""
        color = self.theme.body.color
        if self.rng.random() < 0.25:
            self.page.rule(x1, base + 1, x2, base + 1, color)
            return
        step, radius = self.size * float(self.rng.uniform(0.22, 0.5)), max(0.4, self.size * 0.045)
        for x in np.arange(x1 + step, x2 - step / 2, step):
            self.page.draw.ellipse((x - radius, base - 2 * radius, x + radius, base), color)

    def menu(self, x1: float, x2: float, y: float, count: int) -> float:
        """Write entries with a price or a page at the right, with or without leaders between."""
        has_leader, pitch = self.rng.random() < 0.6, max(1.2, self.theme.pitch)
        for _ in range(count):
            base, price = y + self.size, draw_price(self.rng)
            self.page.begin_block()
            end = self.page.write(x1, base, self.words(4, 26).capitalize(), self.theme.body)
            start = x2 - self.page.measure(price, self.theme.body)
            if start > end + 0.8 * self.size:
                if has_leader and start > end + 2 * self.size:
                    self.leader(end + 0.3 * self.size, start - 0.3 * self.size, base)
                self.page.write(x2, base, price, self.theme.body, "right")
            y += self.size * pitch
        return y

    def picture(self, x1: float, y1: float, x2: float, y2: float, kind: str = "") -> None:
        """Fill a box with something that is no text: a texture, noise, a bar code."""
        import cv2

        if x2 - x1 < 8 or y2 - y1 < 8:
            return
        kind = kind or list(KINDS)[int(self.rng.integers(len(KINDS)))]
        drawn = draw_kind(kind, self.rng)
        size = round(x2 - x1), round(y2 - y1)
        self.page.paste(np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_LINEAR), np.uint8), x1, y1)

    def rule(self, x1: float, x2: float, y: float) -> float:
        """Draw a rule across."""
        thick = max(1, round(self.size * float(self.rng.uniform(0.03, 0.12))))
        self.page.rule(x1, y + 0.4 * self.size, x2, y + 0.4 * self.size, self.theme.accent, thick)
        return y + 0.8 * self.size

    def shift(self, factor: float) -> float:
        """Return a random gap of about ``factor`` ems."""
        return self.size * factor * float(self.rng.uniform(0.5, 1.5))
