"""Write the tables of docs/configuration.md from comp/schema.py.

    python docs/generate_configuration.py

Everything above the marker in the page is written by hand and stays. tests/test_docs.py fails when the page is not
up to date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"
MARKER = "<!-- The rest is generated: python docs/generate_configuration.py -->\n"
NAMES = {
    "integer": "integer",
    "number": "number",
    "string": "text",
    "boolean": "`true`, `false`",
    "object": "map",
    "array": "list",
}
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def render_page(page: str) -> str:
    """Return the page with its tables generated from the schema."""
    sys.path.insert(0, str(ROOT))
    from comp.schema import Config

    schema = Config.model_json_schema()
    by_hand, marker, _ = page.partition(MARKER)
    if not marker:
        raise SystemExit(f"error: {PAGE.name} has no marker; add the line {MARKER.strip()}")
    sections = [
        _render_section(key, schema["$defs"][value["$ref"].rpartition("/")[2]])
        for key, value in schema["properties"].items()
        if "$ref" in value
    ]
    return by_hand + marker + "".join(sections)


def _render_section(section: str, definition: dict[str, Any]) -> str:
    rows = [
        f"| `{section}.{key}` | {_render_type(field)} | `{_as_yaml(field['default'])}` | {_one_line(field)} |\n"
        for key, field in definition["properties"].items()
    ]
    return (
        f"\n## {section}\n\n{_one_line(definition)}\n\n| key | values | default | meaning |\n"
        f"|---|---|---|---|\n{''.join(rows)}"
    )


def _render_type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_render_type(option) for option in field["anyOf"])
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field["type"] == "null":
        return "`null`"
    limits = " and ".join(f"{sign} {field[limit]}" for limit, sign in LIMITS.items() if limit in field)
    return f"{NAMES[field['type']]} {limits}".strip()


def _as_yaml(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _one_line(described: dict[str, Any]) -> str:
    return " ".join(described["description"].split())


def main() -> None:
    PAGE.write_text(render_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
