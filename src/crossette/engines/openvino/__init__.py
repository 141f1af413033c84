"""The embedded engine: our scheduler, cache and sampler over OpenVINO's kernels.

Importing `openvino` sends a report to Google Analytics through the package `openvino_telemetry`, without asking,
wherever it does not find a CI's environment. It takes the package's absence for an answer, so here it is absent: this
file runs before any other of this package, and nobody else imports `openvino`.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # how Python is told that there is none
