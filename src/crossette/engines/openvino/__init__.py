"""The embedded engine, on OpenVINO's kernels.

`import openvino` brings its converters of other frameworks' models along, a tenth of a second of every start, and
does without them where they are missing. So they are missing while it is imported, and there again afterwards.
"""

import sys

_CONVERTERS = "openvino.tools.ovc"

if "openvino" not in sys.modules:
    sys.modules[_CONVERTERS] = None  # type: ignore[assignment]  # how Python is told that a module is missing
    try:
        import openvino  # noqa: F401
    finally:
        del sys.modules[_CONVERTERS]
