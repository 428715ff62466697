"""What schemathesis can't read from the description: rules that JSON Schema has no words for, and that nobody has a minute to wait."""

import schemathesis
from schemathesis import GenerationMode

LONGEST_WAIT_MS = 1000
# The program's own files have to fit in.
FEWEST = {"file_bytes": 1 << 20, "files": 1000}


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Changes only what the description allows as it is, and would after this. A member that it doesn't know may be anything."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    body = case.body
    for members in (case.query, body):
        if isinstance(members, dict) and isinstance(members.get("wait_ms"), (int, float)):
            members["wait_ms"] = min(members["wait_ms"], LONGEST_WAIT_MS)
    if not isinstance(body, dict):
        return
    for name in ("limits", "compile_limits"):
        limits = body.get(name)
        for limit, fewest in FEWEST.items():
            if isinstance(limits, dict) and isinstance(limits.get(limit), (int, float)):
                limits[limit] = max(limits[limit], fewest)
    files = body.get("files")
    if isinstance(files, list) and all(isinstance(file, dict) and "path" in file for file in files):
        # No two of one path.
        body["files"] = list({str(file["path"]): file for file in files}.values())
    if body.get("tests"):
        # Each has its own input, said beforehand.
        body.pop("stdin_open", None)
        body.pop("stdin", None)
    if isinstance(body.get("source_code"), str) and not body["source_code"].strip():
        # A session may be saved so, and not be run after that.
        body["source_code"] = "1"
