#!/usr/bin/env python3
"""Answers of models/austen to schemas, through tests/schema_answers in the build folder, against the jsonschema package (Debian's python3-jsonschema).
usage: check_schemas.py MODEL [N]: N answers a schema. Last line: how many were valid; status 1 if any was not."""
import json, subprocess, sys, tempfile
import jsonschema

NODE = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "sub": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}}, "required": ["name"]}
SCHEMAS = [
    {"type": "object"},
    {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 5},
    {"type": "object", "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 30}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
     "score": {"type": "number", "minimum": -1, "exclusiveMaximum": 1}, "tags": {"type": "array", "items": {"enum": ["a", "b\"c", 3, None]}, "maxItems": 4}}, "required": ["name", "age"]},
    {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
    {"oneOf": [{"type": "object", "properties": {"kind": {"const": k}, "value": t}, "required": ["kind", "value"], "additionalProperties": False}
     for k, t in (("text", {"type": "string"}), ("flag", {"type": "boolean"}), ("date", {"type": "string", "format": "date"}))]},
    {"type": "object", "properties": {"id": {"type": "string", "format": "uuid"}, "at": {"type": "string", "format": "date-time"}, "ip": {"type": "string", "format": "ipv4"},
     "code": {"type": "string", "pattern": "^[A-Z]{2}-\\d{3}(\\.[a-z]+)?$"}, "word": {"type": "string", "pattern": "[aeiou]{2}"}}, "required": ["id", "at", "ip", "code", "word"], "additionalProperties": False},
    {"type": "object", "properties": {"a": {"type": "null"}, "ab": {"type": "boolean"}}, "additionalProperties": {"type": "integer", "exclusiveMinimum": 5}},
    {"type": ["integer", "string", "null"], "maximum": 99, "maxLength": 8},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer", "minimum": -20, "maximum": -3}], "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {"anyOf": [{"type": "object", "required": ["x"], "additionalProperties": {"type": "array", "items": {}, "maxItems": 2}}, {"const": {"deep": [1, {"e": "é"}]}}]},
]

model, n = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000
valid = wrong = 0
checker = jsonschema.FormatChecker()
for schema in SCHEMAS:
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema, format_checker=checker)
    with tempfile.NamedTemporaryFile('w', suffix='.json') as f:
        json.dump(schema, f, ensure_ascii=False)
        f.flush()
        run = subprocess.run(['tests/schema_answers', model, f.name, str(n)], stdout=subprocess.PIPE)
    answers = run.stdout.split(b'\0')[:-1]
    if run.returncode or len(answers) != n:
        print(f'{json.dumps(schema)}: status {run.returncode}, {len(answers)} answers of {n}')
        wrong += 1
    for a in answers:
        try:
            validator.validate(json.loads(a.decode('utf-8')))
            valid += 1
        except Exception as e:
            wrong += 1
            print(f'{json.dumps(schema)}: {a!r}: {type(e).__name__} {str(e).splitlines()[0]}')
    print(f'{len(answers)} answers, such as {answers[0] if answers else None!r}', file=sys.stderr)
print(f'{valid} valid answers, {wrong} faults')
sys.exit(wrong > 0)
