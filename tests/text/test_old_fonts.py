"""Texts in Vietnamese fonts from before Unicode are told from Vietnamese, and from other languages."""

import pytest

from nhin.text.old_fonts import decode_tcvn3, decode_vni, is_old_font_text

OLD = {
    "Céng hßa x· héi chñ nghÜa ViÖt Nam, §éc lËp - Tù do - H¹nh phóc": decode_tcvn3,
    "Coäng hoøa xaõ hoäi chuû nghóa Vieät Nam, Ñoäc laäp - Töï do - Haïnh phuùc": decode_vni,
}
OTHERS = [
    "Cộng hòa xã hội chủ nghĩa Việt Nam, Độc lập - Tự do - Hạnh phúc",
    "Le garçon a déjà été là où l'élève français naît et paraît gêné",
    "Müller fährt über die schöne Straße für größere Bären",
    "Plain English has none.",
    "",
]


@pytest.mark.parametrize("text", OLD)
def test_a_text_in_an_old_font_is_recognized_and_decodes_to_vietnamese(text):
    assert is_old_font_text(text)
    assert OLD[text](text).lower().startswith("cộng hòa xã hội chủ nghĩa việt nam, độc lập")


@pytest.mark.parametrize("text", OTHERS)
def test_other_texts_are_not_taken_for_one(text):
    assert not is_old_font_text(text)
