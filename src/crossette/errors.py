"""All errors that an API client or a user of the command line can see.

    CrossetteError
    ├── ServingError                 an HTTP error response: status, kind, message, param
    │   ├── InvalidRequest      400  invalid_request
    │   │   ├── UnknownField         unknown_field
    │   │   ├── Unsupported          unsupported       a known value that this server or model does not support
    │   │   └── ContextLengthExceeded  context_length
    │   ├── Unauthorized        401  invalid_key       no API key, or an invalid one
    │   ├── Forbidden           403  forbidden         a key without this permission
    │   ├── NotFound            404  not_found         unknown path
    │   │   ├── ModelNotFound        model_not_found
    │   │   └── NoChatTemplate       no_chat_template  a chat request for a base model
    │   ├── MethodNotAllowed    405  method_not_allowed
    │   ├── ModelInUse          409  model_in_use      a model that cannot be unloaded now
    │   ├── FileInUse           409  file_in_use       a file that a running batch reads
    │   ├── BatchEnded          409  batch_ended       a batch that cannot be cancelled any more
    │   ├── RequestTimeout      408  timeout           the body arrived too slowly
    │   ├── RequestTooLarge     413  too_large
    │   ├── UnsupportedCoding   415  unsupported_coding  a content-encoding that cannot be decoded
    │   ├── RetryLater                   has a Retry-After
    │   │   ├── RateLimited     429  rate_limited      a limit of the key is reached
    │   │   ├── Overloaded      503  overloaded        the queue is full
    │   │   ├── ShuttingDown    503  overloaded
    │   │   ├── ModelLoading    503  model_loading     the model is not in memory yet
    │   │   └── ModelUnavailable  503  model_unavailable  the model cannot be loaded
    │   ├── BudgetSpent         429  budget_spent      the key's total budget is used up
    │   ├── PullFailed          502  pull_failed       a model cannot be downloaded or converted
    │   ├── UpstreamFailed      502  upstream_failed   the server that runs the model failed
    │   ├── UpstreamTimeout     504  upstream_timeout  it took too long
    │   └── EngineFailure       500  internal
    │       └── ConstraintFailed     constraint_failed  the output constraint could not be enforced
    ├── ModelError                   a model that cannot be fetched, read or converted
    ├── DatabaseError                the database of keys and usage cannot be read or written
    └── ConfigError                  an invalid setting

`kind` names the cause; each dialect maps it to its own `type` and `code`. OpenAI has more codes for invalid requests:
`code` has them where they are known.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

Code = Literal[
    "missing_required_parameter",
    "invalid_type",
    "invalid_value",
    "integer_below_min_value",
    "integer_above_max_value",
    "decimal_below_min_value",
    "decimal_above_max_value",
    "string_above_max_length",
    "empty_array",
    "array_above_max_length",
    "object_above_max_properties",
    "invalid_parameter_combination",
]
"""OpenAI's codes for causes that are more specific than a kind of error."""


ADMIN_HINT = "crossette keys create NAME --admin creates an admin key"


class CrossetteError(Exception):
    """The base class, never raised itself. `str(error)` is a readable message."""


