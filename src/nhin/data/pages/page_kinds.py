"""Kinds of pages: letters, contracts, newspapers, forms, receipts, menus, cards, slides, screens, signs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from nhin.data.images.line_text import LineTextGenerator
from nhin.data.images.text_generator import choose, draw_digits, draw_price
from nhin.data.pages.blocks import BlockWriter
from nhin.data.pages.page_writer import Color, DrawnPage, PageWriter
from nhin.data.pages.tables import write_table
from nhin.data.pages.theme import FaceBook, draw_theme
from nhin.image.render import Rng, draw_background

PageKind = Callable[[int, FaceBook, LineTextGenerator, Rng], DrawnPage]
"""Draws a page whose body has some pixels per em."""

_STATE, _MOTTO = "CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", "Độc lập - Tự do - Hạnh phúc"
_A4 = 2**0.5


def _open(
    size: int,
    book: FaceBook,
    texts: LineTextGenerator,
    rng: Rng,
    shape: tuple[float, float],
    office: bool = True,
) -> BlockWriter:
    """Begin a page of a shape (width, height) in ems."""
    theme = draw_theme(book, size, rng, office)
    page = PageWriter(round(shape[0] * size), round(shape[1] * size), theme.paper, rng)
    return BlockWriter(page, theme, texts)


def _margins(writer: BlockWriter, least: float = 1.5, most: float = 6.0) -> tuple[float, float, float, float]:
    """Draw the left, right, top and bottom edge of what is written on."""
    page, size = writer.page, writer.size
    left, right, top, bottom = writer.rng.uniform(least, most, 4) * size
    return left, page.width - right, top, page.height - bottom


def draw_document(size: int, book: FaceBook, texts: LineTextGenerator, rng: Rng) -> DrawnPage:
    """Draw an official letter, a contract, a report: paragraphs, headings, lists, forms, tables."""
    wide = float(rng.uniform(36, 58))
    writer = _open(size, book, texts, rng, (wide, wide * _A4))
    x1, x2, y, bottom = _margins(writer)
    if rng.random() < 0.5:
        y = _write_letter_head(writer, x1, x2, y)
    if rng.random() < 0.7:
        y = writer.heading(x1, x2, y + writer.shift(0.5), float(rng.uniform(1.0, 1.9)), True) + writer.shift(
            0.5
        )
    while y < bottom - 6 * size:
        y = _write_block(writer, x1, x2, y, bottom) + writer.shift(0.45)
    if rng.random() < 0.4:
        _write_signatures(writer, x1, x2, y)
    if rng.random() < 0.4:
        number = str(rng.integers(1, 400))
        writer.page.write((x1 + x2) / 2, writer.page.height - size, number, writer.theme.body, "middle")
    if rng.random() < 0.15:
        _draw_stamp(writer)
    return writer.page.finish("document")


def _write_block(writer: BlockWriter, x1: float, x2: float, y: float, bottom: float) -> float:
    """Write a block of any kind."""
    rng, draw = writer.rng, writer.rng.random()
    rows = max(1, int((bottom - y) / (writer.size * writer.theme.pitch)))
    if draw < 0.50:
        return writer.paragraph(x1, x2, y, int(rng.integers(1, min(9, rows) + 1)))
    if draw < 0.62:
        return writer.heading(x1, x2, y, float(rng.uniform(0.95, 1.3)))
    if draw < 0.74:
        return writer.items(x1, x2, y, int(rng.integers(1, min(6, rows) + 1)))
    if draw < 0.84:
        return writer.form(x1, x2, y, int(rng.integers(1, min(7, rows) + 1)))
    if draw < 0.93:
        return write_table(
            writer, x1, x2, y, int(rng.integers(2, min(8, rows + 1) + 1)), int(rng.integers(2, 7))
        )
    if draw < 0.96:
        return writer.menu(x1, x2, y, int(rng.integers(2, min(8, rows + 1) + 1)))
    if draw < 0.98:
        return writer.rule(x1, x2, y)
    high = writer.shift(7)
    writer.picture(x1, y, x1 + (x2 - x1) * float(rng.uniform(0.2, 1)), min(y + high, bottom))
    return y + high


def _write_letter_head(writer: BlockWriter, x1: float, x2: float, y: float) -> float:
    """Write the two columns at the head of an official letter."""
    theme, size, middle = writer.theme, writer.size, x1 + (x2 - x1) * float(writer.rng.uniform(0.36, 0.46))
    agency = [writer.words(6, 22).upper() for _ in range(int(writer.rng.integers(1, 3)))]
    agency = [line for text in agency for line in writer.wrap(text, theme.bold, middle - x1 - size)]
    number = f"Số: {draw_digits(writer.rng, 1, 4)}/{draw_digits(writer.rng, 4, 4)}/QĐ-UBND"
    left = writer.lines(x1, middle - size, y, [*agency, number], theme.bold, True)
    right = [*writer.wrap(_STATE, theme.bold, x2 - middle), _MOTTO]
    right_end = writer.lines(middle, x2, y, right, theme.bold, True)
    if writer.rng.random() < 0.6:
        center, half = (middle + x2) / 2, (x2 - middle) * 0.25
        writer.page.rule(center - half, right_end, center + half, right_end, theme.body.color)
    day, month = writer.rng.integers(1, 31), writer.rng.integers(1, 13)
    date = f"{writer.words(4, 10).title()}, ngày {day} tháng {month} năm 2026"
    end = writer.lines(middle, x2, right_end + 0.4 * size, [date], theme.italic, True)
    return max(left, end) + 0.5 * size


def _write_signatures(writer: BlockWriter, x1: float, x2: float, y: float) -> None:
    """Write the recipients at the left and the signature at the right."""
    middle, small = (x1 + x2) / 2, writer.theme.body.scale(0.85)
    recipients = [
        "Nơi nhận:",
        *(f"- {writer.words(6, 26).capitalize()};" for _ in range(writer.rng.integers(1, 5))),
    ]
    writer.lines(x1, middle, y, recipients, small)
    role = writer.lines(
        middle, x2, y, [writer.words(5, 14).upper() for _ in range(2)], writer.theme.bold, True
    )
    writer.lines(middle, x2, role + writer.shift(3.0), [writer.words(8, 16).title()], writer.theme.bold, True)


def _draw_stamp(writer: BlockWriter) -> None:
    """Draw the rings of a stamp over what is written."""
    page, rng = writer.page, writer.rng
    x, y = rng.uniform(0.1, 0.9, 2) * (page.width, page.height)
    color: Color = (int(rng.integers(150, 230)), 40, 50) if rng.random() < 0.8 else (40, 50, 180)
    for radius in np.array([5.0, 4.6, 3.2]) * writer.size * rng.uniform(0.6, 1.2):
        page.draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius), None, color, max(1, writer.size // 10)
        )


def draw_columns(size: int, book: FaceBook, texts: LineTextGenerator, rng: Rng) -> DrawnPage:
    """Draw a newspaper, a magazine, a paper: two to four columns below a headline, with pictures."""
    count = int(rng.choice((2, 2, 3, 3, 4)))
    wide = float(rng.uniform(15, 26)) * count
    writer = _open(size, book, texts, rng, (wide, wide * float(rng.uniform(0.7, 1.5))))
    x1, x2, y, bottom = _margins(writer, 1.0, 3.5)
    for _ in range(int(rng.integers(0, 3))):
        y = writer.heading(x1, x2, y, float(rng.uniform(1.2, 3.2))) + writer.shift(0.4)
    has_rules = rng.random() < 0.4
    gutter = size * float(np.exp(rng.uniform(np.log(0.5 if has_rules else 0.6), np.log(2.5))))
    width = (x2 - x1 - gutter * (count - 1)) / count
    for column in range(count):
        left, at = x1 + column * (width + gutter), y
        if has_rules and column:
            writer.page.rule(left - gutter / 2, y, left - gutter / 2, bottom, writer.theme.body.color)
        while at < bottom - 3 * size:
            draw = rng.random()
            if draw < 0.12:
                at = writer.heading(left, left + width, at, float(rng.uniform(1.0, 1.6)))
            elif draw < 0.2:
                high = min(bottom - at, writer.shift(7))
                writer.picture(left, at, left + width, at + high)
                small = writer.theme.italic.scale(0.85)
                caption = writer.wrap(writer.words(10, 60).capitalize(), small, width)
                at = writer.lines(left, left + width, at + high, caption, small)
            else:
                rows = int((bottom - at) / (size * writer.theme.pitch))
                at = writer.paragraph(left, left + width, at, int(rng.integers(1, max(2, min(12, rows)))))
            at += writer.shift(0.3)
    return writer.page.finish("columns")


def draw_sheet(size: int, book: FaceBook, texts: LineTextGenerator, rng: Rng) -> DrawnPage:
    """Draw a sheet that is mostly one large table, an invoice, or a form."""
    wide = float(rng.uniform(30, 70))
    writer = _open(size, book, texts, rng, (wide, wide * float(rng.choice((_A4, 1 / _A4, 1.0)))))
    x1, x2, y, bottom = _margins(writer, 1.0, 4.0)
    y = writer.heading(x1, x2, y, float(rng.uniform(1.0, 2.2))) + writer.shift(0.5)
    while y < bottom - 5 * size:
        if rng.random() < 0.6:
            rows = int((bottom - y) / (1.8 * size))
            y = write_table(writer, x1, x2, y, int(rng.integers(3, max(4, rows))), int(rng.integers(2, 9)))
        else:
            y = writer.form(x1, x2, y, int(rng.integers(2, 9)))
        y += writer.shift(0.6)
    return writer.page.finish("sheet")


def draw_receipt(size: int, book: FaceBook, texts: LineTextGenerator, rng: Rng) -> DrawnPage:
    """Draw the receipt of a shop or a till."""
    wide, count = float(rng.uniform(17, 30)), int(rng.integers(2, 14))
    writer = _open(size, book, texts, rng, (wide, 22.0 + 3.0 * count))
    x1, x2, y, bottom = _margins(writer, 0.5, 2.0)
    y = writer.heading(x1, x2, y, float(rng.uniform(1.0, 1.7)), True)
    y = writer.lines(x1, x2, y, [writer.value() for _ in range(3)], writer.theme.body, True)
    y = writer.form(x1, x2, writer.rule(x1, x2, y), int(rng.integers(1, 4)))
    for _ in range(count):
        y = writer.lines(x1, x2, y, writer.wrap(writer.words(4, 34).capitalize(), writer.theme.body, x2 - x1),
                         writer.theme.body)  # fmt: skip
        if rng.random() < 0.7:
            base = y + 0.95 * size
            writer.page.write(x1 + size, base, f"{rng.integers(1, 9)} x {draw_price(rng)}", writer.theme.body)
            writer.page.write(x2, base, draw_price(rng), writer.theme.body, "right")
            y += size * writer.theme.pitch
    y = writer.menu(x1, x2, writer.rule(x1, x2, y), int(rng.integers(1, 4)))
    if rng.random() < 0.5:
        writer.picture(x1 + 2 * size, y + size, x2 - 2 * size, min(y + 5 * size, bottom), "bar code")
        y += 6 * size
    writer.lines(x1, x2, y, [writer.words(10, 24).capitalize()], writer.theme.body, True)
    return writer.page.finish("receipt")


def draw_menu(size: int, book: FaceBook, texts: LineTextGenerator, rng: Rng) -> DrawnPage:
    """Draw the menu of a restaurant, or a list of contents, in one or two columns."""
    count = int(rng.integers(1, 3))
    wide = float(rng.uniform(20, 32)) * count
    writer = _open(size, book, texts, rng, (wide, wide * float(rng.uniform(0.7, 1.6))), office=False)
    x1, x2, y, bottom = _margins(writer, 1.0, 4.0)
    y = writer.heading(x1, x2, y, float(rng.uniform(1.5, 3.5)), True) + writer.shift(0.8)
    gutter = writer.shift(2)
    width = (x2 - x1 - gutter * (count - 1)) / count
    for column in range(count):
        left, at = x1 + column * (width + gutter), y
        while at < bottom - 4 * size:
            at = writer.heading(left, left + width, at, float(rng.uniform(1.0, 1.4))) + writer.shift(0.2)
            rows = int((bottom - at) / (size * 1.3 * writer.theme.pitch))
            at = writer.menu(
                left, left + width, at, int(rng.integers(1, max(2, min(9, rows))))
            ) + writer.shift(0.6)
    return writer.page.finish("menu")


def draw_cards(size: int, book: FaceBook, texts: LineTextGenerator, rng: Rng) -> DrawnPage:
    """Draw a slide, a poster, an identity card, or a web page: blocks of text in boxes beside each other."""
    shape = float(rng.uniform(28, 70)), float(rng.uniform(18, 45))
    writer = _open(size, book, texts, rng, shape, office=False)
    x1, x2, y, bottom = _margins(writer, 1.0, 3.0)
    if rng.random() < 0.2:
        _draw_pattern(writer)
    if rng.random() < 0.8:
        y = writer.heading(x1, x2, y, float(rng.uniform(1.2, 2.8))) + writer.shift(0.5)
    while y < bottom - 5 * size:
        count = int(rng.integers(1, 5))
        gap = writer.shift(0.8)
        width = (x2 - x1 - gap * (count - 1)) / count
        themes = [writer.theme if rng.random() < 0.5 else draw_theme(book, size, rng, False)] * count
        end = y
        if rng.random() < 0.25:
            writer.picture(x1, y, x1 + width, y + writer.shift(5))
        for column, theme in enumerate(themes):
            left, inset = x1 + column * (width + gap), writer.shift(0.6)
            high = size * float(rng.uniform(3.5, 8)) if column == 0 else end - y
            inner = BlockWriter(writer.page, theme, texts)
            if theme is not writer.theme:
                writer.page.fill((left, y, left + width, y + high), theme.paper, None, size * 0.4)
            _fill_card(inner, left + inset, left + width - inset, y + 0.3 * size, y + high)
            end = y + high
        y = end + writer.shift(0.6)
    return writer.page.finish("cards")


def _fill_card(writer: BlockWriter, x1: float, x2: float, y: float, bottom: float) -> None:
    """Write a heading, a form, items or a paragraph as far as they fit into a card."""
    while bottom - y > 1.6 * writer.size and x2 - x1 > 4 * writer.size:
        rows = int((bottom - y) / (writer.size * writer.theme.pitch))
        draw = writer.rng.random()
        if draw < 0.35:
            factor = min(float(writer.rng.uniform(0.8, 2.2)), (bottom - y) / (1.6 * writer.size))
            style, text = writer.theme.title.scale(factor), writer.words(3, 26).capitalize()
            y = writer.lines(x1, x2, y, writer.wrap(text, style, x2 - x1)[:1], style)
        elif draw < 0.6 and rows > 0:
            y = writer.form(x1, x2, y, min(rows, int(writer.rng.integers(1, 4))))
        elif rows > 1:
            y = writer.paragraph(x1, x2, y, min(rows - 1, int(writer.rng.integers(1, 4))))
        else:
            return


def _draw_pattern(writer: BlockWriter) -> None:
    """Draw fine waves, as the paper of cards and certificates has."""
    page, rng = writer.page, writer.rng
    paper = np.array(page.paper, np.float32)
    color = tuple(int(v) for v in np.clip(paper + rng.uniform(-70, 70, 3), 0, 255))
    pitch, reach = writer.shift(0.4) + 2, writer.shift(1.0)
    x = np.arange(0, page.width, 4)
    for y in np.arange(-reach, page.height + reach, pitch):
        wave = y + reach * np.sin(x / (4.0 * writer.size) + y / (7.0 * writer.size))
        page.draw.line(list(zip(x.tolist(), wave.tolist(), strict=True)), color)  # pyright: ignore[reportArgumentType]


def draw_chat(size: int, book: FaceBook, texts: LineTextGenerator, rng: Rng) -> DrawnPage:
    """Draw a chat on a telephone: bubbles at the left and at the right, with times."""
    wide = float(rng.uniform(22, 32))
    writer = _open(size, book, texts, rng, (wide, wide * float(rng.uniform(1.4, 2.2))), office=False)
    x1, x2, y, bottom = _margins(writer, 0.6, 1.5)
    bubble = [draw_theme(book, size, rng, False) for _ in range(2)]
    if rng.random() < 0.6:
        writer.page.fill((0, 0, writer.page.width, 2.6 * size), writer.theme.accent)
        theme = replace(writer.theme, title=replace(writer.theme.title, color=writer.theme.paper))
        BlockWriter(writer.page, theme, texts).lines(x1 + size, x2, 0.5 * size, [writer.words(4, 16).title()],
                                                    theme.title.scale(1.1))  # fmt: skip
        y = 3.2 * size
    while y < bottom - 3 * size:
        side = int(rng.integers(2))
        inner = BlockWriter(writer.page, bubble[side], texts)
        texts_of = inner.wrap(writer.sentence(2, 90), inner.theme.body, (x2 - x1) * 0.68)
        width = max(inner.page.measure(text, inner.theme.body) for text in texts_of or ["a"]) + 1.4 * size
        left = x1 if side == 0 else x2 - width
        high = len(texts_of) * size * max(1.1, inner.theme.pitch * 0.95) + 0.9 * size
        writer.page.fill((left, y, left + width, y + high), inner.theme.paper, None, 0.6 * size)
        end = inner.lines(left + 0.7 * size, x2, y + 0.25 * size, texts_of, inner.theme.body)
        if rng.random() < 0.5:
            time = f"{rng.integers(0, 24)}:{rng.integers(0, 60):02d}"
            writer.lines(left + 0.7 * size, x2, max(y + high, end), [time], writer.theme.body.scale(0.75))
            high += 0.8 * size
        y += high + writer.shift(0.7)
    return writer.page.finish("chat")


def draw_scene(size: int, book: FaceBook, texts: LineTextGenerator, rng: Rng) -> DrawnPage:
    """Draw signs before a background: few lines of very different sizes and colors."""
    shape = round(float(rng.uniform(20, 60)) * size), round(float(rng.uniform(20, 50)) * size)
    writer = _open(size, book, texts, rng, (shape[0] / size, shape[1] / size), office=False)
    color = rng.uniform(0, 256, 3).astype(np.float32)
    writer.page.paste(
        np.clip(draw_background((shape[1], shape[0]), color, rng), 0, 255).astype(np.uint8), 0, 0
    )
    if rng.random() < 0.5:
        writer.picture(0, 0, *shape, kind=choose(rng, ("texture", "noise", "blank")))
    for _ in range(int(rng.integers(1, 5))):
        theme = draw_theme(book, size, rng, False)
        sign = BlockWriter(writer.page, theme, texts)
        width = shape[0] * float(rng.uniform(0.25, 0.9))
        left, top = rng.uniform(0, 1, 2) * (shape[0] - width, shape[1] * 0.8)
        end, parts = top + 0.5 * size, []
        for _ in range(int(rng.integers(1, 5))):
            style = theme.title.scale(float(np.exp(rng.uniform(np.log(0.8), np.log(4.5)))))
            text = sign.words(2, 26)
            text = text.upper() if rng.random() < 0.6 else text.title()
            parts.append((sign.wrap(text, style, width - size)[:1], style))
        high = sum(style.size * max(1.1, theme.pitch * 0.95) for _, style in parts) + size
        if rng.random() < 0.8:
            writer.page.fill((left, top, left + width, top + high), theme.paper, theme.accent, size * 0.3)
        for lines, style in parts:
            end = sign.lines(
                left + 0.5 * size, left + width - 0.5 * size, end, lines, style, rng.random() < 0.6
            )
    return _drop_covered(writer.page.finish("scene"))


def _drop_covered(page: DrawnPage) -> DrawnPage:
    """Leave out lines over which another sign was drawn, at least where they overlap by their boxes."""
    kept = []
    for number, line in enumerate(page.lines):
        low, high = line.center.min(0) - line.height, line.center.max(0) + line.height
        later = (other for other in page.lines[number + 1 :] if other.block != line.block)
        if all((other.center < low).any(1).all() or (other.center > high).any(1).all() for other in later):
            kept.append(line)
    return DrawnPage(page.picture, tuple(kept), page.kind)


PAGE_KINDS: dict[str, tuple[float, PageKind]] = {
    "document": (0.27, draw_document),
    "columns": (0.13, draw_columns),
    "sheet": (0.14, draw_sheet),
    "receipt": (0.07, draw_receipt),
    "menu": (0.07, draw_menu),
    "cards": (0.11, draw_cards),
    "chat": (0.06, draw_chat),
    "scene": (0.15, draw_scene),
}
"""Each kind's share, and what draws it."""
