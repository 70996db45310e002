r"""LaTeX as plain characters for a terminal: ``\frac{q^\top k}{\sqrt{D}}`` becomes ``(qᵀ k) / √D``."""

import re

_SIGNS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "theta": "θ",
    "mu": "μ", "pi": "π", "sigma": "σ", "phi": "φ", "omega": "ω", "ell": "ℓ", "lambda": "λ", "Delta": "Δ",
    "Omega": "Ω", "sum": "∑", "prod": "∏", "cdot": "·", "times": "×", "circ": "∘", "le": "≤", "ge": "≥",
    "lt": "<", "gt": ">", "ne": "≠", "approx": "≈", "in": "∈", "cup": "∪", "cap": "∩", "lor": "or",
    "land": "and", "mid": "|", "to": "→", "mapsto": "→", "leftarrow": "←", "rightarrow": "→", "infty": "∞",
    "ldots": "…", "dots": "…", "cdots": "⋯", "top": "ᵀ", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈",
    "rceil": "⌉", "sim": "~", "odot": "⊙", "oplus": "⊕", "otimes": "⊗", "neg": "not ", "colon": ":",
    "bmod": " mod ", "pm": "±", "forall": "∀", "exists": "∃", "emptyset": "∅", "partial": "∂", "nabla": "∇",
    "star": "*", "dagger": "†", "mathbb E": "E", "|": "‖",
}  # fmt: skip
_SPACES = re.compile(r"\\[,;:!]|\\ |~")
_WIDE = re.compile(r"\\q?quad")
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?|tfrac|dfrac|displaystyle|limits)(?![a-zA-Z])")
_FONTS = ("mathrm", "mathbb", "mathcal", "mathbf", "text", "operatorname", "boldsymbol", "mathrel")


def latex_to_text(latex: str) -> str:
    """Convert a displayed formula to one line of plain characters."""
    text = " ".join(latex.replace("\\\\", " ; ").replace("&", " ").split())
    text = re.sub(r"\\[td]frac(?![a-zA-Z])", r"\\frac", text)
    text = re.sub(r"\\(begin|end)\{\w+\}(\[\w+\])?", " ", text)
    text = _SIZES.sub("", _WIDE.sub("   ", _SPACES.sub(" ", text)))
    for font in _FONTS:
        text = _unwrap_command(text, font, "{}")
    text = _unwrap_command(_unwrap_command(text, "bar", "{}̄"), "tilde", "{}̃")
    text = _unwrap_command(text, "hat", "{}̂")
    text = _replace_fractions(_unwrap_command(text, "sqrt", "√{}", "√({})"))
    text = re.sub(r"\\([a-zA-Z]+|\|)", lambda sign: _SIGNS.get(sign[1], sign[1]), text)
    text = text.replace("\\{", "{").replace("\\}", "}").replace("^ᵀ", "ᵀ").replace("{ᵀ}", "ᵀ")
    text = re.sub(r"(?<=[_^])\{(\w|[^\W\d_]+)\}", r"\1", text)
    return re.sub(r" {4,}", "   ", re.sub(r"(?<! )  (?! )", " ", text)).strip()


def _unwrap_command(text: str, command: str, short_form: str, long_form: str | None = None) -> str:
    """Replace a command and its argument; ``long_form`` where the argument is longer than a word."""
    pattern = re.compile(rf"\\{command}(?![a-zA-Z])\s*")
    while found := pattern.search(text):
        argument, end = _read_argument(text, found.end())
        shape = short_form if long_form is None or re.fullmatch(r"\\?\w+", argument) else long_form
        text = text[: found.start()] + shape.format(argument) + text[end:]
    return text


def _replace_fractions(text: str) -> str:
    while found := re.search(r"\\frac(?![a-zA-Z])\s*", text):
        above, end = _read_argument(text, found.end())
        below, end = _read_argument(text, end)
        part = f"{_parenthesize(above)} / {_parenthesize(below)}"
        # Without parentheses, what follows would seem to be part of the denominator.
        part = f"({part})" if re.match(r"\s*[\w(\\]", text[end:]) else part
        text = text[: found.start()] + part + text[end:]
    return text


def _parenthesize(part: str) -> str:
    part = part.strip()
    return part if re.fullmatch(r"[\\√]?\w+", part) else f"({part})"


def _read_argument(text: str, start: int) -> tuple[str, int]:
    """Return the argument at ``start``, in braces or a single sign, and where it ends."""
    while text[start : start + 1].isspace():
        start += 1
    if text[start : start + 1] != "{":
        sign = re.match(r"\\[a-zA-Z]+|.?", text[start:], re.DOTALL)
        length = len(sign[0]) if sign else 0
        return text[start : start + length], start + length
    depth = 0
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0) if text[end - 1] != "\\" else 0
        if depth == 0:
            return text[start + 1 : end], end + 1
    return text[start + 1 :], len(text)