class ServingError(CrossetteError):
    """An error that is returned over HTTP.

    `param` is the path of the invalid field of the request, if any: `messages[2].content`. `code` is OpenAI's name of
    the cause, if it is more specific than the kind. `hint` is what an operator can change, for the log: callers have
    no use for command-line flags.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal"

    def __init__(self, message: str, *, param: str | None = None, code: Code | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.hint = hint

    def rename(self, param: str) -> None:
        """Name the invalid field `param` instead, in the message as well."""
        if self.param is not None and self.param != param:
            self.message = self.message.replace(self.param, param)
            self.args = (self.message,)
        self.param = param


class InvalidRequest(ServingError):
    status = 400
    kind = "invalid_request"


def invalid_value(param: str, allowed: Iterable[str], given: str) -> InvalidRequest:
    """The error of a field that has a list of allowed values."""
    values = ", ".join(map(repr, allowed))
    return InvalidRequest(
        f"Input should be one of {values}, not {given}, field: '{param}'", param=param, code="invalid_value"
    )


def missing(param: str) -> InvalidRequest:
    """The error of a field that is required."""
    return InvalidRequest(f"Field required, field: '{param}'", param=param, code="missing_required_parameter")


class UnknownField(InvalidRequest):
    kind = "unknown_field"


class Unsupported(InvalidRequest):
    kind = "unsupported"


class ContextLengthExceeded(InvalidRequest):
    kind = "context_length"


class Unauthorized(ServingError):
    status = 401
    kind = "invalid_key"


class Forbidden(ServingError):
    status = 403
    kind = "forbidden"


class NotFound(ServingError):
    status = 404
    kind = "not_found"


class ModelNotFound(NotFound):
    kind = "model_not_found"


class NoChatTemplate(NotFound):
    kind = "no_chat_template"


class MethodNotAllowed(ServingError):
    status = 405
    kind = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow
        """The methods that the path supports, in the format of the `Allow` header."""


class ModelInUse(ServingError):
    status = 409
    kind = "model_in_use"


class FileInUse(ServingError):
    status = 409
    kind = "file_in_use"


class BatchEnded(ServingError):
    status = 409
    kind = "batch_ended"


class RequestTimeout(ServingError):
    status = 408
    kind = "timeout"


class RequestTooLarge(ServingError):
    status = 413
    kind = "too_large"


class UnsupportedCoding(ServingError):
    status = 415
    kind = "unsupported_coding"


class RetryLater(ServingError):
    """The request is valid and can be retried later. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float, param: str | None = None, hint: str = "") -> None:
        super().__init__(message, param=param, hint=hint)
        self.retry_after = retry_after


class RateLimited(RetryLater):
    """A limit of the caller's key is reached."""

    status = 429
    kind = "rate_limited"


class Overloaded(RetryLater):
    """The queue is so long that the response would come too late."""

    status = 503
    kind = "overloaded"


class BudgetSpent(ServingError):
    """The total budget of the caller's key is used up. The response asks clients not to retry."""

    status = 429
    kind = "budget_spent"


class PullFailed(ServingError):
    """A model cannot be downloaded or converted. The message has the reason."""

    status = 502
    kind = "pull_failed"


class UpstreamFailed(ServingError):
    """The server that runs a remote model failed, or rejected this server. `hint` names it."""

    status = 502
    kind = "upstream_failed"


class UpstreamTimeout(ServingError):
    """The server that runs a remote model took too long to answer."""

    status = 504
    kind = "upstream_timeout"


class EngineFailure(ServingError):
    """A step of the engine failed. All requests in that step end with this error."""


class ConstraintFailed(EngineFailure):
    """The output constraint of the request could not be enforced."""

    kind = "constraint_failed"


class OutputMismatch(ConstraintFailed):
    """A finished answer does not match its response format or tool choice, although the grammar enforced them."""


class ShuttingDown(RetryLater):
    """The server is shutting down. Another one, or this one after a restart, may respond in a few seconds."""

    status = 503
    kind = "overloaded"

    def __init__(self, message: str, *, retry_after: float = 5.0) -> None:
        super().__init__(message, retry_after=retry_after)


class ModelLoading(RetryLater):
    """The model is not in memory yet, and loading it takes longer than the request may wait."""

    status = 503
    kind = "model_loading"


class ModelUnavailable(RetryLater):
    """The model cannot be loaded. The message has the reason."""

    status = 503
    kind = "model_unavailable"


class ModelError(CrossetteError):
    """A model cannot be fetched, read, converted or found in the store."""


class DatabaseError(CrossetteError):
    """The database of keys, usage and files cannot be read or written. The message names it and the cause."""


class ConfigError(CrossetteError):
    """A setting is invalid. The message names it, the given value and valid values."""


def how_to_install(extra: str) -> str:
    """Installation instructions for an optional extra, for a clone and for an installed package."""
    return f"In a clone: .venv/bin/pip install -e '.[{extra}]'; otherwise: pip install 'crossette[{extra}]'"
