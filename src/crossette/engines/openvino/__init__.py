"""The embedded engine, on OpenVINO's kernels.

`import openvino` also imports its converters for other frameworks' models, a tenth of a second of every start, and
works without them if they are missing. So they are hidden while openvino is imported, and importable again afterwards.

Those converters report to Google Analytics on import, through `openvino_telemetry` and without consent, unless they
detect a CI. They skip that if the package is missing, so here it is hidden permanently.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # makes `import` raise ModuleNotFoundError

_CONVERTERS = "openvino.tools.ovc"

if "openvino" not in sys.modules:
    sys.modules[_CONVERTERS] = None  # type: ignore[assignment]
    try:
        import openvino  # noqa: F401
    finally:
        del sys.modules[_CONVERTERS]
