"""The embedded engine, on OpenVINO's kernels.

`import openvino` brings its converters of other frameworks' models along, a tenth of a second of every start, and
does without them where they are missing. So they are missing while it is imported, and there again afterwards.

Those converters report to Google Analytics when they are imported, through `openvino_telemetry` and without asking,
wherever they see no sign of a CI. They take that package's absence for an answer, so here it is absent for good.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # how Python is told that a module is missing

_CONVERTERS = "openvino.tools.ovc"

if "openvino" not in sys.modules:
    sys.modules[_CONVERTERS] = None  # type: ignore[assignment]
    try:
        import openvino  # noqa: F401
    finally:
        del sys.modules[_CONVERTERS]
