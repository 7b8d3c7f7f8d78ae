"""Write the JSON Schema of manifests that ships beside the reader of manifests.

    python tools/make_schema.py

The same text as `run_batch.py manifest schema`; a test fails when it is out of date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from batch.manifest.json_schema import json_schema

TARGET = Path(__file__).parent.parent / "batch" / "manifest" / "manifest.schema.json"

if __name__ == "__main__":
    TARGET.write_text(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(TARGET)
