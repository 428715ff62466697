"""What schemathesis can't read from the description: rules that JSON Schema has no words for, and that nobody has a minute to wait."""

import schemathesis
from schemathesis import GenerationMode

LONGEST_WAIT_MS = 1000
# The program's own files have to fit in.
FEWEST = {"file_bytes": 1 << 20, "files": 1000}


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Changes only what the description allows as it is, and would after this."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    body = case.body
    for members in (case.query, body):
        if isinstance(members, dict) and isinstance(members.get("wait_ms"), (int, float)):
            members["wait_ms"] = min(members["wait_ms"], LONGEST_WAIT_MS)
    if not isinstance(body, dict):
        return
    for name in ("limits", "compile_limits"):
        limits = body.get(name) or {}
        for limit in FEWEST.keys() & limits.keys():
            limits[limit] = max(limits[limit] or 0, FEWEST[limit])
    if isinstance(body.get("files"), list):
        # No two of one path.
        body["files"] = list({file["path"]: file for file in body["files"]}.values())
    if body.get("tests"):
        # Each has its own input, said beforehand.
        body.pop("stdin_open", None)
        body.pop("stdin", None)
    if isinstance(body.get("source_code"), str) and not body["source_code"].strip():
        # A session may be saved so, and not be run after that.
        body["source_code"] = "1"
