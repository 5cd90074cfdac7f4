"""The one table from exceptions to gRPC: every QuarkError class has its status code and its exit status; the rest is INTERNAL."""

from __future__ import annotations

import os

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from quark.errors import QuarkError, SnapshotFilesError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from google.protobuf.message import Message

ERROR_DOMAIN = "quark"
TEXT_MAX = 1000  # of a message: what a caller sent, however long, comes back in part only
_own_paths: dict[str, str] = {}


def hide(path: str, name: str) -> None:
    """Call a directory of the daemon `name` in what is told to callers: where it is does not concern them."""
    for form in {path, os.path.abspath(path), os.path.realpath(path)}:
        _own_paths[form] = name


def told(error: QuarkError) -> str:
    """The text of an error as a caller gets it."""
    text = str(error)
    for path in sorted(_own_paths, key=len, reverse=True):
        text = text.replace(path, _own_paths[path])
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX // 2]} ... {text[-TEXT_MAX // 2 :]}"


def status_of(error: BaseException) -> status_pb2.Status:
    """google.rpc.Status with ErrorInfo (reason, exit_code, advice), BadRequest when a field is to blame, and PreconditionFailure when a snapshot lacks files."""
    if not isinstance(error, QuarkError):
        # What a bug says may tell of other tenants: it goes to the log, not to the caller.
        error = QuarkError("the daemon failed; its log has the reason")
    details: list[any_pb2.Any] = []

    def add(message: Message) -> None:
        packed = any_pb2.Any()
        packed.Pack(message)
        details.append(packed)

    text = told(error)
    _what, _, advice = text.partition("; ")
    add(
        error_details_pb2.ErrorInfo(
            reason=type(error).__name__,
            domain=ERROR_DOMAIN,
            metadata={"exit_code": str(error.exit_code), "advice": advice},
        )
    )
    if error.field:
        description = text.removeprefix(f"{error.field}: ")
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=description)
        add(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, SnapshotFilesError) and error.files:
        lacking = [
            error_details_pb2.PreconditionFailure.Violation(type="FILE", subject=path, description=what)
            for path, what in error.files
        ]
        add(error_details_pb2.PreconditionFailure(violations=lacking))
    return status_pb2.Status(code=code_pb2.Code.Value(error.grpc_code), message=text, details=details)


async def abort(context: grpc.aio.ServicerContext[object, object], error: BaseException) -> None:
    """End the call with the error's status."""
    status = rpc_status.to_status(status_of(error))
    await context.abort(status.code, status.details, status.trailing_metadata)


def code_of(error: BaseException) -> str:
    """Name of the status code, for logs and metrics."""
    return error.grpc_code if isinstance(error, QuarkError) else grpc.StatusCode.INTERNAL.name
