"""Holds arguments and results against the schemas of tools, with the library that the Python SDK checks with.

Reads {"tools": [...], "arguments": [[TOOL, ARGUMENTS], ...], "results": [[TOOL, RESULT], ...]} from stdin and prints
{"arguments": [BOOL, ...], "results": [TEXT or null, ...]}. A schema that is none of 2020-12 ends it with an error.
"""

import json
import sys

from jsonschema import Draft202012Validator

asked = json.load(sys.stdin)


def validators(member):
    schemas = {tool["name"]: tool[member] for tool in asked["tools"]}
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    return {name: Draft202012Validator(schema) for name, schema in schemas.items()}


def complaint(validator, value):
    error = next(validator.iter_errors(value), None)
    return error and f"{error.json_path}: {error.message}"


takes, gives = validators("inputSchema"), validators("outputSchema")
print(json.dumps({
    "arguments": [takes[tool].is_valid(value) for tool, value in asked["arguments"]],
    "results": [complaint(gives[tool], value) for tool, value in asked["results"]],
}))
