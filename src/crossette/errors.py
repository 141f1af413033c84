"""Every error a client or a user of the command line can see.

    CrossetteError
    ├── ServingError                 an answer over HTTP: status, kind, message, param
    │   ├── InvalidRequest      400  invalid_request
    │   │   ├── UnknownField         unknown_field
    │   │   ├── Unsupported          unsupported       known, but not built or not possible here
    │   │   └── ContextLengthExceeded  context_length
    │   ├── Unauthorized        401  invalid_key       no key, or one that does not open
    │   ├── Forbidden           403  forbidden         a key that may not do this
    │   ├── NotFound            404  not_found         no such path
    │   │   ├── ModelNotFound        model_not_found
    │   │   └── NoChatTemplate       no_chat_template  chat is asked of a model that continues text
    │   ├── MethodNotAllowed    405  method_not_allowed
    │   ├── RequestTimeout      408  timeout           the body arrived too slowly
    │   ├── RequestTooLarge     413  too_large
    │   ├── RetryLater                   with the seconds to wait
    │   │   ├── RateLimited     429  rate_limited      a limit of the key is reached
    │   │   ├── Overloaded      503  overloaded        too much waits already
    │   │   └── ShuttingDown    503  overloaded
    │   ├── BudgetSpent         429  budget_spent      all that the key may ever use is used
    │   └── EngineFailure       500  internal
    │       └── ConstraintFailed     constraint_failed  the output could not be held to the requested format
    ├── ModelError                   a model that cannot be fetched, read or converted
    ├── StoreError                   a database of keys and usage that cannot be read or written
    └── ConfigError                  a setting that cannot be used

`kind` is our word for the cause; each dialect translates it into its own `type` and `code`.
"""

from __future__ import annotations

from typing import ClassVar


class CrossetteError(Exception):
    """The root: never raised itself. `str(error)` is a sentence for a person."""


class ServingError(CrossetteError):
    """An error that is answered over HTTP. `param` names the field of the request at fault, if one is."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(ServingError):
    status = 400
    kind = "invalid_request"


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
        """The methods that the path does answer, as the `Allow` header lists them."""


class RequestTimeout(ServingError):
    status = 408
    kind = "timeout"


class RequestTooLarge(ServingError):
    status = 413
    kind = "too_large"


class RetryLater(ServingError):
    """Nothing is wrong with the request, but it comes too early. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.retry_after = retry_after


class RateLimited(RetryLater):
    """A limit of the caller's key is reached."""

    status = 429
    kind = "rate_limited"


class Overloaded(RetryLater):
    """So much waits already that the answer would come too late."""

    status = 503
    kind = "overloaded"


class BudgetSpent(ServingError):
    """All that the caller's key may ever use is used: no waiting helps, so clients are told not to retry."""

    status = 429
    kind = "budget_spent"


class EngineFailure(ServingError):
    """A step of the engine failed; the requests that were in it end with this."""


class ConstraintFailed(EngineFailure):
    """The output could not be held to the format that the request asks for."""

    kind = "constraint_failed"


class OutputMismatch(ConstraintFailed):
    """A finished answer does not match its response format or tool choice, although the grammar enforced them."""


class ShuttingDown(RetryLater):
    """This server ends. Another one, or itself after a restart, may answer in a few seconds."""

    status = 503
    kind = "overloaded"

    def __init__(self, message: str, *, retry_after: float = 5.0) -> None:
        super().__init__(message, retry_after=retry_after)


class ModelError(CrossetteError):
    """A model that cannot be fetched, read, converted or found in the store."""


class StoreError(CrossetteError):
    """The database of keys and usage cannot be read or written: says which, and what it answered."""


class ConfigError(CrossetteError):
    """A setting that cannot be used: says which, what was given and what would do."""


def how_to_install(extra: str) -> str:
    """For an error about packages that only some need: right for a clone, and for what came from an index."""
    return f"In a clone: .venv/bin/pip install -e '.[{extra}]'; else: pip install 'crossette[{extra}]'"
