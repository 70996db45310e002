"""Lines of pages as they stand, in reading order, for tests of the layout."""

from collections.abc import Sequence

from nhin.reading.result import Line

PROSE = """\
Sáng nay, mưa lớn kéo dài
khiến nhiều tuyến đường ở
thành phố ngập sâu. Xe cộ
di chuyển chậm, học sinh
đến trường muộn hơn mọi
ngày khoảng nửa giờ.
Cơ quan khí tượng cho biết
mưa còn tiếp diễn đến hết
ngày mai. Người dân được
khuyên hạn chế ra khỏi nhà
và kê cao đồ đạc ở những
khu vực trũng thấp.
Công ty thoát nước đã cử
hơn hai trăm công nhân
túc trực tại các điểm ngập,
vớt rác ở miệng cống và
vận hành máy bơm suốt
đêm qua.""".splitlines()


def make_line(text: str, left: float, top: float, height: float = 20, width: float | None = None) -> Line:
    right, bottom = left + (0.5 * height * len(text) if width is None else width), top + height
    return Line(text, 0.9, ((left, top), (right, top), (right, bottom), (left, bottom)))


def column(
    texts: Sequence[str], left: float, top: float, pitch: float = 30, height: float = 20
) -> list[Line]:
    return [make_line(text, left, top + pitch * i, height) for i, text in enumerate(texts)]


def centered(
    texts: Sequence[str], center: float, top: float, pitch: float = 30, height: float = 20
) -> list[Line]:
    return [
        make_line(text, center - 0.25 * height * len(text), top + pitch * i, height)
        for i, text in enumerate(texts)
    ]


def table(rows: list[list[str]], lefts: Sequence[float], top: float, pitch: float = 40) -> list[Line]:
    return [
        make_line(text, left, top + pitch * i)
        for i, row in enumerate(rows)
        for text, left in zip(row, lefts, strict=True)
        if text
    ]


