"""What fits a kind's schema is shown in every format; what does not is named."""

import copy
import json
import re
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from common import report
from common.report.findings import outcome
from common.report.form import Unlike, of_this_version, schema_of, unlike

ROOT = Path(__file__).parents[1]
# Of findings that commands keep.
KEEPS = re.compile(r'outcome\.(?:kept|told)\(\s*"([\w-]+)"')
SOURCES = sorted((ROOT / "benchmarks").glob("*.py"))
KINDS = sorted({kind for path in SOURCES for kind in KEEPS.findall(path.read_text())})
LEAST = {"string": "x", "number": 0.5, "integer": 3, "boolean": True, "null": None}


def instances(schema, root, *, null):
    """The least of what fits a schema, in each of its forms; null where it may be."""
    if "$ref" in schema:
        found = root["$defs"][schema["$ref"].split("/")[-1]]
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return instances(found | rest, root, null=null)
    if "oneOf" in schema:
        rest = {key: value for key, value in schema.items() if key != "oneOf"}
        return [
            one
            for form in schema["oneOf"]
            for one in instances({"allOf": [form, rest]}, root, null=null)
        ]
    if "allOf" in schema:
        return instances(merged(schema, root), root, null=null)
    if "enum" in schema:
        return [None if null and None in schema["enum"] else schema["enum"][0]]
    kinds = schema.get("type", "null")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    kind = "null" if null and "null" in kinds else kinds[0]
    if kind == "object":
        return objects(schema, root, null=null)
    if kind == "array":
        items = instances(schema.get("items", {}), root, null=null)
        return [items * max(1, schema.get("minItems", 1) // len(items))]
    return ["0" * 64 if "pattern" in schema else LEAST[kind]]


def objects(schema, root, *, null):
    keys = dict.fromkeys(schema.get("required", ()))
    if isinstance(others := schema.get("additionalProperties"), dict) and not keys:
        keys = {"torch": None, "tensorflow": None}
    found = [{}]
    for key in keys:
        form = schema.get("properties", {}).get(key, others if others else {})
        found = [
            one | {key: value}
            for one in found
            for value in instances(form, root, null=null)
        ]
    return found


def merged(schema, root):
    """One schema of those that must all hold."""
    whole = {"required": [], "properties": {}}
    for part in [*schema["allOf"], {k: v for k, v in schema.items() if k != "allOf"}]:
        if "$ref" in part:
            part = root["$defs"][part["$ref"].split("/")[-1]]
        if "allOf" in part:
            part = merged(part, root)
        for key, value in part.items():
            if key == "required":
                whole[key] = [*whole[key], *value]
            elif key == "properties":
                whole[key] = whole[key] | value
            else:
                whole[key] = value
    return whole


def examples(kind):
    """Results that fit the kind's schema, full and with null wherever it may be."""
    schema = schema_of(kind)
    return [
        one for null in (False, True) for one in instances(schema, schema, null=null)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_fits_the_schema_is_shown_in_every_format(kind):
    found = examples(kind)
    assert len(found) >= 2
    for result in found:
        jsonschema.validate(result, schema_of(kind))
        assert unlike(kind, result) == ""
        assert isinstance(outcome(kind, result), str)
        for format in report.FORMATS:
            assert report.shown(kind, result, format).strip()


def changes(value, at=()):
    """Every place of a result: a key that goes, a value of another type."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        if isinstance(value, dict):
            yield (*at, key), "gone"
        yield (*at, key), 3 if isinstance(part, str | bool | dict | list) else "text"
        if isinstance(part, dict | list):
            yield from changes(part, (*at, key))


def changed(result, at, value):
    found = copy.deepcopy(result)
    place = found
    for key in at[:-1]:
        place = place[key]
    if value == "gone":
        del place[at[-1]]
    else:
        place[at[-1]] = value
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_another_form_is_seen_where_a_library_sees_it_and_never_a_fault_of_ours(kind):
    validator = jsonschema.Draft202012Validator(schema_of(kind))
    shown = 0
    result = examples(kind)[0]
    places = list(changes(result))
    for at, value in places:
        other = changed(result, at, value)
        assert bool(unlike(kind, other)) != validator.is_valid(other), (at, value)
        with suppress(Unlike), of_this_version(kind, other):
            report.shown(kind, other, "text")
            shown += 1
    assert shown < len(places)


def test_a_fault_of_ours_is_not_called_another_form():
    result = examples("parity")[0]
    with pytest.raises(KeyError, match="ours"), of_this_version("parity", result):
        raise KeyError("ours")


@pytest.mark.parametrize("path", sorted((ROOT / "docs/results").glob("*.json")))
def test_every_result_of_the_pages_has_the_form_of_today(path):
    content = json.loads(path.read_text())
    if "result" in content:
        assert unlike(content["kind"], content["result"]) == ""


def test_every_kind_that_is_kept_has_a_schema():
    names = {path.name for path in (files("common") / "schema").iterdir()}
    assert {f"{kind}.json" for kind in KINDS} <= names
    assert len(KINDS) > 8
