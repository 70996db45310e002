"""Twelve kinds of Vietnamese documents as HTML: what people scan and photograph. The text is invented."""

# ruff: noqa: E501 -- HTML and style sheets are easier to read in long lines.
from collections.abc import Callable, Sequence
from html import escape

import numpy as np

SENTENCES = """
Hội nghị đã thông qua kế hoạch sửa chữa các tuyến đường liên xã trước mùa mưa.
Người dân có thể nộp hồ sơ trực tuyến hoặc tại bộ phận một cửa của ủy ban.
Giá lúa hè thu tăng nhẹ so với tuần trước, thương lái thu mua ngay tại ruộng.
Buổi sáng trời nhiều mây, có lúc có mưa nhỏ; trưa chiều giảm mây, trời nắng.
Các em học sinh được phát sách giáo khoa mới và bắt đầu năm học vào thứ Hai.
Bà cụ ngồi bên hiên nhà, vừa nhặt rau vừa kể chuyện ngày xưa cho lũ trẻ nghe.
Cơ quan chủ trì phối hợp với các đơn vị liên quan tổ chức kiểm tra định kỳ.
Hàng hóa đã mua không được đổi trả, trừ trường hợp lỗi do nhà sản xuất.
Chúng tôi cam kết bảo mật thông tin cá nhân của khách hàng theo quy định.
Mọi ý kiến đóng góp xin gửi về phòng tiếp dân trước ngày hai mươi tháng tới.
Con thuyền nhỏ trôi lững lờ giữa dòng sông, hai bên bờ là những rặng dừa xanh mướt.
Nước mắm được ủ chượp từ cá cơm tươi trong thùng gỗ suốt mười hai tháng.
Thư viện mở cửa từ bảy giờ rưỡi sáng đến tám giờ tối, kể cả ngày nghỉ lễ.
Bên mua thanh toán cho bên bán trong vòng ba mươi ngày kể từ ngày nhận đủ hàng.
Trường hợp có tranh chấp, hai bên cùng nhau thương lượng trên tinh thần hợp tác.
Ông lão gánh đôi quang gánh, bước từng bước chậm rãi qua chiếc cầu khỉ gập ghềnh.
Đội tuyển nữ giành chiến thắng thuyết phục nhờ hai bàn thắng ở cuối hiệp hai.
Quỹ khuyến học xã trao học bổng cho những em có hoàn cảnh khó khăn.
Việc chuyển đổi số giúp rút ngắn thời gian giải quyết thủ tục hành chính.
Mẹ dặn con đi đường cẩn thận, nhớ đội mũ bảo hiểm và giữ ấm cổ.
Công trình được khởi công năm ngoái, đến nay đã hoàn thành phần móng và khung.
Phở bò chín, bún chả và nem rán là những món được du khách gọi nhiều nhất.
Người lao động được nghỉ hằng năm hưởng nguyên lương theo thỏa thuận.
Gió mùa đông bắc tràn về, nhiệt độ thấp nhất ở vùng núi có nơi dưới mười độ.
Bác sĩ khuyên nên uống đủ nước, ăn nhiều rau quả và ngủ trước mười một giờ đêm.
Khu phố cổ về đêm rực rỡ ánh đèn lồng, tiếng rao lẫn trong tiếng nhạc.
Kỹ sư trưởng giải thích nguyên lý hoạt động của tua-bin gió cho đoàn tham quan.
Dưới chân đèo, những thửa ruộng bậc thang đã ngả màu vàng óng.
""".split("\n")
ENGLISH = """
The parties shall settle any dispute by negotiation in the spirit of cooperation.
Payment is due within thirty days after the goods have been received in full.
Neither party may assign its rights without the written consent of the other.
This agreement enters into force on the date of its signature.
""".split("\n")
SURNAMES = "Nguyễn Trần Lê Phạm Hoàng Huỳnh Võ Vũ Đặng Bùi Đỗ Hồ Ngô Dương Lý".split()
MIDDLES = "Văn Thị Hữu Đức Ngọc Minh Thùy Quốc Thanh Xuân".split()
NAMES = (
    "Anh Bình Chương Dũng Hạnh Hương Khải Lượng Mỹ Nghĩa Oanh Phượng Quỳnh Sữa Thắng Thủy Tuấn Vỹ Yến".split()
)
PLACES = ("Hà Nội", "Đà Nẵng", "Cần Thơ", "Huế", "Quảng Ngãi", "Vĩnh Long", "Điện Biên", "Bình Thuận")
GOODS = """Gạo nếp cái hoa vàng|Nước mắm cá cơm|Bút bi Thiên Long|Giấy in A4 loại 80 gsm|Sữa tươi không đường
|Cà phê phin giấy|Dầu ăn hướng dương|Bàn phím cơ|Quạt điện để bàn|Ghế xoay văn phòng|Mực in đen
|Xà phòng thơm|Bóng đèn LED 9W|Đường kính trắng|Trà ướp sen""".replace("\n", "").split("|")
DISHES = """Phở tái nạm|Bún chả Hà Nội|Bánh xèo miền Tây|Gỏi cuốn tôm thịt|Cơm tấm sườn bì|Chả cá Lã Vọng|Mì Quảng
|Bò lúc lắc|Canh chua cá lóc|Nem nướng Ninh Hòa|Lẩu mắm|Sinh tố bơ|Nước sấu đá|Cà phê sữa đá|Chè đậu đỏ|Trà đào cam sả
|Bánh flan|Súp măng cua""".replace("\n", "").split("|")


