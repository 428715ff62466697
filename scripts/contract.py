"""What schemathesis can't read from the description: rules that JSON Schema has no words for, and that nobody has a minute to wait."""

import schemathesis
from schemathesis import GenerationMode

LONGEST_WAIT_MS = 1000


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
    if isinstance(body.get("files"), list):
        # No two of one path.
        body["files"] = list({file["path"]: file for file in body["files"]}.values())
    if body.get("tests"):
        # Their input is said beforehand.
        body.pop("stdin_open", None)
