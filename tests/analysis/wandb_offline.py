"""Read an offline W&B run: records of protocol buffers in a log of LevelDB's format."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, FILE_HEADER, HEADER = 32768, 7, 7
FULL, LAST = 1, 4


def read_run(file: Path) -> tuple[Any, dict[str, list[Any]], dict[str, Any]]:
    """The run's own record, its history (values by key, in order) and its summary."""
    content = file.read_bytes()
    assert content[:4] == b":W&B"
    run, history, summary = None, defaultdict(list), {}
    position, part = FILE_HEADER, b""
    while position < len(content):
        if (left := BLOCK - position % BLOCK) < HEADER:
            position += left
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        part += content[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind not in (FULL, LAST):
            continue
        record = wandb_internal_pb2.Record()
        record.ParseFromString(part)
        part = b""
        if record.HasField("run"):
            run = record.run
        for item in record.history.item:
            history["/".join(item.nested_key) or item.key].append(json.loads(item.value_json))
        for item in record.summary.update:
            summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return run, dict(history), summary
