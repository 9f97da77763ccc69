"""The errors a user can meet, and whose fault each one is.

::

    MMMSError
    ├── UsageError               the caller asked for something that cannot be done        exit 2
    │   ├── ClickError           a click outside the image, or more than the server takes
    │   └── ModalityError        unknown, missing or unit-less modality
    ├── DataError                a file is missing, broken or does not fit                 exit 1
    │   ├── ImageReadError       image or modality file
    │   ├── AlignmentError       a modality that does not lie over its image
    │   ├── SessionFormatError   session or click file
    │   └── OutputError          a result that could not be written
    └── ServerError              the other end of the wire                                 exit 1
        ├── ServerUnreachableError
        ├── AccessError          a token, a method or a certificate was refused, on either side
        ├── ModelNotReadyError
        ├── ContractError        a server that is not ours, or speaks another version
        │   └── ModelReplacedError   another checkpoint answers than the one that work began with
        ├── ServerBusyError      the queue is full; the same call may work later
        ├── RegionLostError      shared memory that the server forgot; callers never see it
        └── DeadlineError        no answer in time

Every message is one line: what was expected, what came, what to do. Foreign exceptions are translated once,
at the seam where they appear, with the cause kept.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """A text on one line, without what a terminal would take for an order: names and answers may come from anybody."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


class MMMSError(Exception):
    """Root of all errors raised on purpose by this project. ``exit_code`` is what a command exits with."""

    exit_code = 1


class UsageError(MMMSError):
    """The caller's request cannot be carried out as asked."""

    exit_code = 2


class ClickError(UsageError):
    """A click lies outside the image, or there are more clicks than the model takes."""


class ModalityError(UsageError):
    """A modality is unknown to the model, missing, or comes without the unit the model needs."""


class DataError(MMMSError):
    """A file is missing, broken, or does not fit the other files."""


class ImageReadError(DataError):
    """An image or modality file cannot be read as one."""


class AlignmentError(DataError):
    """A modality does not lie over its image: other aspect ratio, or a broken alignment file."""


class SessionFormatError(DataError):
    """A session (click) file, or a JSON of masks, is empty, malformed or of another schema version."""


class OutputError(DataError):
    """A result could not be written; nothing half-written was left behind."""


class ServerError(MMMSError):
    """The server cannot answer."""


class ServerUnreachableError(ServerError):
    """Nothing answers at the address."""


class AccessError(ServerError):
    """The other end refuses us, or we refuse it: token, method, TLS certificate."""


class ModelNotReadyError(ServerError):
    """The server is up, but a model it needs is not ready."""


class ContractError(ServerError):
    """The server answers, but does not speak this contract."""


class ModelReplacedError(ContractError):
    """Another checkpoint is served now than the one that work began with; nothing of it was mixed in."""


class ServerBusyError(ServerError):
    """The server refused the request because its queue is full; the same call may succeed later."""


class RegionLostError(ServerError):
    """The server does not know a piece of shared memory: it was started anew since. Callers register it again."""


class DeadlineError(ServerError):
    """No answer came within the deadline."""