class DocumentText:
    """Draws the invented contents of documents from one seed."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self._left: list[str] = []

    def pick(self, options: Sequence[str]) -> str:
        """Return one of them."""
        return options[int(self.rng.integers(len(options)))]

    def sentences(self, count: int) -> str:
        """Return sentences, each used once before any comes again."""
        chosen = []
        for _ in range(count):
            if not self._left:
                self._left = [text for text in SENTENCES if text]
                self.rng.shuffle(self._left)
            chosen.append(self._left.pop())
        return " ".join(chosen)

    def name(self) -> str:
        """Return a full name."""
        return " ".join(map(self.pick, (SURNAMES, MIDDLES, NAMES)))

    def number(self, low: int, high: int) -> str:
        """Return a number with points between thousands."""
        return f"{int(self.rng.integers(low, high)):,}".replace(",", ".")

    def price(self) -> str:
        """Return an amount of whole thousands."""
        return f"{int(self.rng.integers(8, 2400)) * 1000:,}".replace(",", ".")

    def date(self) -> str:
        """Return a date in figures."""
        return f"{self.rng.integers(1, 29):02d}/{self.rng.integers(1, 13):02d}/2026"

    def digits(self, count: int) -> str:
        """Return digits."""
        return "".join(map(str, self.rng.integers(0, 10, count)))


def _tag(tag: str, text: str, look: str = "") -> str:
    return f'<{tag} class="{look}">{escape(text)}</{tag}>' if look else f"<{tag}>{escape(text)}</{tag}>"


def _table(rows: Sequence[Sequence[str]], look: str) -> str:
    body = "".join(
        "<tr>" + "".join(_tag("th" if number == 0 else "td", cell) for cell in row) + "</tr>"
        for number, row in enumerate(rows)
    )
    return f'<table class="{look}">{body}</table>'


def write_decree(text: DocumentText) -> str:
    """Write an official decision with its two-column head and foot."""
    place = text.pick(PLACES)
    articles = "".join(
        _tag("p", f"Điều {number}. {text.sentences(1)}", "strong") + _tag("p", text.sentences(3), "indent")
        for number in range(1, 5)
    )
    day, month = text.rng.integers(10, 29), text.rng.integers(10, 13)
    return f"""<div class="head"><div>{_tag("p", "ỦY BAN NHÂN DÂN")}{_tag("p", "TỈNH " + place.upper(), "strong")}
    {_tag("p", f"Số: {text.number(100, 999)}/QĐ-UBND")}</div><div>
    {_tag("p", "CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", "strong")}{_tag("p", "Độc lập - Tự do - Hạnh phúc", "strong")}
    {_tag("p", f"{place}, ngày {day} tháng {month} năm 2026", "italic")}</div></div>
    {_tag("p", "QUYẾT ĐỊNH", "title")}{_tag("p", "Về việc phê duyệt kế hoạch cải tạo hệ thống thủy lợi", "subtitle")}
    {_tag("p", "Căn cứ Luật Tổ chức chính quyền địa phương ngày 19 tháng 6 năm 2015;", "indent italic")}
    {_tag("p", "Theo đề nghị của Giám đốc Sở Nông nghiệp và Môi trường.", "indent italic")}{articles}
    <div class="head foot"><div>{_tag("p", "Nơi nhận:", "strong")}{_tag("p", "- Như Điều 4;")}
    {_tag("p", "- Lưu: VT, NN.")}</div><div>{_tag("p", "KT. CHỦ TỊCH", "strong")}
    {_tag("p", "PHÓ CHỦ TỊCH", "strong")}{_tag("p", text.name(), "signature strong")}</div></div>"""


def write_contract(text: DocumentText) -> str:
    """Write a contract in two languages, clause below clause."""
    english = [line for line in ENGLISH if line]
    clauses = "".join(
        _tag("p", f"Điều {n}. {text.sentences(2)}") + _tag("p", f"Article {n}. {english[n % 4]}", "italic")
        for n in range(1, 9)
    )
    return f"""{_tag("p", "HỢP ĐỒNG MUA BÁN", "title")}{_tag("p", "SALES CONTRACT", "subtitle italic")}
    {_tag("p", f"Bên A: Công ty TNHH {text.pick(NAMES)} {text.pick(NAMES)}")}
    {_tag("p", f"Mã số thuế: {text.digits(10)}")}{_tag("p", f"Đại diện: Ông {text.name()}")}
    {_tag("p", f"Bên B: Hợp tác xã {text.pick(NAMES)} {text.pick(PLACES)}")}{clauses}"""


def write_newspaper(text: DocumentText) -> str:
    """Write a page of a newspaper: a headline over three columns of justified text."""
    paragraphs = "".join(_tag("p", text.sentences(3), "justify indent") for _ in range(9))
    return f"""{_tag("p", "BÁO MỚI " + text.pick(PLACES).upper(), "paper")}
    {_tag("p", "Mùa nước nổi về muộn, ngư dân thấp thỏm chờ cá linh", "headline")}
    <div class="columns">{paragraphs}</div>"""


def write_form(text: DocumentText) -> str:
    """Write a form with dotted leaders, filled in."""
    labels = (("Họ và tên", text.name()), ("Ngày sinh", text.date()), ("Số căn cước", text.digits(12)),
              ("Nghề nghiệp", "Giáo viên tiểu học"), ("Quê quán", text.pick(PLACES)),
              ("Điện thoại", "09" + text.digits(8)), ("Thư điện tử", "lienhe@nhin.example"),
              ("Chỗ ở hiện nay", f"{text.number(2, 400)} đường {text.pick(NAMES)}, {text.pick(PLACES)}"),
              ("Lý do xin cấp", "Thẻ cũ bị mờ chữ"))  # fmt: skip
    rows = "".join(
        f'<div class="field"><span>{escape(label)}:</span><span class="dots">{escape(value)}</span></div>'
        for label, value in labels
    )
    return f"""{_tag("p", "TỜ KHAI ĐỀ NGHỊ CẤP THẺ BẠN ĐỌC", "title")}{rows}{_tag("p", text.sentences(3), "justify")}
    <div class="head foot"><div></div><div>{_tag("p", "Người khai", "strong")}
    {_tag("p", text.name(), "signature")}</div></div>"""


def write_table(text: DocumentText) -> str:
    """Write a statistical table with borders."""
    rows = [["STT", "Họ và tên", "Đơn vị", "Ngày sinh", "Điểm"]]
    rows += [
        [str(n), text.name(), text.pick(PLACES), text.date(), f"{text.rng.integers(4, 10)},{n % 4}5"]
        for n in range(1, 23)
    ]
    return _tag("p", "DANH SÁCH THÍ SINH DỰ THI", "title") + _table(rows, "borders")


def write_invoice(text: DocumentText) -> str:
    """Write an invoice whose table has no borders."""
    rows = [["Tên hàng hóa", "Đơn vị", "Số lượng", "Đơn giá", "Thành tiền"]]
    rows += [
        [
            good,
            text.pick(("cái", "kg", "hộp", "chai")),
            str(text.rng.integers(1, 60)),
            text.price(),
            text.price(),
        ]
        for good in GOODS[:12]
    ]
    return f"""{_tag("p", "HÓA ĐƠN BÁN HÀNG", "title")}{_tag("p", f"Số: {text.digits(7)}", "subtitle")}
    {_tag("p", f"Khách hàng: {text.name()}")}{_tag("p", f"Địa chỉ: {text.number(2, 300)} Lê Lợi, {text.pick(PLACES)}")}
    {_table(rows, "plain")}{_tag("p", f"Tổng cộng: {text.price()} đồng", "right strong")}
    {_tag("p", "Cảm ơn quý khách đã mua hàng. " + text.sentences(1))}"""


def write_receipt(text: DocumentText) -> str:
    """Write the receipt of a till."""
    rows = "".join(
        f'<div class="pair"><span class="o">{escape(good)}</span><span class="o">{text.price()}</span></div>'
        for good in GOODS[3:12]
    )
    return f"""<div class="narrow">{_tag("p", "SIÊU THỊ " + text.pick(NAMES).upper(), "title")}
    {_tag("p", f"{text.number(2, 300)} Trần Phú, {text.pick(PLACES)}", "center")}
    {_tag("p", f"Ngày {text.date()} 18:42", "center")}<hr>{rows}<hr>
    <div class="pair strong"><span class="o">Tổng tiền</span><span class="o">{text.price()}</span></div>
    {_tag("p", "Hẹn gặp lại quý khách!", "center")}</div>"""


def write_menu(text: DocumentText) -> str:
    """Write a menu in two columns, each with its own headings and prices."""

    def column(title: str, dishes: Sequence[str]) -> str:
        rows = "".join(
            f'<div class="pair"><span class="o">{escape(dish)}</span><span class="o">{text.number(20, 190)}.000đ</span></div>'
            for dish in dishes
        )
        return f"<div>{_tag('p', title, 'subtitle strong')}{rows}</div>"

    return f"""{_tag("p", "QUÁN CƠM NHÀ " + text.pick(NAMES).upper(), "headline center")}
    <div class="two">{column("Món chính", DISHES[:9])}{column("Đồ uống và tráng miệng", DISHES[9:])}</div>"""


def write_card(text: DocumentText) -> str:
    """Write an identity card with a picture."""
    fields = (("Số / No.:", text.digits(12)), ("Họ và tên / Full name:", text.name().upper()),
              ("Ngày sinh / Date of birth:", text.date()), ("Giới tính / Sex:", "Nữ"),
              ("Quê quán / Place of origin:", f"Xã Hòa Thuận, {text.pick(PLACES)}"))  # fmt: skip
    rows = "".join(_tag("p", f"{label} {value}") for label, value in fields)
    return f"""<div class="card"><div class="photo"></div><div>{_tag("p", "THẺ BẠN ĐỌC", "title red")}
    {_tag("p", "THƯ VIỆN TỈNH " + text.pick(PLACES).upper(), "center red")}{rows}</div></div>"""


def write_book(text: DocumentText) -> str:
    """Write a page of a book: running head, justified paragraphs, a note, the page's number."""
    paragraphs = "".join(_tag("p", text.sentences(4), "justify indent book") for _ in range(6))
    return f"""{_tag("p", "NHỮNG MÙA LŨ MUỘN", "center small")}{_tag("p", "Chương mười bảy", "title")}{paragraphs}
    <hr class="short">{_tag("p", "1. Chượp: cá ướp muối để làm nước mắm.", "small")}
    {_tag("p", str(text.rng.integers(20, 400)), "center")}"""


