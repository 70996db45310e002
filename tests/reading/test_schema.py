"""The JSON of a page follows the schema in the package, which allows nothing else."""

import copy
import json
from importlib.resources import files

import pytest

from nhin.reading.layout import arrange_lines
from nhin.reading.reading import Reading
from nhin.reading.result import Char, Line, ReadingWarning
from nhin.reading.writers import to_json_line

SCHEMA = json.loads(files("nhin").joinpath("reading/reading.schema.json").read_text("utf-8"))
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float)}
KNOWN = set(
    "$schema $id $defs $ref title description type properties required additionalProperties items enum const "
    "minimum maximum minItems maxItems".split()
)


def find_faults(value: object, schema: dict, where: str = "$") -> list[str]:
    """Return where a value breaks the part of JSON Schema that the schema uses."""
    assert set(schema) <= KNOWN
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "type" in schema and (not isinstance(value, TYPES[schema["type"]]) or isinstance(value, bool)):
        return [f"{where} is no {schema['type']}"]
    faults = []
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        faults.append(f"{where} is {value!r}")
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get(
        "maximum", value
    ):
        faults.append(f"{where} is out of range")
    if isinstance(value, dict):
        properties = schema["properties"]
        faults += [f"{where} lacks {name}" for name in schema["required"] if name not in value]
        faults += [f"{where} has {name}" for name in value if name not in properties]
        for name in set(value) & set(properties):
            faults += find_faults(value[name], properties[name], f"{where}.{name}")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            faults.append(f"{where} has {len(value)} items")
        for i, item in enumerate(value):
            faults += find_faults(item, schema["items"], f"{where}[{i}]")
    return faults


def line(text: str, x: float, y: float, height: float = 20) -> Line:
    box = ((x, y), (x + 100, y), (x + 100, y + height), (x, y + height))
    return Line(text, 0.5, box, (Char(text, 0.5, box),), ((text, 0.75),))


LINES = [line("TIÊU ĐỀ", 10, 10, 60), line("một đoạn", 10, 100)]
LINES += [line(text, x, y) for y in (200, 230, 260) for x, text in ((10, "Phở"), (400, "50.000"))]
LAYOUT = arrange_lines(LINES)
WARNING = ReadingWarning("page-skipped", "x is torn")
READING = Reading(LAYOUT.lines, 600, 300, 2, (WARNING,), LAYOUT.turn, LAYOUT.blocks)


@pytest.mark.parametrize("reading", [READING, Reading((), 0, 0), Reading((), 5, 5, source="text")])
def test_the_json_of_a_page_follows_the_schema(reading):
    assert find_faults(json.loads(to_json_line(reading, "x")), SCHEMA) == []


def test_the_page_has_every_part_that_the_schema_describes():
    kinds = {block.kind for block in READING.blocks}
    assert {"heading", "table"} <= kinds


@pytest.mark.parametrize("name", ["version", "source", "turn", "confidence"])
def test_the_schema_refuses_other_values(name):
    tree = json.loads(to_json_line(READING, "x"))
    changed = copy.deepcopy(tree)
    changed[name] = 7
    assert find_faults(changed, SCHEMA)
    del changed[name]
    assert find_faults(changed, SCHEMA)
    assert find_faults(tree | {"more": 1}, SCHEMA)