GOODS = [
    ["STT", "Tên hàng", "ĐVT", "SL", "Đơn giá", "Thành tiền"],
    ["1", "Gạo ST25", "kg", "5", "38.000", "190.000"],
    ["2", "Nước mắm Phú Quốc", "chai", "2", "45.500", "91.000"],
    ["3", "Trứng vịt", "quả", "10", "3.500", "35.000"],
    ["4", "Đường cát", "kg", "1", "22.000", "22.000"],
]
GOODS_LEFTS = [0, 80, 320, 420, 500, 640]
STARTERS = [["Gỏi cuốn tôm thịt", "45.000đ"], ["Chả giò hải sản", "55.000đ"], ["Nộm hoa chuối", "50.000đ"]]
MAINS = [["Cơm tấm sườn bì chả", "65.000đ"], ["Bún bò Huế", "70.000đ"], ["Phở tái nạm gầu", "68.000đ"]]
PERSON = [["Họ và tên:", "Nguyễn Văn A"], ["Ngày sinh:", "09/12/1988"], ["Quê quán:", "Nghĩa Hưng, Nam Định"]]
PAGES = {
    "sign": [
        make_line("CẤM ĐỖ XE", 40, 0, 50),
        *centered(["Từ 6 giờ đến 22 giờ", "trừ xe công vụ"], 152, 70),
    ],
    "two columns, 18 px apart": [*column(PROSE[:6], 0, 0), *column(PROSE[6:12], 278, 0)],
    "two columns on other heights": [*column(PROSE[:6], 0, 0), *column(PROSE[6:10], 300, 11)],
    "three columns": [*column(PROSE[:6], 0, 0), *column(PROSE[6:12], 300, 0), *column(PROSE[12:], 600, 0)],
    "columns of unlike length": [*column(PROSE[:9], 0, 0), *column(PROSE[9:14], 300, 0)],
    "newspaper": [
        make_line("Mưa lớn ở miền Trung, nhiều nơi ngập sâu", 0, 0, 36),
        *column(PROSE[:6], 0, 60),
        *column(PROSE[6:12], 300, 60),
        make_line("Hà Tĩnh: học sinh được nghỉ học hai ngày", 0, 280, 36),
        *column(PROSE[:4], 0, 340),
        *column(PROSE[12:16], 300, 340),
    ],
    "official letter": [
        *centered(["BỘ XÂY DỰNG", "Số: 127/2026/QĐ-BXD"], 110, 0),
        *centered(["CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", "Độc lập - Tự do - Hạnh phúc"], 600, 0),
        make_line("Hà Nội, ngày 14 tháng 8 năm 2026", 440, 75),
        *centered(["QUYẾT ĐỊNH", "Về việc ban hành quy chế làm việc của cơ quan"], 400, 150),
        *column(["Căn cứ Luật Tổ chức Chính phủ ngày 19 tháng 6 năm 2015 và các luật sửa đổi;"], 40, 230),
        *column(
            ["Nơi nhận:", "- Như Điều 3;", "- Các bộ, cơ quan ngang bộ;", "- Lưu: VT, KGVX (2b)."],
            0,
            300,
            24,
            16,
        ),
        *centered(["BỘ TRƯỞNG", "(Đã ký)"], 640, 300),
        *centered(["Trần Văn Mẫu"], 640, 440),
    ],
    "head and footer on one grid": [
        *centered(["CÔNG TY AN BÌNH", "Số: 12/QĐ-AB"], 110, 0),
        *centered(["CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", "Độc lập - Tự do - Hạnh phúc"], 600, 0),
        make_line("Theo đề nghị của Trưởng phòng Tổ chức - Hành chính và Kế toán trưởng công ty,", 0, 120),
        *column(["Nơi nhận:", "- Như Điều 3;", "- Lưu: VT."], 0, 200),
        *centered(["GIÁM ĐỐC", "(Ký, đóng dấu)", "Lê Thị Hoa"], 640, 200),
    ],
    "three signatures": [
        *centered(["Người lập biểu", "(Ký, họ tên)"], 100, 0),
        *centered(["Kế toán trưởng", "(Ký, ghi rõ họ tên)"], 400, 0),
        *centered(["Giám đốc", "(Ký tên, đóng dấu)"], 700, 0),
    ],
    "form": table(PERSON, [0, 200], 0),
    "form with leaders": [
        line
        for i, text in enumerate(["Họ tên: ..........", "Sinh ngày: ......."])
        for line in (make_line(text, 0, 40 * i), make_line(PERSON[i][1], 260, 40 * i))
    ],
    "table": table(GOODS, GOODS_LEFTS, 0),
    "table set tight": table(GOODS, GOODS_LEFTS, 0, 26),
    "table with a total": [
        *table(GOODS, GOODS_LEFTS, 0),
        make_line("Tổng cộng", 80, 200),
        make_line("338.000", 640, 200),
    ],
    "invoice": [
        make_line("HÓA ĐƠN BÁN HÀNG", 240, 0, 34),
        *column(["Khách hàng: Nguyễn Văn Mẫu", "Địa chỉ: 27/5 Lê Lợi, Huế"], 0, 60),
        *table(GOODS, GOODS_LEFTS, 140),
        make_line("Số tiền bằng chữ: Ba trăm ba mươi tám nghìn đồng chẵn.", 0, 350),
        *centered(["Người mua hàng", "(Ký, họ tên)"], 150, 400),
        *centered(["Người bán hàng", "(Ký, đóng dấu, họ tên)"], 560, 400),
    ],
    "menu": table(STARTERS + MAINS, [0, 300], 0),
    "menu of two columns on one grid": [
        *centered(["QUÁN ĂN HƯƠNG QUÊ"], 400, 0, height=40),
        *[
            line
            for i, (own, food) in enumerate([("KHAI VỊ", STARTERS), ("MÓN CHÍNH", MAINS)])
            for line in (make_line(own, 450 * i, 80, 28), *table(food, [450 * i, 450 * i + 280], 130))
        ],
    ],
    "menu of two columns off the grid": [*table(STARTERS, [0, 280], 0), *table(MAINS, [450, 730], 17)],
    "cards": [
        line
        for i, (number, text) in enumerate(
            [("98,5%", "Hồ sơ đúng hạn"), ("1.240", "Giờ làm việc"), ("3,6 tỉ", "Kinh phí dự kiến")]
        )
        for line in (make_line(number, 300 * i, 0, 40), make_line(text, 300 * i, 50))
    ],
    "cards in two rows": [
        line
        for j in range(2)
        for i in range(3)
        for line in (
            make_line(f"{i}{j}8,5%", 300 * i, 160 * j, 40),
            make_line("Hồ sơ đúng hạn", 300 * i, 160 * j + 50),
        )
    ],
    "chat": [
        *column(["Con ơi, chủ nhật này có về ăn giỗ", "ông không?", "18:02"], 0, 0, 24),
        *column(["Dạ có ạ", "18:05"], 330, 100, 24),
        *column(["Ừ", "18:06"], 0, 180, 24),
        *column(["Vâng. Ba đỡ đau lưng chưa mẹ?", "18:07"], 110, 260, 24),
    ],
    "ID card": [
        *centered(["CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", "Độc lập - Tự do - Hạnh phúc"], 400, 0),
        make_line("CĂN CƯỚC CÔNG DÂN", 300, 80, 30),
        *column(["Số / No.: 012345678901", "Họ và tên / Full name:", "ĐẶNG THỊ KIỀU OANH"], 220, 130),
        make_line("Giới tính / Sex: Nữ", 220, 220),
        make_line("Quốc tịch / Nationality: Việt Nam", 460, 220),
    ],
    "numbered list": [
        line
        for i in range(3)
        for line in (make_line(f"{i + 1}.", 0, 30 * i), make_line(PROSE[i], 40, 30 * i))
    ],
    "big number beside two lines": [
        make_line("9", 0, 0, 60, 60),
        *column(["ngày nghỉ Tết Nguyên đán", "cho người lao động"], 80, 4, 32),
    ],
    "years beside what was done": [
        line
        for i, year in enumerate(["2015 - 2019", "2019 - 2024"])
        for line in (make_line(year, 0, 110 * i), *column(PROSE[3 * i : 3 * i + 3], 180, 110 * i, 28))
    ],
}


def texts(lines) -> list[str]:
    return [line.text for line in lines]
