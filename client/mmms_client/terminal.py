"""How every command of this project ends: an exit code, and one line on stderr instead of a traceback."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

import click

from mmms_client.errors import MMMSError, printable

INTERRUPTED = 130  # what shells give a command that was ended by Ctrl+C


def run_command(
    command: click.Command,
    program: str,
    arguments: Sequence[str] | None = None,
    is_debug: Callable[[], bool] = lambda: False,
    obj: Any = None,
) -> int:
    """Run a command and return its exit code: 0 fine, 1 failure, 2 usage, 130 interrupted.

    Args:
        command: a click command or group.
        program: its name in messages.
        arguments: of the command line; those of this process by default.
        is_debug: asked when something failed; ``True`` shows the traceback too.
        obj: what the command finds in ``ctx.obj``.
    """

    def report(message: str, code: int) -> int:
        if is_debug():
            traceback.print_exc()
        click.echo(f"{program}: error: {printable(message)}", err=True)
        return code

    try:
        code = command.main(arguments, program, standalone_mode=False, obj=obj)
        return code if isinstance(code, int) else 0
    except MMMSError as error:
        return report(str(error), error.exit_code)
    except click.ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2 and later
            error.show()
            return error.exit_code
        return report(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return report("interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - a fault of ours, said in one line like every other
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        return report(f"{reason}; this is a fault in mmms: please report it with the command that shows it.", 1)