def write_slide(text: DocumentText) -> str:
    """Write a slide: a title and points on a dark ground, a box below."""
    points = "".join(_tag("p", "– " + text.sentences(1), "point") for _ in range(5))
    return f"""<div class="slide">{_tag("p", "Kế hoạch chuyển đổi số quý IV", "headline")}{points}
    {_tag("p", "Mục tiêu: giảm 30% thời gian xử lý hồ sơ", "box")}</div>"""


def write_chat(text: DocumentText) -> str:
    """Write a chat on a telephone."""
    bubbles = "".join(
        f'<div class="bubble {"mine" if n % 3 == 1 else ""}">{escape(text.sentences(1))}</div>'
        for n in range(11)
    )
    return f'<div class="phone">{_tag("p", text.name(), "bar")}{bubbles}</div>'


STYLE = """
body { margin: 0; padding: 56px 62px; width: 670px; font: 15px/1.42 F; color: #111; background: #fff; }
p { margin: 3px 0; } .strong, th { font-weight: 700; } .italic { font-style: italic; }
.center, .title, .subtitle, .paper { text-align: center; } .right { text-align: right; }
.title { font-size: 20px; font-weight: 700; margin: 14px 0 6px; } .subtitle { font-size: 16px; margin-bottom: 12px; }
.indent { text-indent: 30px; } .justify { text-align: justify; } .small { font-size: 12px; }
.head { display: flex; justify-content: space-between; text-align: center; margin-bottom: 14px; gap: 30px; }
.foot { margin-top: 30px; } .foot > div:first-child { text-align: left; font-size: 13px; }
.foot > div + div { min-width: 220px; } .signature { margin-top: 64px; }
.paper { font-size: 34px; font-weight: 700; border-bottom: 2px solid #111; }
.headline { font-size: 27px; line-height: 1.25; font-weight: 700; margin: 10px 0 14px; }
.columns { columns: 3; column-gap: 22px; column-rule: 1px solid #999; font-size: 13px; }
.field { display: flex; margin: 9px 0; } .dots { flex: 1; border-bottom: 2px dotted #333; margin-left: 8px; padding-left: 8px; }
table { width: 100%; border-collapse: collapse; margin: 12px 0; font-size: 14px; } th, td { padding: 5px 7px; text-align: left; }
.borders th, .borders td { border: 1px solid #222; } .plain th { border-bottom: 1px solid #222; }
.plain td:nth-child(n+3), .plain th:nth-child(n+3) { text-align: right; }
.pair { display: flex; justify-content: space-between; margin: 4px 0; gap: 20px; }
.narrow { width: 290px; margin: 0 auto; font-size: 14px; } hr { border: 0; border-top: 1px dashed #222; }
hr.short { width: 160px; margin: 24px auto 4px 0; border-top: 1px solid #222; } .book { margin: 8px 0; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 46px; }
.card { display: flex; gap: 20px; border: 2px solid #a33; border-radius: 12px; padding: 16px; background: #fbf3e4; }
.photo { width: 120px; height: 160px; background: linear-gradient(#9ab, #567); margin-top: 60px; } .red { color: #a11; }
.slide { background: #163a5c; color: #fff; padding: 26px 34px; margin: -20px; } .point { margin: 14px 0; font-size: 18px; }
.box { background: #f2c14e; color: #222; padding: 10px 16px; margin-top: 24px; font-weight: 700; }
.phone { width: 400px; margin: 0 auto; background: #e9eef3; padding-bottom: 20px; }
.bar { background: #2a6fd6; color: #fff; padding: 12px 16px; font-weight: 700; }
.bubble { background: #fff; border-radius: 14px; padding: 8px 12px; margin: 10px 90px 10px 12px; width: fit-content; max-width: 270px; }
.mine { margin-left: auto; margin-right: 12px; background: #cfe6ff; }
"""

DOCUMENT_KINDS: dict[str, Callable[[DocumentText], str]] = {
    "decree": write_decree,
    "contract": write_contract,
    "newspaper": write_newspaper,
    "form": write_form,
    "table": write_table,
    "invoice": write_invoice,
    "receipt": write_receipt,
    "menu": write_menu,
    "card": write_card,
    "book": write_book,
    "slide": write_slide,
    "chat": write_chat,
}
"""What writes the body of each kind."""
